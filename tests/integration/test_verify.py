"""Damage to a result, or to a run under way, is found, and only what is damaged is made again."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from ilcore.grammar.errors import BadVolume, CorruptData, DestinationError
from ilcore.keeping import repair as repairing
from ilcore.keeping.repair import repair
from ilcore.keeping.verify import verify
from ilcore.planning.plan import RestorationPlan
from ilcore.running import assembling
from ilcore.running.carry_out import carry_out
from ilcore.running.damage import read_damage, write_damage
from ilcore.running.run import Run
from ilcore.running.tile import restore_unit
from ilcore.running.workspace import Workspace
from ilcore.tiling.grid import Unit
from tests.dying import carry_out_until, killed
from tests.scenes import blurred
from tests.standins import add_standins, planned, saved

SHAPE = (600, 700)
#: Tiles of the grid.
TILES = 6


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a scan and its published result, three levels; to be copied."""
    folder = tmp_path_factory.mktemp("finished")
    rng = np.random.default_rng(0)
    smooth = blurred(rng.standard_normal(SHAPE), 6)
    values = (smooth / smooth.std() * 2000 + 20_000 + rng.normal(0, 500, SHAPE)).astype("u2")
    with pytest.MonkeyPatch.context() as catalogue:
        add_standins(catalogue)
        carry_out(planned(saved(folder, values), folder / "out.ome.zarr", "box", tile=(1, 300, 240), noise_std=500.0))
    return folder


