"""A run that was stopped, refused, finished, or is somebody else's is taken up, told, left alone, or refused."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from ilcore.formats.open import open_volume
from ilcore.grammar.errors import BadInput, BadPlan, BadWeights, Busy, MissingKnowledge
from ilcore.keeping.audit import audit, is_sound
from ilcore.keeping.verify import verify
from ilcore.methods.catalogue import METHODS
from ilcore.planning.plan import RestorationPlan
from ilcore.qa.verdict import QAReport
from ilcore.running import attempts, stages
from ilcore.running import carry_out as alone
from ilcore.running.carry_out import carry_out
from ilcore.running.ledger import Ledger
from ilcore.running.run import Run
from ilcore.running.tile import restore_unit
from ilcore.running.volume_model import learn_volume_model
from ilcore.running.workspace import Workspace
from tests.dying import WatchedExecutor, carry_out_until, killed
from tests.scenes import blurred
from tests.standins import add_standins, assembled, planned, saved

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def standins(monkeypatch: pytest.MonkeyPatch) -> None:
    add_standins(monkeypatch)


@pytest.fixture
def restored(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The units that are restored from here on."""
    calls: list[tuple[int, ...]] = []

    def counted(run: Run, index: Any, device: str = "cpu") -> Any:
        calls.append(tuple(index))
        return restore_unit(run, index, device)

    monkeypatch.setattr(alone, "restore_unit", counted)
    return calls


def picture(seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    smooth = blurred(rng.standard_normal((48, 64)), 6)
    return (smooth / smooth.std() * 2000 + 20_000 + rng.normal(0, 500, smooth.shape)).astype("u2")


def box(tmp_path: Path, **wishes: Any) -> RestorationPlan:
    return planned(saved(tmp_path, picture()), tmp_path / "out.ome.zarr", "box", **{"tile": (1, 24, 32), **wishes})


def interrupted(plan: RestorationPlan, units: int, **more: Any) -> None:
    """Carry out a plan until so many units are done."""
    begun: list[Any] = []
    carry_out_until(plan, computes=lambda unit: killed() if len(begun) == units else begun.append(unit), **more)


def refusing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages, "judge", lambda *_: QAReport(()))


def test_a_finished_run_is_not_done_again(tmp_path, restored):
    plan = box(tmp_path)
    report = carry_out(plan)
    assert len(restored) == 4
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.name != "lock"}
    assert carry_out(plan) == report
    assert len(restored) == 4
    after = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.name != "lock"}
    assert after == before


def test_finished_and_asked_to_overwrite_is_done_again(tmp_path, restored):
    plan = box(tmp_path)
    carry_out(plan)
    first = assembled(plan)
    carry_out(plan, overwrite=True)
    assert len(restored) == 8
    np.testing.assert_array_equal(assembled(plan), first)


def test_a_stopped_run_is_taken_up(tmp_path, restored, monkeypatch):
    plan = box(tmp_path)
    interrupted(plan, 3)
    restored.clear()
    assert not Path(plan.target).exists()
    carry_out(plan)
    assert len(restored) == 1


@pytest.mark.parametrize("again", [True, False])
def test_a_stopped_run_is_taken_up_with_overwrite_too(again, tmp_path, restored, monkeypatch):
    plan = box(tmp_path)
    carry_out(plan)
    changed = plan.model_copy(update={"seed": 9})
    interrupted(changed, 3, overwrite=True)
    restored.clear()
    assert stages.made_by(Path(plan.target)) == plan.fingerprint
    restored.clear()
    # The wish to overwrite was remembered; saying it again does not start again.
    carry_out(changed, overwrite=again)
    assert len(restored) == 1
    assert stages.made_by(Path(plan.target)) == changed.fingerprint


def test_the_previous_result_stays_until_the_next_has_passed(tmp_path, monkeypatch):
    plan = box(tmp_path)
    carry_out(plan)
    first = assembled(plan)
    changed = plan.model_copy(update={"seed": 9})
    with monkeypatch.context() as patched:
        refusing(patched)
        assert carry_out(changed, overwrite=True).verdict == "fail"
    np.testing.assert_array_equal(open_volume(plan.target).read(((0, 1), (0, 1), (0, 1), (0, 48), (0, 64))), first)
    assert stages.made_by(Path(plan.target)) == plan.fingerprint


def test_another_plan_is_refused_and_nothing_is_touched(tmp_path, restored, monkeypatch):
    plan = box(tmp_path)
    interrupted(plan, 2)
    restored.clear()
    with pytest.raises(BadInput, match="il resume") as caught:
        carry_out(plan.model_copy(update={"seed": 9}))
    assert caught.value.exit_code == 2
    carry_out(plan)
    assert len(restored) == 2


def test_another_plan_with_overwrite_starts_again(tmp_path, restored, monkeypatch):
    plan = box(tmp_path)
    interrupted(plan, 2)
    restored.clear()
    carry_out(plan.model_copy(update={"seed": 9}), overwrite=True)
    assert len(restored) == 4


