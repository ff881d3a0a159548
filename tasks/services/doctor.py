"""Whether this machine can do the work: one finding for each thing that people have stumbled over."""

import importlib.metadata
import os
import platform
import shutil
import socket
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tasks.environment import machine
from tasks.environment.proxies import proxies

if TYPE_CHECKING:
    from packaging.requirements import Requirement

#: Free space in the current folder below which hardly a scan fits, and memory below which workers die.
ROOM, MEMORY = 2**30, 2 * 2**30
#: The first version of Python that is supported.
PYTHON = (3, 11, 4)
#: What is worth telling that it is not there.
_EXTRAS = (
    "run", "platform", "demo", "postgres", "geo", "bioio", "bm3d", "jobqueue", "ssh", "cuda", "kubernetes",
)  # fmt: skip
#: Seconds for an answer of a server, and by which two clocks may differ.
PATIENCE, APART = 5.0, 60.0
#: Services that the environment may name -> where a web server tells that it is well; None: it only has to listen.
SERVICES = {
    "PREFECT_API_URL": "/health", "MLFLOW_TRACKING_URI": "/health", "IL_SCHEDULER": None, "AWS_ENDPOINT_URL": None,
}  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """What was found of one thing.

    Args:
        name: The thing.
        told: What it is; where it is wrong, what was wanted and what to do.
    """

    name: str
    told: str
    is_wrong: bool = False


def findings() -> Iterator[Finding]:
    """Yield what is found, thing by thing; none stops the others."""
    for trouble in machine.troubles():
        yield Finding("surroundings", trouble, True)
    if not machine.has_folder():
        # Where the current folder is gone, torch ends the process.
        return
    for look in _LOOKS:
        try:
            yield from look()
        except Exception as error:  # whatever is broken here is what is looked for
            yield Finding(look.__name__.strip("_"), f"could not be looked at: {type(error).__name__}: {error}", True)


def _python() -> Iterator[Finding]:
    is_old = sys.version_info[:3] < PYTHON
    wanted = f"; {'.'.join(map(str, PYTHON))} or later is wanted: install it" if is_old else ""
    yield Finding("Python", f"{platform.python_version()} on {platform.system()}{wanted}", is_old)


def _packages() -> Iterator[Finding]:
    """Compare what is installed with what we declare, and with the locked versions where these are at hand."""
    # A package of an extra that nobody installed is no fault; one of another version is.
    wrong = [_unlike(wanted) for wanted in _wanted("")]
    wrong += [_unlike(wanted) for extra in _EXTRAS for wanted in _wanted(extra) if _version(wanted.name)]
    if told := ", ".join(dict.fromkeys(filter(None, wrong))):
        yield Finding("packages", f"{told}; install again: pip install ilcore", True)
    else:
        yield Finding("packages", f"ilcore {_version('ilcore')}, {_locked()}")


def _extras() -> Iterator[Finding]:
    missing = [extra for extra in _EXTRAS if any(_version(wanted.name) is None for wanted in _wanted(extra))]
    told = f"without {', '.join(missing)}; where one is wanted: pip install 'ilcore[NAME]'" if missing else "all"
    yield Finding("extras", told)


def _wanted(extra: str) -> "list[Requirement]":
    """Return what we declare: the plain packages, or those of an extra."""
    from packaging.requirements import Requirement

    declared = [Requirement(line) for line in importlib.metadata.requires("ilcore") or ()]
    plain = [each for each in declared if each.marker is None or each.marker.evaluate({"extra": ""})]
    if not extra:
        return plain
    return [each for each in declared if each not in plain and each.marker and each.marker.evaluate({"extra": extra})]


def _unlike(wanted: "Requirement") -> str:
    """Return what is installed where it is not what is declared; empty where it is."""
    found = _version(wanted.name)
    if found is not None and wanted.specifier.contains(found, prereleases=True):
        return ""
    return f"{wanted.name} {found or 'missing'} (wanted {wanted.specifier or 'any'})"


def _locked() -> str:
    from packaging.requirements import Requirement

    lock = Path(__file__).resolve().parents[2] / "constraints.txt"
    if not lock.is_file():
        return "as declared"
    lines = (line.partition("#")[0].strip() for line in lock.read_text(encoding="utf-8").splitlines())
    pins = [pin for line in lines if line for pin in [Requirement(line)] if not pin.marker or pin.marker.evaluate()]
    others = [pin.name for pin in pins if (found := _version(pin.name)) and not pin.specifier.contains(found)]
    return f"{len(others)} other than locked: {', '.join(others[:5])}" if others else "as locked"


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _devices() -> Iterator[Finding]:
    import torch

    name = f"torch {torch.__version__}"
    if torch.version.cuda and not torch.cuda.is_available() and Path("/dev/nvidia0").exists():
        yield Finding(
            "devices", f"{name}: a GPU is there, and torch cannot use it; look at its driver: nvidia-smi", True
        )
        return
    gpus = [torch.cuda.get_device_name(each) for each in range(torch.cuda.device_count())]
    for number in range(len(gpus)):
        torch.ones(8, device=f"cuda:{number}").sum().item()
    yield Finding("devices", f"{name}, {len(os.sched_getaffinity(0))} cores, {', '.join(gpus) or 'no GPU'}")


