"""The nightly deployment on a real Prefect server with a real worker, on loopback.

What is watched above all is that a scheduled run is created at all: with a SQLAlchemy that is one version too new
everything works but the scheduler, and nothing says so.
"""

import json
import os
import time
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import DeploymentUpdate
from prefect.settings import PREFECT_API_URL, temporary_settings
from scipy import ndimage

from ilcore import open_volume
from ilcore.grammar.errors import Busy
from ilcore.running.local import carry_out
from ilcore.running.workspace import Workspace
from tasks.services import stale
from tasks.services.stale import lift_limits
from tests.il import digests_of, done_of
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
def test_no_slot_on_the_server_can_end_all_nights(name: str, server: PrefectServer) -> None:
    deployment = server.ask(f"deployments/name/{name}")
    assert deployment["global_concurrency_limit"] is None
    # As an earlier version put it on schedule.
    with temporary_settings({PREFECT_API_URL: server.api}), get_client(sync_client=True) as client:
        client.update_deployment(UUID(deployment["id"]), DeploymentUpdate(concurrency_limit=1))
    assert server.ask(f"deployments/name/{name}")["global_concurrency_limit"]["limit"] == 1
    with temporary_settings({PREFECT_API_URL: server.api}):
        assert lift_limits() == [name.partition("/")[2]]
    assert server.ask(f"deployments/name/{name}")["global_concurrency_limit"] is None


@pytest.mark.timeout(600)
def test_runs_whose_process_is_gone_are_ended_and_no_others(
    server: PrefectServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stale, "YOUNG", timedelta(0))
    deployment = server.ask("deployments/name/nightly/archive")["id"]

    def made(archive: str, kind: str) -> str:
        state = {"type": kind, "name": kind.title()}
        wanted = {"deployment_id": deployment, "parameters": {"archive": archive}, "state": state,
                  "flow_id": server.ask("deployments/name/nightly/archive")["flow_id"]}  # fmt: skip
        return str(server.ask("flow_runs/", wanted)["id"])

    mine, dead, lost, other, over = (
        made(archive, kind)
        for archive, kind in (
            ("a", "RUNNING"), ("a", "RUNNING"), ("a", "PENDING"), ("b", "RUNNING"), ("a", "COMPLETED"),
        )
    )  # fmt: skip
    with temporary_settings({PREFECT_API_URL: server.api}):
        assert stale.end_stale(UUID(deployment), UUID(mine)) == 2
    kinds = [server.ask(f"flow_runs/{run}")["state"]["type"] for run in (mine, dead, lost, other, over)]
    assert kinds == ["RUNNING", "CRASHED", "CRASHED", "RUNNING", "COMPLETED"]


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
        mine = [run for run in of_deployments(server) if run["parameters"].get("target") == str(target)]
        return mine[0] if mine and mine[0]["state_type"] in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED") else None

    run = until(ended, 600, "the triggered run ends")
    assert run["state_type"] == "COMPLETED", server.log("worker")
    assert run["name"] == "scan.npy-adapted"
    assert open_volume(str(target)).shape[3:] == (128, 128)
    [artifact] = server.ask("artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [run["id"]]}}})
    assert "clean.ome.zarr" in artifact["data"]


#: Of the slow restoration.
TILES = 36


def slow_wishes(folder: Path, target: Path) -> dict[str, Any]:
    """Return a restoration that is at work for half a minute: every tile is a unit of work of its own."""
    rng = np.random.default_rng(1)
    clean = ndimage.gaussian_filter(rng.normal(size=(192, 192)), 6)
    np.save(folder / "slow.npy", (clean / clean.std() + rng.normal(0, 0.3, clean.shape)).astype(np.float32))
    return {
        "source": str(folder / "slow.npy"), "target": str(target), "workers": 1, "device": "cpu", "tile": [1, 32, 32],
        "method": "zs_n2n", "scope": "tile", "overrides": {"stop.steps": 40}, "noise_std": 0.3,
    }  # fmt: skip


def begun(server: PrefectServer, name: str, wishes: dict[str, Any]) -> str:
    """Start a run of a deployment, and return its id."""
    deployment = server.ask(f"deployments/name/{name}")
    return str(server.ask(f"deployments/{deployment['id']}/create_flow_run", {"parameters": wishes})["id"])


def in_state(server: PrefectServer, run: str, *names: str, seconds: float = 240) -> None:
    def is_there() -> bool:
        state = server.ask(f"flow_runs/{run}")["state"]
        assert state["name"] in names or state["type"] not in ("FAILED", "CRASHED"), (state, server.log("worker"))
        return state["name"] in names

    until(is_there, seconds, f"the run is {' or '.join(names)}")


def told(server: PrefectServer, run: str, kind: str, name: str, **details: Any) -> None:
    """Do what the buttons on Prefect's page of a run do."""
    state = {"type": kind, "name": name, "state_details": details}
    answer = server.ask(f"flow_runs/{run}/set_state", {"state": state})
    assert answer["status"] == "ACCEPT", answer


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("IL_SOAK"), reason="takes three minutes: runs in `make e2e` (IL_SOAK=1)")
@pytest.mark.timeout(900)
def test_a_run_is_paused_suspended_and_cancelled_and_nothing_is_lost(server: PrefectServer, tmp_path: Path) -> None:
    target = tmp_path / "slow.ome.zarr"
    wishes = slow_wishes(tmp_path, target)
    run = begun(server, "restore-volume/nightly", wishes)
    until(lambda: done_of(target) > 0, 300, "the first tile is done")

    told(server, run, "PAUSED", "Paused", pause_timeout="2099-01-01T00:00:00Z")
    until(lambda: settled_at(target) is not None, 120, "no tile is begun any more")
    paused = done_of(target)
    assert 0 < paused < TILES
    server.ask(f"flow_runs/{run}/resume", {})
    until(lambda: done_of(target) > paused, 120, "it goes on")

    told(server, run, "PAUSED", "Suspended", pause_timeout="2099-01-01T00:00:00Z", pause_reschedule=True)
    until(lambda: is_free(target), 120, "it has ended, and given the target back")
    in_state(server, run, "Suspended")
    before = digests_of(target)
    assert paused < len(before) < TILES
    server.ask(f"flow_runs/{run}/resume", {})
    until(lambda: done_of(target) > len(before), 240, "a worker has taken it up")

    told(server, run, "CANCELLING", "Cancelling")
    in_state(server, run, "Cancelled")
    until(lambda: is_free(target), 60, "it has ended")
    kept = digests_of(target)
    assert len(before) < len(kept) < TILES
    assert before.items() <= kept.items()

    # What a cancelled run left is whole: it is taken up by whoever comes next.
    assert carry_out(Workspace.of(target).plan_of_run()).verdict != "fail"
    assert kept.items() <= digests_of(target).items()
    assert len(digests_of(target)) == TILES


def settled_at(target: Path) -> int | None:
    """Return how many tiles are done, if there are no more of them some seconds later."""
    before = done_of(target)
    time.sleep(6)
    return before if done_of(target) == before else None


def is_free(target: Path) -> bool:
    try:
        with Workspace.of(target).locked():
            return True
    except Busy:
        return False