def test_a_plan_that_cannot_be_read_is_another_plan(tmp_path, restored, monkeypatch):
    plan = box(tmp_path)
    interrupted(plan, 2)
    restored.clear()
    for place in (Workspace.of(plan.target).plan, Workspace.of(plan.target).plan_copy):
        place.write_text("from: another version")
    with pytest.raises(BadInput, match="unreadab"):
        carry_out(plan)
    carry_out(plan, overwrite=True)
    assert len(restored) == 4


def test_without_a_plan_the_rest_means_nothing(tmp_path, restored, monkeypatch):
    plan = box(tmp_path)
    interrupted(plan, 2)
    restored.clear()
    for place in (Workspace.of(plan.target).plan, Workspace.of(plan.target).plan_copy):
        place.unlink()
    carry_out(plan)
    assert len(restored) == 4


def test_a_refused_run_says_so_again_and_is_not_done_again(tmp_path, restored, monkeypatch):
    plan = box(tmp_path)
    with monkeypatch.context() as patched:
        refusing(patched)
        assert carry_out(plan).verdict == "fail"
        assert len(restored) == 4
        assert carry_out(plan).verdict == "fail"
    assert len(restored) == 4
    assert not Path(plan.target).exists()
    assert json.loads(Workspace.of(plan.target).record.read_text())["published"] is False
    assert not (Workspace.of(plan.target).staging / "zarr.json").exists()


def test_a_refused_run_starts_again_when_asked_to_overwrite(tmp_path, restored, monkeypatch):
    plan = box(tmp_path)
    with monkeypatch.context() as patched:
        refusing(patched)
        carry_out(plan)
    assert carry_out(plan, overwrite=True).verdict != "fail"
    assert len(restored) == 8
    assert Path(plan.target).exists()


def test_a_deleted_result_is_made_again(tmp_path, restored):
    plan = box(tmp_path)
    carry_out(plan)
    first = assembled(plan)
    Path(plan.target).rename(tmp_path / "elsewhere")
    carry_out(plan)
    assert len(restored) == 8
    np.testing.assert_array_equal(assembled(plan), first)


def test_a_result_of_others_is_not_ours(tmp_path):
    plan = box(tmp_path)
    carry_out(plan)
    Path(plan.target).rename(tmp_path / "elsewhere")
    zarr.create_array(store=plan.target, shape=(3,), dtype="u1")
    with pytest.raises(BadInput, match="is there already"):
        carry_out(plan)


def test_a_moved_source_is_still_the_source(tmp_path, restored, monkeypatch):
    plan = box(tmp_path)
    interrupted(plan, 2)
    restored.clear()
    moved = saved(tmp_path, picture(), "moved.npy")
    (tmp_path / "source.npy").unlink()
    again = plan.model_copy(update={"source": plan.source.model_copy(update={"uri": str(moved)})})
    carry_out(again)
    assert len(restored) == 2


def test_what_a_killed_writer_left_is_not_published(tmp_path):
    plan = box(tmp_path)
    run = Run.of(plan)

    def leave(_: Any) -> None:
        (run.workspace.staging / "0" / "c" / "0.3f2a.partial").parent.mkdir(exist_ok=True)
        (run.workspace.staging / "0" / "c" / "0.3f2a.partial").write_bytes(b"half")

    carry_out(plan, executor=WatchedExecutor(moves=leave))
    assert not list(Path(plan.target).rglob("*.partial"))
    assert len(list((Path(plan.target) / "0").rglob("*"))) > 2


def test_a_learnt_model_that_was_changed_is_noticed(tmp_path, monkeypatch):
    plan = learning(tmp_path, "a")
    interrupted(plan, 1)
    weights = Workspace.of(plan.target).weights / "volume.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(BadWeights, match="must have sha256"):
        carry_out(plan)


def test_the_model_of_the_volume_is_learnt_once(tmp_path, monkeypatch):
    plan = learning(tmp_path, "a")
    interrupted(plan, 1)
    monkeypatch.setattr("ilcore.fit.learn", lambda *_, **__: 1 / 0)
    carry_out(plan)
    assert (Workspace.of(plan.target).weights / "volume.json").exists()


def test_tiles_wait_for_the_model_of_the_volume(tmp_path):
    plan = learning(tmp_path, "a")
    workspace = Workspace.of(plan.target)
    workspace.root.mkdir()
    stages.prepare(Run(plan, workspace))
    with pytest.raises(MissingKnowledge, match="learn it first"):
        restore_unit(Run(plan, workspace), (0, 0, 0, 0))
    learn_volume_model(Run(plan, workspace))
    restore_unit(Run(plan, workspace), (0, 0, 0, 0))
    # A model learnt anew, in the same process, is not taken for the one before.
    workspace.clear()
    stages.prepare(Run(plan, workspace))
    with pytest.raises(MissingKnowledge):
        restore_unit(Run(plan, workspace), (0, 0, 0, 0))