@pytest.fixture
def run(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[RestorationPlan, Workspace]:
    add_standins(monkeypatch)
    shutil.copytree(finished, tmp_path / "run")
    plan = Workspace.of(finished / "out.ome.zarr").plan_of_run()
    # Where source and result lie is no part of what a plan is.
    here = plan.model_copy(update={"target": str(tmp_path / "run" / "out.ome.zarr")})
    return here, Workspace.of(here.target)


def tree(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def chunks(root: Path, level: str) -> list[Path]:
    return sorted(path for path in (root / level / "c").rglob("*") if path.is_file())


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def stale(path: Path) -> None:
    """Sound voxels, but not these: what a level of another result looks like."""
    array = zarr.open_array(next(up for up in path.parents if (up / "zarr.json").exists()), mode="r+")
    array[...] = np.asarray(array[...]) + 1


WAYS: dict[str, Callable[[Path], Any]] = {"flipped": flip, "cut": cut, "missing": Path.unlink, "stale": stale}


def test_a_sound_result_is_sound(run: tuple[RestorationPlan, Workspace]) -> None:
    assert verify(Run(*run)) == ()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("level", ["0", "1", "2"])
def test_damage_is_found_and_made_good(
    level: str, way: str, run: tuple[RestorationPlan, Workspace], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, workspace = run
    before = tree(workspace.target)
    WAYS[way](chunks(workspace.target, level)[-1])
    found = verify(Run(plan, workspace))
    assert found
    assert level in {each.place for each in found}
    assert {each.place for each in found} <= {str(n) for n in range(int(level), 3)}
    restored = _watched(monkeypatch)
    write_damage(workspace, found)
    assert repair(Run(plan, workspace)) == len(found)
    assert tree(workspace.target) == before
    assert verify(Run(plan, workspace)) == ()
    assert read_damage(workspace) == ()
    if level != "0":
        assert restored == []
    elif way != "stale":
        assert 0 < len(restored) < TILES, "only the tiles that meet the damaged block"
    assert not workspace.scratch.exists()
    assert len(json.loads(workspace.record.read_text())["repairs"]) == 1


@pytest.mark.parametrize("name", ["zarr.json", "0/zarr.json", "1/zarr.json", "2/zarr.json"])
@pytest.mark.parametrize("way", ["missing", "cut"])
def test_metadata_are_written_again(name: str, way: str, run: tuple[RestorationPlan, Workspace]) -> None:
    plan, workspace = run
    before = tree(workspace.target)
    WAYS[way](workspace.target / name)
    write_damage(workspace, verify(Run(plan, workspace)))
    assert repair(Run(plan, workspace)) >= 1
    assert tree(workspace.target) == before


@pytest.mark.parametrize("name", [".zattrs", "0/.zarray", "1/.zattrs"])
def test_metadata_of_zarr_2_are_written_again(
    name: str, run: tuple[RestorationPlan, Workspace], tmp_path: Path
) -> None:
    finished, _ = run
    plan = finished.model_copy(
        update={"target": str(tmp_path / "old" / "out.ome.zarr"), "result_format": "ome-zarr 0.4"}
    )
    workspace = Workspace.of(plan.target)
    carry_out(plan)
    before = tree(workspace.target)
    cut(workspace.target / name)
    write_damage(workspace, verify(Run(plan, workspace)))
    assert repair(Run(plan, workspace)) >= 1
    assert tree(workspace.target) == before


def test_metadata_of_another_array_are_damage(run: tuple[RestorationPlan, Workspace]) -> None:
    plan, workspace = run
    path = workspace.target / "1" / "zarr.json"
    path.write_text(path.read_text().replace("uint16", "int16"))
    assert {(each.place, each.number) for each in verify(Run(plan, workspace))} >= {("1", None)}


def test_a_result_that_is_gone_or_replaced_is_not_repaired(run: tuple[RestorationPlan, Workspace]) -> None:
    plan, workspace = run
    root = workspace.target / "zarr.json"
    told = json.loads(root.read_text())
    told["attributes"]["ilcore"]["fingerprint"] = "another"
    root.write_text(json.dumps(told))
    with pytest.raises(DestinationError, match="something else stands there"):
        verify(Run(plan, workspace))
    shutil.rmtree(workspace.target)
    with pytest.raises(DestinationError, match="it is gone"):
        verify(Run(plan, workspace))


def test_another_source_repairs_nothing(
    run: tuple[RestorationPlan, Workspace], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, workspace = run
    chunk = chunks(workspace.target, "0")[0]
    flip(chunk)
    write_damage(workspace, verify(Run(plan, workspace)))
    other = saved(tmp_path, np.zeros(SHAPE, "u2"))
    moved = plan.model_copy(update={"source": plan.source.model_copy(update={"uri": str(other)})})
    damaged = chunk.read_bytes()
    with pytest.raises(BadVolume, match="another content"):
        repair(Run(moved, workspace))
    assert chunk.read_bytes() == damaged
    assert read_damage(workspace)


def test_what_comes_out_different_is_not_published(
    run: tuple[RestorationPlan, Workspace], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, workspace = run
    chunk = chunks(workspace.target, "0")[0]
    flip(chunk)
    damaged = chunk.read_bytes()
    write_damage(workspace, verify(Run(plan, workspace)))

    def other(*given: Any) -> tuple[Any, int]:
        values, clipped = assembling.block_of(*given)
        return values + 1, clipped

    monkeypatch.setattr(repairing, "block_of", other)
    with pytest.raises(CorruptData, match="as they were made first"):
        repair(Run(plan, workspace))
    assert chunk.read_bytes() == damaged
    assert read_damage(workspace)
    monkeypatch.undo()
    add_standins(monkeypatch)
    assert repair(Run(plan, workspace))
    assert verify(Run(plan, workspace)) == ()


def test_a_run_under_way_is_checked_too(run: tuple[RestorationPlan, Workspace], tmp_path: Path) -> None:
    finished, done = run
    plan = finished.model_copy(update={"target": str(tmp_path / "second" / "out.ome.zarr")})
    workspace = Workspace.of(plan.target)
    carry_out_until(plan, moves=lambda item: isinstance(item, Unit) and killed())
    assert verify(Run(plan, workspace)) == ()
    flip(chunks(workspace.scratch.parent, workspace.scratch.name)[2])
    chunks(workspace.staging, "0")[-1].unlink()
    found = verify(Run(plan, workspace))
    assert [each.place for each in found] == ["0", "tiles"]
    write_damage(workspace, found)
    assert repair(Run(plan, workspace)) == 2
    ledger = Run(plan, workspace).ledger
    assert len(ledger.open_places()) == len(ledger.open_blocks()) == 1
    carry_out(plan)
    assert tree(workspace.target) == tree(done.target)


def test_a_damaged_tile_is_restored_again_by_the_next_run(
    run: tuple[RestorationPlan, Workspace], tmp_path: Path
) -> None:
    finished, done = run
    plan = finished.model_copy(update={"target": str(tmp_path / "second" / "out.ome.zarr")})
    workspace = Workspace.of(plan.target)
    carry_out_until(plan, moves=killed)
    cut(chunks(workspace.scratch.parent, workspace.scratch.name)[0])
    with pytest.raises(CorruptData, match="il resume"):
        carry_out(plan)
    carry_out(plan)
    assert tree(workspace.target) == tree(done.target)


def _watched(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The units that are restored from here on."""
    calls: list[tuple[int, ...]] = []

    def counted(run: Run, index: Any, device: str = "cpu") -> Any:
        calls.append(tuple(index))
        return restore_unit(run, index, device)

    monkeypatch.setattr(repairing, "restore_unit", counted)
    return calls
