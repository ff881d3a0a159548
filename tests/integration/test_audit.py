"""An audit finds whatever of a result cannot be explained any more, and changes nothing."""

import json
import shutil
from dataclasses import asdict, replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from ilcore.grammar.errors import BadInput
from ilcore.keeping.audit import audit, is_sound
from ilcore.planning.plan import RestorationPlan
from ilcore.running import tile as tile_module
from ilcore.running.carry_out import carry_out
from ilcore.running.run import Run
from ilcore.running.workspace import Workspace
from ilcore.stores.places import write_text
from tasks.audit import audit_result
from tasks.executors.cluster import Resources
from tasks.tracking.client import RunPayload, Tracker
from tasks.tracking.run_payload import volume_run
from tests.pretrained import small_weights
from tests.scenes import noisy, scene
from tests.standins import planned, saved


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a scan and a result that began from weights and learnt on the volume."""
    folder = tmp_path_factory.mktemp("made")
    source = saved(folder, (noisy(scene("cells", (64, 72)), std=0.05) * 4000 + 500).astype("u2"))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(tile_module, "tile_fails", lambda *_: None)
        plan = planned(
            source, folder / "out.ome.zarr", "adapted", tile=(1, 32, 36), scope="volume", tile_steps=2,
            overrides={"stop.steps": 2, "stop.every": 1}, weights=str(small_weights(folder / "w.safetensors")),
        )  # fmt: skip
        carry_out(plan)
    return folder


@pytest.fixture
def run(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[RestorationPlan, Workspace]:
    monkeypatch.setattr(tile_module, "tile_fails", lambda *_: None)
    shutil.copytree(made, tmp_path / "run")
    plan = Workspace.of(made / "out.ome.zarr").plan_of_run()
    source = plan.source.model_copy(update={"uri": str(tmp_path / "run" / "source.npy")})
    here = plan.model_copy(update={"target": str(tmp_path / "run" / "out.ome.zarr"), "source": source})
    workspace = Workspace.of(here.target)
    write_text(workspace.plan, here.to_yaml())
    return here, workspace


def findings(run: tuple[RestorationPlan, Workspace], tiles: int = 3) -> dict[str, str]:
    plan, workspace = run
    before = tree(workspace.root)
    points = audit(Run(plan, workspace), tiles=tiles, seed=1)
    assert tree(workspace.root) == before, "an audit changes nothing"
    return {point.name: point.finding for point in points}


def tree(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


SOUND = dict.fromkeys(("source", "weights", "software", "books", "voxels", "replay"), "sound")


def test_a_result_is_explained_to_the_last_bit(run):
    assert findings(run) == SOUND
    assert findings(run, tiles=0) == {name: found for name, found in SOUND.items() if name != "replay"}


def test_another_source_explains_nothing(run):
    plan, _ = run
    np.save(plan.source.uri, np.load(plan.source.uri) + 1)
    assert findings(run) == SOUND | {"source": "differs", "replay": "unknown"}


@pytest.mark.parametrize("name", ["volume.safetensors", "start.safetensors"])
def test_other_weights_are_noticed(name, run):
    flip(run[1].weights / name)
    found = findings(run)
    assert found["weights"] == "differs"


def test_other_software_is_told_and_the_replay_decides(run):
    _, workspace = run
    record = json.loads(workspace.record.read_text())
    record["versions"]["torch"] = "1.0"
    write_text(workspace.record, json.dumps(record))
    points = audit(Run(*run), tiles=1, seed=0)
    assert {point.name: point.finding for point in points} == SOUND | {"software": "differs"}
    assert "torch 1.0 then" in next(point.told for point in points if point.name == "software")
    assert is_sound(points)


def test_a_damaged_voxel_is_noticed(run):
    _, workspace = run
    flip(next(path for path in (workspace.target / "0" / "c").rglob("*") if path.is_file()))
    assert findings(run) == SOUND | {"voxels": "differs"}


def test_code_that_makes_other_voxels_is_noticed(run, monkeypatch):
    honest = tile_module.stored_units
    monkeypatch.setattr(tile_module, "stored_units", lambda *given: honest(*given) + 1)
    assert findings(run)["replay"] == "differs"


def test_the_record_is_kept_beside_the_result_and_in_its_run(run, tmp_path):
    plan, _ = run
    uri = f"sqlite:///{tmp_path / 'mlruns.db'}"
    tracker = Tracker(uri)
    run_id = tracker.begin(volume_run(plan, date(2026, 11, 23)), RunPayload())
    tracker.end(run_id, "FINISHED")
    found = audit_result(plan.target, Resources(device="cpu"), tiles=2, seed=5, given_uri=uri)
    assert found.is_sound
    record = json.loads(found.record.read_text())
    assert (record["is_sound"], record["seed"], record["fingerprint"]) == (True, 5, plan.fingerprint)
    assert record["points"] == [asdict(point) for point in found.points]
    noted = tracker.client.get_run(run_id)
    assert noted.data.tags["il.audit"] == "sound"
    assert [artifact.path for artifact in tracker.client.list_artifacts(run_id, "audits")] == [
        f"audits/{found.record.name}"
    ]


def test_what_is_not_published_is_not_audited(run):
    plan, workspace = run
    record = json.loads(workspace.record.read_text())
    write_text(workspace.record, json.dumps(record | {"published": False}))
    with pytest.raises(BadInput, match="il status"):
        audit_result(plan.target, Resources(device="cpu"), tiles=1, seed=0, given_uri=None)


def test_differs_is_never_sound(run):
    points = audit(Run(*run), tiles=0, seed=0)
    assert is_sound(points)
    for number, point in enumerate(points):
        worse = [*points[:number], replace(point, finding="unknown"), *points[number + 1 :]]
        assert is_sound(worse) == (point.name == "software")