def test_two_at_once(tmp_path):
    plan = box(tmp_path)
    with Workspace.of(plan.target).locked(), pytest.raises(Busy, match="one run at a time") as caught:
        carry_out(plan)
    assert caught.value.exit_code == 1
    carry_out(plan)


def begun(plan: RestorationPlan) -> tuple[Workspace, Ledger]:
    workspace = Workspace.of(plan.target)
    workspace.root.mkdir()
    stages.prepare(Run(plan, workspace))
    learn_volume_model(Run(plan, workspace))
    return workspace, Run(plan, workspace).ledger


def ended(plan: RestorationPlan, workspace: Workspace, ledger: Ledger) -> Any:
    with ledger.book() as book:
        for number in reversed(ledger.open_blocks()):
            book.add(stages.assemble_block(Run(plan, workspace), number))
    return assembled(plan)


def learning(tmp_path: Path, name: str) -> RestorationPlan:
    """A plan that learns on the volume and then on each tile, in units of several tiles."""
    source = tmp_path / "source.npy"
    if not source.exists():
        saved(tmp_path, picture())
    plan = planned(
        source, tmp_path / name, "zs_n2n", scope="volume", tile_steps=2, tile=(1, 16, 16),
        overrides={"stop.steps": 3, "network.width": 4},
    )  # fmt: skip
    return plan.model_copy(update={"grid": plan.grid.model_copy(update={"unit": (1, 2, 2)})})


def test_the_order_of_units_and_blocks_does_not_matter(tmp_path):
    plan = learning(tmp_path, "a")
    workspace, ledger = begun(plan)
    for unit in list(ledger.open_units()):
        restore_unit(Run(plan, workspace), unit.index)
    wanted = ended(plan, workspace, ledger)
    other = learning(tmp_path, "b")
    workspace, ledger = begun(other)
    for unit in reversed(list(ledger.open_units())):
        restore_unit(Run(other, workspace), unit.index)
    np.testing.assert_array_equal(ended(other, workspace, ledger), wanted)
    assert not np.array_equal(wanted[0, 0, 0], picture())


HALF = """
import sys
from ilcore.running.run import Run
from ilcore.running.tile import restore_unit

run = Run.begun(sys.argv[1])
for index in eval(sys.argv[2]):
    restore_unit(run, index)
"""


def test_two_processes_make_the_same_bytes_as_one(tmp_path):
    plan = learning(tmp_path, "a")
    carry_out(plan)
    wanted = assembled(plan)
    other = learning(tmp_path, "b")
    workspace, ledger = begun(other)
    units = [unit.index for unit in ledger.open_units()]
    given = [sys.executable, "-c", HALF, other.target, repr(units[::2])]
    with subprocess.Popen(given, env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "2"}) as helper:
        for index in units[1::2]:
            restore_unit(Run(other, workspace), index)
        assert helper.wait(timeout=120) == 0
    assert not list(ledger.open_units())
    np.testing.assert_array_equal(ended(other, workspace, ledger), wanted)
    # The learnt tiles' curves and digests agree as well: not only rounded values.
    mine = Run.of(plan).ledger
    for name in ("digest", "curve", "steps", "used", "residual_level"):
        np.testing.assert_array_equal(ledger.read(name), mine.read(name))


def anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the method of the plans here one version newer."""
    monkeypatch.setitem(METHODS, "box", replace(METHODS["box"], version=2))


def test_a_plan_of_an_earlier_version_of_its_method_is_refused_before_anything_is_changed(tmp_path, monkeypatch):
    plan = box(tmp_path)
    interrupted(plan, 1)
    anew(monkeypatch)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and path.name != "lock"}
    for overwrite in (False, True):
        with pytest.raises(BadPlan, match=r"box must .* version 1 of it, here is version 2.*plan again"):
            carry_out(plan, overwrite=overwrite)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file() and p.name != "lock"} == before
    newer = box(tmp_path)
    assert (newer.method_version, newer.fingerprint == plan.fingerprint) == (2, False)
    assert RestorationPlan.from_yaml(newer.to_yaml()) == newer
    carry_out(newer, overwrite=True)


def test_a_run_whose_tiles_are_all_restored_is_finished_whatever_the_version_is_now(tmp_path, restored, monkeypatch):
    plan = box(tmp_path)
    carry_out_until(plan, moves=killed)
    anew(monkeypatch)
    carry_out(plan)
    assert len(restored) == 4
    assert verify(Run.of(plan)) == ()


def test_an_audit_says_that_another_version_made_a_result(tmp_path, monkeypatch):
    plan = box(tmp_path)
    carry_out(plan)
    anew(monkeypatch)
    points = audit(Run.of(plan), tiles=1, seed=0)
    assert is_sound(points), "the same voxels are the same voxels, whatever their version"
    monkeypatch.setitem(METHODS, "box", replace(METHODS["unchanged"], name="box", version=2))
    attempts._OPENED.clear()
    replayed = next(point for point in audit(Run.of(plan), tiles=1, seed=0) if point.name == "replay")
    assert replayed.finding == "differs"
    assert "version 1 of box made the result, here is version 2" in replayed.told
