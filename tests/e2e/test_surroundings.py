"""Nights whose surroundings fail: no scan is blamed, somebody is told, and the next night makes good."""

import json
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient

from ilcore.archives.scan_registry import ScanRegistry
from tests.hook import hook
from tests.il import Il
from tests.scenes import noisy, scene
from tests.servers import PrefectServer, free_port

pytestmark = [pytest.mark.timeout(900), pytest.mark.slow]


@pytest.fixture(scope="module")
def il(prefect_server: PrefectServer) -> Il:
    return Il(dict(prefect_server.environment))


def archive_in(folder: Path, **night: object) -> Path:
    (folder / "scans").mkdir(exist_ok=True)
    for number in range(2):
        seen = noisy(scene("cells", (64, 64), number), std=0.06, seed=number)
        np.save(folder / "scans" / f"s{number}.npy", (seen * 4000 + 2000).clip(0, 65535).astype("u2"))
    content = {
        "name": "try", "books": "books",
        "sources": [{
            "find": "scans/*.npy", "target": "out/{stem}.ome.zarr", "settle_minutes": 0,
            "restore": {"axes": "yx", "method": "nlm"},
        }],
        "night": {"workers": 1, "device": "cpu", "again_minutes": [0], **night},
    }  # fmt: skip
    path = folder / "archive.yaml"
    path.write_text(json.dumps(content))
    return path


def standings(folder: Path) -> dict[str, tuple[str, int]]:
    return {
        Path(each.source).stem: (each.standing, each.tries) for each in ScanRegistry.of(str(folder / "books")).all()
    }


def test_without_mlflow_a_night_does_its_work_and_its_records_are_sent_later(il: Il, tmp_path: Path) -> None:
    port = free_port()
    archive = archive_in(tmp_path, tracking_uri=f"http://127.0.0.1:{port}")
    code, told, trouble = il("nightly", archive)
    assert code == 0, told + trouble
    assert standings(tmp_path) == {"s0": ("done", 0), "s1": ("done", 0)}
    assert "its records wait in" in trouble
    assert "3 runs wait for MLflow" in il("status", archive)[1]
    # What waits says where it goes: here, to another place than a server that nobody starts.
    database = f"sqlite:///{tmp_path}/runs.db"
    for entry in (tmp_path / "books" / "untracked").rglob("*.json"):
        content = json.loads(entry.read_text())
        if "uri" in content:
            entry.write_text(json.dumps({**content, "uri": database}))
    code, told, trouble = il("track", archive)
    assert (code, told.split()) == (0, ["sent", "3", "runs", "waiting", "0"]), trouble
    client = MlflowClient(database)
    runs = client.search_runs([each.experiment_id for each in client.search_experiments()])
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert sum("il.fingerprint" in run.data.tags and "seconds" in run.data.metrics for run in runs) == 2


def test_without_a_scheduler_nothing_is_blamed_and_somebody_is_told(il: Il, tmp_path: Path) -> None:
    archive = archive_in(tmp_path, scheduler=f"tcp://127.0.0.1:{free_port()}")
    with hook() as (address, posted):
        code, told, trouble = Il({**il.environment, "IL_NOTIFY_URL": address})("nightly", archive)
    assert code == 3, told + trouble
    assert "in the way  scheduler must be running" in told
    assert standings(tmp_path) == {}
    assert "scheduler must be running" in posted[0]["text"]
    assert il("nightly", archive_in(tmp_path))[0] == 0
    assert standings(tmp_path) == {"s0": ("done", 0), "s1": ("done", 0)}


def test_what_a_disk_refuses_waits_and_costs_no_try(il: Il, tmp_path: Path) -> None:
    archive = archive_in(tmp_path, tries=1)
    # Where results go, something lies that is no folder: like a mount that is not there.
    (tmp_path / "out").write_text("")
    code, told, trouble = il("nightly", archive)
    assert code == 3, told + trouble
    assert standings(tmp_path) == {"s0": ("paused", 0), "s1": ("paused", 0)}
    (tmp_path / "out").unlink()
    assert il("nightly", archive)[0] == 0
    assert standings(tmp_path) == {"s0": ("done", 0), "s1": ("done", 0)}


def test_what_was_quarantined_is_released(il: Il, tmp_path: Path) -> None:
    archive = archive_in(tmp_path)
    bad = tmp_path / "scans" / "s0.npy"
    good = bad.read_bytes()
    bad.write_bytes(b"no scan at all")
    assert il("nightly", archive)[0] == 3
    assert standings(tmp_path)["s0"][0] == "quarantined"
    code, told, _ = il("status", archive)
    assert code == 3
    assert "il nightly ARCHIVE --release" in told
    assert il("nightly", archive)[0] == 0
    code, told, _ = il("nightly", archive, "--release", "--dry-run")
    assert (code, "s0.npy" in told) == (0, True)
    assert standings(tmp_path)["s0"][0] == "quarantined"
    assert il("nightly", archive, "--release")[0] == 3
    bad.write_bytes(good)
    assert il("nightly", archive)[0] == 0
    assert standings(tmp_path)["s0"] == ("done", 0)