def _memory() -> Iterator[Finding]:
    import psutil

    total = psutil.virtual_memory().total
    told = f"{total / 2**30:.1f} GB"
    yield Finding("memory", told if total >= MEMORY else f"{told}; 2 GB are wanted: fewer --workers", total < MEMORY)


def _here() -> Iterator[Finding]:
    place = Path.cwd()
    free = shutil.disk_usage(place).free
    told = f"{free / 2**30:.1f} GB free in {place}"
    if fault := machine.fault_of(place):
        yield Finding("disk", f"{place} is {fault}; go where you may write and there is room", True)
    else:
        yield Finding("disk", told if free >= ROOM else f"{told}; a GB is wanted: make room", free < ROOM)


def _folders() -> Iterator[Finding]:
    if (place := machine.temporary_folder()) is not None:
        yield Finding("temporary", f"{place}, {shutil.disk_usage(place).free / 2**30:.1f} GB free")
    yield Finding("home", f"{Path.home()}; Prefect: {os.environ.get('PREFECT_HOME', Path.home() / '.prefect')}")


def _clock() -> Iterator[Finding]:
    now, installed = time.time(), Path(__file__).stat().st_mtime
    if now + APART < installed:
        yield Finding("clock", f"it is {time.ctime(now)}, before this program was installed; set the clock", True)
        return
    with tempfile.TemporaryFile(dir=Path.cwd() if not machine.fault_of(Path.cwd()) else None) as file:
        apart = os.fstat(file.fileno()).st_mtime - time.time()
    told = f"{time.strftime('%Y-%m-%d %H:%M:%S %Z')}"
    if abs(apart) > APART:
        yield Finding(
            "clock", f"{told}; the disk's is {apart:+.0f} s apart, and scans look younger or older: set both", True
        )
    else:
        yield Finding("clock", told)


def _loopback() -> Iterator[Finding]:
    told = ", ".join(f"{name}={value}" for name, value in proxies().items()) or "none"
    yield Finding("proxies", f"{told}{'; never for this machine itself' if proxies() else ''}")
    with socket.socket() as listening, socket.socket() as asking:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        asking.settimeout(PATIENCE)
        asking.connect(listening.getsockname())
    yield Finding("loopback", "127.0.0.1 answers")


def _ports() -> Iterator[Finding]:
    if _version("supervisor") is None:
        yield Finding("ports", "not looked at: only `il up` wants them, and needs the extra platform")
        return
    from tasks.services.commands import PORTS
    from tasks.services.supervising import is_free, is_running

    if is_running(Path(".il").absolute()):
        yield Finding("ports", "a platform of this folder is up")
        return
    taken = [f"{name}={port}" for name, port in PORTS.items() if not is_free(port)]
    # No fault: who has no use for `il up` needs none of them.
    told = f"taken: {', '.join(taken)}; il up --port NAME=N takes others" if taken else "free for il up"
    yield Finding("ports", told)


def _services() -> Iterator[Finding]:
    for name, health in SERVICES.items():
        address = os.environ.get(name, "")
        if "://" in address and not address.startswith(("sqlite", "postgresql", "file", "databricks")):
            trouble = _trouble_with(address, health)
            shown = urlsplit(address)._replace(netloc=urlsplit(address).netloc.rpartition("@")[2]).geturl()
            told = f"{shown}: {trouble}; start it, or unset {name}" if trouble else f"{shown} answers"
            yield Finding(name, told, bool(trouble))
    if not any(os.environ.get(name) for name in ("PREFECT_API_URL", "IL_SCHEDULER")):
        yield Finding("services", "none named: Prefect, Dask and MLflow are embedded")


def _trouble_with(address: str, health: str | None) -> str:
    """Return why a service is of no use; empty where it answers."""
    parts = urlsplit(address)
    try:
        if health is None:
            port = parts.port or {"https": 443, "http": 80}.get(parts.scheme, 8786)
            socket.create_connection((parts.hostname or "", port), timeout=PATIENCE).close()
        else:
            with urllib.request.urlopen(address.rstrip("/") + health, timeout=PATIENCE):
                pass
    except urllib.error.HTTPError as error:
        # It is there; whether we may in is not asked here.
        return "" if error.code in (401, 403) else f"answers {error.code}"
    except (OSError, ValueError) as error:
        return f"no answer ({error})"
    return ""


_LOOKS: tuple[Callable[[], Iterator[Finding]], ...] = (
    _python, _packages, _extras, _devices, _memory, _here, _folders, _clock, _loopback, _ports, _services,
)  # fmt: skip
