"""The nightly deployment on a real Prefect server with a real worker, on loopback.

What is watched above all is that a scheduled run is created at all: with a SQLAlchemy that is one version too new
everything works but the scheduler, and nothing says so.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from ilcore import open_volume
from tests.servers import PrefectServer, until


@pytest.fixture(scope="module")
def server(prefect_server: PrefectServer) -> PrefectServer:
    """Return a server with the work pool, the deployment of deploy/prefect.yaml and a worker."""
    prefect_server.call("work-pool", "create", "il", "--type", "process")
    prefect_server.call("deploy", "--all", "--prefect-file", "deploy/prefect.yaml")
    prefect_server.start("worker", "worker", "start", "--pool", "il")
    return prefect_server


def of_deployments(server: PrefectServer) -> list[dict[str, Any]]:
    """Return the runs of deployments, first due first; other tests' runs are on this server too."""
    wanted = {"flow_runs": {"deployment_id": {"is_null_": False}}, "sort": "EXPECTED_START_TIME_ASC", "limit": 200}
    found: list[dict[str, Any]] = server.ask("flow_runs/filter", wanted)
    return found


@pytest.mark.timeout(600)
def test_the_scheduler_creates_runs_at_the_cron_time(server: PrefectServer) -> None:
    def scheduled() -> list[dict[str, Any]]:
        runs = [run for run in of_deployments(server) if run["auto_scheduled"]]
        return runs if len({run["deployment_id"] for run in runs}) > 1 else []

    runs = until(scheduled, 240, "runs of both deployments are scheduled by themselves")
    assert {run["expected_start_time"][11:16] for run in runs} == {"02:00", "22:00"}
    assert {run["state_type"] for run in runs} == {"SCHEDULED"}
    assert all({"ilcore", "nightly"} <= set(run["tags"]) for run in runs)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", ["restore-volume/nightly", "nightly/archive"])
def test_one_night_never_overlaps_the_next(name: str, server: PrefectServer) -> None:
    deployment = server.ask(f"deployments/name/{name}")
    assert deployment["global_concurrency_limit"]["limit"] == 1
    assert deployment["concurrency_options"]["collision_strategy"] == "CANCEL_NEW"


@pytest.mark.timeout(900)
def test_a_triggered_run_restores_and_publishes(server: PrefectServer, tmp_path: Path) -> None:
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
        mine = [run for run in of_deployments(server) if not run["auto_scheduled"]]
        return mine[0] if mine and mine[0]["state_type"] in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED") else None

    run = until(ended, 600, "the triggered run ends")
    assert run["state_type"] == "COMPLETED", server.log("worker")
    assert run["name"] == "scan.npy-adapted"
    assert open_volume(str(target)).shape[3:] == (128, 128)
    [artifact] = server.ask("artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [run["id"]]}}})
    assert "clean.ome.zarr" in artifact["data"]
