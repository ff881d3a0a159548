"""Platforms of their own, each in a folder and on ports that nobody uses."""

import base64
import json
import os
import shlex
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from tests.il import Il
from tests.servers import answer_to, free_port, until

#: SeaweedFS listens on further ports, 10000 above its own.
LOW = 50_000
NAMES = ("status", "prefect", "mlflow", "dask", "dashboard")


def low_port() -> int:
    """Return a port that nobody listens on now, with room above it."""
    return next(port for port in iter(free_port, 0) if port < LOW)


class Platform:
    """A platform of its own, in a folder and on ports that nobody uses."""

    def __init__(self, folder: Path, *names: str) -> None:
        self.folder, self.state = folder, folder / "platform"
        self.ports = {name: free_port() for name in NAMES} | {name: low_port() for name in names}
        # What somebody else's platform on this machine would tell our processes.
        foreign = ("PREFECT_API", "MLFLOW_TRACKING", "IL_", "DASK_DISTRIBUTED__COMM")
        self.bare = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        self.bare |= {"HOME": str(folder), "PYTHONPATH": str(Path(__file__).parents[2])}

    def up(self, *more: object) -> tuple[int, str, str]:
        words = [word for name, port in self.ports.items() for word in ("--port", f"{name}={port}")]
        return Il(self.bare)("up", "--folder", self.state, "--workers", 1, *words, *more)

    def down(self) -> tuple[int, str, str]:
        return Il(self.bare)("down", "--folder", self.state)

    @property
    def exported(self) -> dict[str, str]:
        lines = [shlex.split(line) for line in (self.state / "environment").read_text().splitlines()]
        return dict(words[1].split("=", 1) for words in lines)

    @property
    def signature(self) -> str:
        """What whoever knows the password sends."""
        return "Basic " + base64.b64encode(self.exported["PREFECT_API_AUTH_STRING"].encode()).decode()

    @property
    def il(self) -> Il:
        """The command after `source environment`."""
        return Il(self.bare | self.exported)

    def url(self, name: str, path: str = "") -> str:
        return f"http://127.0.0.1:{self.ports[name]}/{path}"

    def health(self) -> dict[str, bool]:
        try:
            with urllib.request.urlopen(self.url("status", "health"), timeout=30) as answer:
                told = json.load(answer)
        except urllib.error.HTTPError as error:
            told = json.load(error)
        return {name: each["is_well"] for name, each in told.items()}

    def ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """Ask Prefect's API."""
        content = None if body is None else json.dumps(body).encode()
        kind = {"Content-Type": "application/json", "Authorization": self.signature}
        asked = urllib.request.Request(self.url("prefect", f"api/{path}"), content, kind)
        return answer_to(asked)

    def night(self, name: str) -> dict[str, Any]:
        """Run a night as the schedule would, and return how the run ended."""
        deployment = self.ask(f"deployments/name/nightly/{name}")
        run = self.ask(f"deployments/{deployment['id']}/create_flow_run", {})

        def ended() -> Any:
            state = self.ask(f"flow_runs/{run['id']}")["state"]
            return state if state["type"] in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED") else None

        return dict(until(ended, 400, "the night is over"))


def logs(platform: Platform) -> str:
    return "\n".join(f"== {path.name}\n{path.read_text()[-1500:]}" for path in (platform.state / "logs").glob("*.log"))
