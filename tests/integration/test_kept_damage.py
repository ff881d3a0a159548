"""Damage to what is kept of a run and its result: each is found, told in a sentence, and costs no more than it must."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ilcore.grammar.errors import BadPlan, CorruptData
from ilcore.keeping.audit import audit
from ilcore.keeping.repair import repair
from ilcore.keeping.verify import is_over, verify
from ilcore.planning.plan import RestorationPlan
from ilcore.running import carry_out as alone
from ilcore.running.carry_out import carry_out
from ilcore.running.damage import read_damage, write_damage
from ilcore.running.record import devices_of, note_device, read_findings, read_record
from ilcore.running.run import Run
from ilcore.running.workspace import Workspace
from tests.dying import WatchedExecutor, carry_out_until, killed
from tests.integration.test_verify import chunks, cut, finished, flip, run, tree

__all__ = ["finished", "run"]

Pair = tuple[RestorationPlan, Workspace]


def changed(path: Path, *keys: str | int, to: Any) -> None:
    """Change one word of a JSON file."""
    content = json.loads(path.read_text())
    inner = content
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = to
    path.write_text(json.dumps(content))


def mended(plan: RestorationPlan, workspace: Workspace) -> int:
    write_damage(workspace, verify(Run(plan, workspace)))
    return repair(Run(plan, workspace))


SCALE = ("attributes", "ome", "multiscales", 0, "datasets", 1, "coordinateTransformations", 0, "scale")
CHANGES: dict[str, tuple[str, tuple[str | int, ...], Any]] = {
    "scale": ("zarr.json", SCALE, [7.0, 7.0]),
    "verdict": ("zarr.json", ("attributes", "ilcore", "verdict"), "fail"),
    "axis": ("zarr.json", ("attributes", "ome", "multiscales", 0, "axes", 0, "name"), "x"),
    "source": ("zarr.json", ("attributes", "ilcore", "source"), "/elsewhere.npy"),
    "an added word": ("zarr.json", ("attributes", "surprise"), 1),
    "fill value": ("0/zarr.json", ("fill_value",), 9),
    "fill value of a level": ("1/zarr.json", ("fill_value",), 9),
    "dimension names": ("0/zarr.json", ("dimension_names",), ["x", "y"]),
    "dimension names of a level": ("2/zarr.json", ("dimension_names",), ["a", "b"]),
    "attributes of a level": ("2/zarr.json", ("attributes",), {"scale_factor": 2}),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_word_of_the_metadata_is_found_and_put_back(name: str, run: Pair) -> None:
    plan, workspace = run
    file, keys, to = CHANGES[name]
    before = tree(workspace.target)
    changed(workspace.target / file, *keys, to=to)
    points = {point.name: point.finding for point in audit(Run(plan, workspace), tiles=0, seed=0)}
    assert points["voxels"] == "differs"
    assert file.rpartition("/")[0] or "root" in {each.place for each in verify(Run(plan, workspace))}
    assert mended(plan, workspace) >= 1
    assert tree(workspace.target) == before
    assert verify(Run(plan, workspace)) == ()


@pytest.mark.parametrize("name", ["scale", "verdict", "fill value", "dimension names of a level"])
def test_where_nobody_kept_the_metadata_what_follows_from_plan_and_record_is_checked(name: str, run: Pair) -> None:
    """As results of version 0.1 are."""
    plan, workspace = run
    workspace.metadata.unlink()
    file, keys, to = CHANGES[name]
    if name == "scale":
        keys = (*keys[:5], 0, *keys[6:])
    changed(workspace.target / file, *keys, to=to)
    assert verify(Run(plan, workspace))
    assert mended(plan, workspace) >= 1
    assert verify(Run(plan, workspace)) == ()


def test_other_spaces_between_the_words_are_no_damage(run: Pair) -> None:
    plan, workspace = run
    for file in ("zarr.json", "0/zarr.json"):
        content = json.loads((workspace.target / file).read_text())
        (workspace.target / file).write_text(json.dumps(content, indent=7))
    assert verify(Run(plan, workspace)) == ()


WAYS: dict[str, Callable[[Path], Any]] = {"cut": cut, "missing": Path.unlink, "empty": lambda path: path.write_text("")}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["record.json", "plan.yaml", "metadata.json"])
def test_what_is_kept_of_a_published_run_is_told_and_made_again(name: str, way: str, run: Pair) -> None:
    plan, workspace = run
    # The copy of a run elsewhere leads to where that lies.
    workspace.keep_plan(plan)
    before, findings = tree(workspace.target), read_findings(workspace)
    WAYS[way](workspace.root / name)
    assert is_over(workspace)
    found = verify(Run(plan, workspace))
    assert [each.place for each in found] == ([] if name == "metadata.json" else [name.partition(".")[0]])
    if name == "record.json":
        with pytest.raises(CorruptData, match=r"record.json, it is .*il resume"):
            read_record(workspace)
    mended(plan, workspace)
    assert verify(Run(plan, workspace)) == ()
    assert workspace.plan_of_run() == plan
    assert (read_findings(workspace), read_record(workspace)["published"]) == (findings, True)
    assert tree(workspace.target) == before


@pytest.mark.parametrize("way", WAYS)
def test_the_same_run_again_makes_a_lost_record_again(way: str, run: Pair) -> None:
    plan, workspace = run
    workspace.keep_plan(plan)
    WAYS[way](workspace.record)
    carry_out(plan)
    assert read_record(workspace)["published"] is True
    assert "made again" in read_record(workspace)["remade"]


@pytest.mark.parametrize("command", ["status", "qa", "verify", "report"])
@pytest.mark.parametrize("name", ["record.json", "plan.yaml", "damage.json"])
def test_a_command_that_meets_a_cut_file_says_so_in_a_sentence(name: str, command: str, run: Pair) -> None:
    from flows.cli import app

    plan, workspace = run
    workspace.keep_plan(plan)
    (workspace.root / name).write_text('{"pub')
    told = CliRunner().invoke(app, [command, plan.target])
    assert told.exception is None or isinstance(told.exception, SystemExit), told.exception
    assert "Traceback" not in told.output
    if name == "record.json" and command != "report":
        assert told.exit_code == 1, told.output
        assert "il resume" in told.output


def test_a_plan_that_was_cut_where_nothing_is_missed_is_not_carried_out(run: Pair) -> None:
    plan, workspace = run
    workspace.keep_plan(plan)
    whole = workspace.plan.read_text()
    assert "seed: 0" in whole
    workspace.plan.write_text(whole.replace("seed: 0", "seed: 1"))
    with pytest.raises(BadPlan, match=r"cut or edited.*il resume"):
        workspace.plan_of_run()


@pytest.mark.parametrize("part", ["tiles", "blocks", "curve", "seam"])
def test_a_flipped_byte_of_the_ledger_costs_its_unit(part: str, run: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, workspace = run
    result, ledger = tree(workspace.target), Run(plan, workspace).ledger
    before = {name: ledger.read(name) for name in ("digest", "block_digest")}
    found = chunks(workspace.ledger, part)
    if not found:
        pytest.skip("this method draws no curves")
    flip(found[0])
    damages = verify(Run(plan, workspace))
    assert [each.place.split()[0] for each in damages] == ["ledger"]
    assert mended(plan, workspace) == 1
    again = Run(plan, workspace).ledger
    assert all((again.read(name) == values).all() for name, values in before.items())
    assert verify(Run(plan, workspace)) == ()
    assert tree(workspace.target) == result


@pytest.mark.parametrize("name", ["zarr.json", "tiles/zarr.json", "blocks/zarr.json", "seam/zarr.json"])
@pytest.mark.parametrize("way", WAYS)
def test_metadata_of_the_ledger_are_written_again(name: str, way: str, run: Pair) -> None:
    plan, workspace = run
    before = json.loads((workspace.ledger / name).read_text())
    WAYS[way](workspace.ledger / name)
    assert [each.place for each in verify(Run(plan, workspace))] == ["ledger"]
    assert mended(plan, workspace) == 1
    assert json.loads((workspace.ledger / name).read_text()) == before
    assert verify(Run(plan, workspace)) == ()


@pytest.fixture
def half(run: Pair, tmp_path: Path) -> Pair:
    """A run whose tiles are all done, and one of whose write units is assembled."""
    finished, _ = run
    plan = finished.model_copy(update={"target": str(tmp_path / "half" / "out.ome.zarr")})
    done = list[int]()
    carry_out_until(plan, moves=lambda block: killed() if done else done.append(block))
    return plan, Workspace.of(plan.target)


@pytest.mark.parametrize(
    "lost",
    [
        "scratch.zarr", "scratch.zarr/zarr.json", "staging.ome.zarr", "staging.ome.zarr/0/zarr.json",
        "ledger.zarr/zarr.json", "ledger.zarr/tiles/zarr.json", "plan.yaml",
    ],
)  # fmt: skip
@pytest.mark.parametrize("is_verified", [False, True])
def test_what_gets_lost_of_a_run_under_way_is_made_again(lost: str, is_verified: bool, half: Pair, run: Pair) -> None:
    plan, workspace = half
    place = workspace.root / lost
    shutil.rmtree(place) if place.is_dir() else place.unlink()
    if is_verified:
        found = verify(Run(plan, workspace))
        assert found
        write_damage(workspace, found)
        repair(Run(plan, workspace))
        assert read_damage(workspace) == ()
    restored = list[Any]()
    carry_out(plan, executor=WatchedExecutor(computes=restored.append))
    assert tree(workspace.target) == tree(run[1].target)
    assert verify(Run(plan, workspace)) == ()
    if lost != "scratch.zarr":
        assert restored == [], "no tile is restored twice"


def test_a_flipped_byte_of_the_ledger_of_a_run_under_way_costs_its_unit(half: Pair, run: Pair) -> None:
    plan, workspace = half
    flip(chunks(workspace.ledger, "tiles")[1])
    restored = list[Any]()
    carry_out(plan, executor=WatchedExecutor(computes=restored.append))
    assert len(restored) == 1
    assert tree(workspace.target) == tree(run[1].target)


def test_going_on_on_another_kind_of_device_is_allowed_and_marked(
    run: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished, _ = run
    plan = finished.model_copy(update={"target": str(tmp_path / "moved" / "out.ome.zarr")})
    workspace = Workspace.of(plan.target)
    with monkeypatch.context() as broken:
        broken.setattr(alone, "kind_of", lambda _: "Big GPU")
        carry_out_until(plan, computes=killed)
    report = carry_out(plan)
    assert [each["device"] for each in devices_of(workspace)] == ["Big GPU", "cpu"]
    assert [each["device"] for each in read_record(workspace)["devices"]] == ["Big GPU", "cpu"]
    assert any("Big GPU" in note and "cpu" in note for note in report.notes)
    note_device(workspace, "cpu", 1)
    assert len(devices_of(workspace)) == 2, "the same kind is noted once"
