"""The nightly deployment on a real Prefect server with a real worker, on loopback.

What is watched above all is that a scheduled run is created at all: with a SQLAlchemy that is one version too new
everything works but the scheduler, and nothing says so.
"""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from ilcore import open_volume

ROOT = Path(__file__).parents[2]
PREFECT = [sys.executable, "-m", "prefect"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator["Server"]:
    """A server, a work pool, the deployment of deploy/prefect.yaml and a worker."""
    home = tmp_path_factory.mktemp("prefect")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    running = Server(home, port)
    try:
        running.start("server", "server", "start", "--host", "127.0.0.1", "--port", str(port))
        until(running.is_up, 180, "the server answers")
        running.call("work-pool", "create", "il", "--type", "process")
        running.call("deploy", "--all", "--prefect-file", "deploy/prefect.yaml")
        running.start("worker", "worker", "start", "--pool", "il")
        yield running
    finally:
        running.stop()


@pytest.mark.timeout(600)
def test_the_scheduler_creates_runs_at_the_cron_time(server: "Server") -> None:
    def scheduled() -> list[dict[str, Any]]:
        found = server.ask("flow_runs/filter", {"sort": "EXPECTED_START_TIME_ASC", "limit": 5})
        return [run for run in found if run["auto_scheduled"]]

    first = until(scheduled, 240, "a run is scheduled by itself")[0]
    assert first["expected_start_time"][11:16] == "02:00"
    assert first["state_type"] == "SCHEDULED"
    assert {"ilcore", "nightly"} <= set(first["tags"])


@pytest.mark.timeout(600)
def test_one_night_never_overlaps_the_next(server: "Server") -> None:
    deployment = server.ask("deployments/name/restore-volume/nightly")
    assert deployment["global_concurrency_limit"]["limit"] == 1
    assert deployment["concurrency_options"]["collision_strategy"] == "CANCEL_NEW"


@pytest.mark.timeout(900)
def test_a_triggered_run_restores_and_publishes(server: "Server", tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    clean = ndimage.gaussian_filter(rng.normal(size=(128, 128)), 6)
    noisy = clean / clean.std() + rng.normal(0, 0.3, clean.shape)
    np.save(tmp_path / "scan.npy", noisy.astype(np.float32))
    target = tmp_path / "clean.ome.zarr"
    wishes = {
        "source": str(tmp_path / "scan.npy"), "target": str(target), "workers": 1, "device": "cpu",
        "method": "adapted", "overrides": {"stop.steps": 0},
    }  # fmt: skip
    server.call("deployment", "run", "restore-volume/nightly", "--params", json.dumps(wishes))

    def ended() -> dict[str, Any] | None:
        runs = server.ask("flow_runs/filter", {"limit": 50})
        mine = [run for run in runs if not run["auto_scheduled"]]
        return mine[0] if mine and mine[0]["state_type"] in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED") else None

    run = until(ended, 600, "the triggered run ends")
    assert run["state_type"] == "COMPLETED", server.log("worker")
    assert run["name"] == "scan.npy-adapted"
    assert open_volume(str(target)).shape[3:] == (128, 128)
    [artifact] = server.ask("artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [run["id"]]}}})
    assert "clean.ome.zarr" in artifact["data"]


class Server:
    """A Prefect installation of its own, in a folder of its own."""

    def __init__(self, home: Path, port: int) -> None:
        self.home, self.api = home, f"http://127.0.0.1:{port}/api"
        self.started: list[subprocess.Popen[bytes]] = []
        self.environment = {
            **os.environ, "PREFECT_HOME": str(home), "PREFECT_API_URL": self.api, "PREFECT_PROFILES_PATH":
            str(home / "profiles.toml"), "DO_NOT_TRACK": "true", "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_LOGGING_LEVEL": "INFO", "IL_HOME": str(ROOT), "IL_SOURCE": "unused", "IL_TARGET": "unused",
            "MLFLOW_TRACKING_URI": f"sqlite:///{home / 'mlruns.db'}",
        }  # fmt: skip

    def start(self, name: str, *words: str) -> None:
        with (self.home / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                [*PREFECT, *words], cwd=ROOT, env=self.environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        self.started.append(process)

    def call(self, *words: str) -> None:
        done = subprocess.run(
            [*PREFECT, *words], cwd=ROOT, env=self.environment, capture_output=True, text=True, timeout=180,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr

    def ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        content = None if body is None else json.dumps(body).encode()
        asked = urllib.request.Request(f"{self.api}/{path}", content, {"Content-Type": "application/json"})
        with urllib.request.urlopen(asked, timeout=30) as answer:
            return json.load(answer)

    def is_up(self) -> bool:
        try:
            return bool(self.ask("health"))
        except OSError:
            return False

    def log(self, name: str) -> str:
        return (self.home / f"{name}.log").read_text()[-4000:]

    def stop(self) -> None:
        for process in reversed(self.started):
            process.terminate()
        for process in reversed(self.started):
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def until(found: Callable[[], Any], seconds: float, wanted: str) -> Any:
    """Return the first answer that holds, or fail when time is up."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        answer = found()
        if answer:
            return answer
        time.sleep(1)
    raise AssertionError(f"waited {seconds} s until {wanted}")
