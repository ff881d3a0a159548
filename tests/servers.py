"""Real servers on loopback, each in a folder of its own."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class PrefectServer:
    """A Prefect installation of its own."""

    def __init__(self, home: Path) -> None:
        self.home, self.port = home, free_port()
        self.api = f"http://127.0.0.1:{self.port}/api"
        self.started: list[subprocess.Popen[bytes]] = []
        self.environment = {
            **os.environ,
            "PREFECT_HOME": str(home),
            "PREFECT_PROFILES_PATH": str(home / "profiles.toml"),
            "PREFECT_API_URL": self.api,
            "DO_NOT_TRACK": "true",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "IL_HOME": str(ROOT),
            "IL_SOURCE": "unused",
            "IL_TARGET": "unused",
            "IL_ARCHIVE": "unused",
            "MLFLOW_TRACKING_URI": f"sqlite:///{home / 'mlruns.db'}",
        }

    def start_server(self) -> None:
        self.start("server", "server", "start", "--host", "127.0.0.1", "--port", str(self.port))
        until(self.is_up, 180, "the server answers")

    def start(self, name: str, *words: str) -> None:
        """Start a prefect command that stays."""
        with (self.home / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "prefect", *words], cwd=ROOT, env=self.environment, stdout=log, stderr=log,
                stdin=subprocess.DEVNULL,
            )  # fmt: skip
        self.started.append(process)

    def call(self, *words: str) -> None:
        """Run a prefect command that ends."""
        done = subprocess.run(
            [sys.executable, "-m", "prefect", *words], cwd=ROOT, env=self.environment, capture_output=True, text=True,
            timeout=180, stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr

    def ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """Ask the server's API."""
        content = None if body is None else json.dumps(body).encode()
        return answer_to(urllib.request.Request(f"{self.api}/{path}", content, {"Content-Type": "application/json"}))

    def is_up(self) -> bool:
        try:
            return bool(self.ask("health"))
        except OSError:
            return False

    def log(self, name: str) -> str:
        return (self.home / f"{name}.log").read_text()[-6000:]

    def stop(self) -> None:
        for process in reversed(self.started):
            process.terminate()
        for process in reversed(self.started):
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def answer_to(asked: urllib.request.Request) -> Any:
    """Return what a server says; on a busy machine its database is not always at hand, and it says that it is not."""
    for wait in (1, 2, 4, 8, 16, None):
        try:
            with urllib.request.urlopen(asked, timeout=30) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            if error.code != 503 or wait is None:
                raise
            time.sleep(wait)
    return None


def until(found: Callable[[], Any], seconds: float, wanted: str) -> Any:
    """Return the first answer that holds, or fail when time is up."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        answer = found()
        if answer:
            return answer
        time.sleep(0.5)
    raise AssertionError(f"waited {seconds} s until {wanted}")
