"""What runs leave behind goes; sources, results and what can be gone on with stay. And is there room for a night?"""

import json
import os
import shutil
import time
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from flows.cli import app
from ilcore.archives.cleaning import clean, clean_archive, workspaces_in
from ilcore.archives.discover import discover
from ilcore.archives.job_queue import job_queue
from ilcore.archives.policy import KeepPolicy, read_archive
from ilcore.archives.room import NO_ROOM, with_room
from ilcore.archives.scan_registry import ScanRegistry
from ilcore.planning.plan import RestorationPlan
from ilcore.running.carry_out import carry_out
from ilcore.running.workspace import Workspace
from tests.dying import carry_out_until, killed
from tests.standins import add_standins, planned, saved
from tests.unit.test_archives import archive_in, source

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RestorationPlan:
    add_standins(monkeypatch)
    values = np.random.default_rng(0).normal(500, 20, (64, 64)).astype("f4")
    return planned(saved(tmp_path, values), tmp_path / "out" / "a.ome.zarr", "box", tile=(1, 32, 32), noise_std=20.0)


@pytest.fixture
def refused(plan: RestorationPlan) -> RestorationPlan:
    """A run that the gate refused ten days ago."""
    strict = plan.model_copy(update={"gate": {"shift": (5.0, 6.0)}})
    assert carry_out(strict).verdict == "fail"
    record = Workspace.of(plan.target).record
    os.utime(str(record), (time.time() - 10 * 86400,) * 2)
    return strict


@pytest.fixture
def stopped(plan: RestorationPlan) -> RestorationPlan:
    """A run that was killed before anything was assembled."""
    carry_out_until(plan, moves=killed)
    return plan


def tree(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file() and path.name != "lock"}


@pytest.mark.medium
def test_a_published_run_leaves_nothing_but_what_explains_it(plan: RestorationPlan, tmp_path: Path) -> None:
    carry_out(plan)
    before, workspace = tree(tmp_path), Workspace.of(plan.target)
    assert clean(workspace, 0) == []
    (workspace.root / "scratch.zarr").mkdir()
    (workspace.root / "scratch.zarr" / "x").write_text("x" * 1000)
    (workspace.root / "record.json.partial").write_text("half")
    told = clean(workspace, 0, dry_run=True)
    assert (len(told), sum(piece.size for piece in told)) == (2, 1004)
    assert (workspace.root / "scratch.zarr").exists()
    assert clean(workspace, 0) == told
    assert tree(tmp_path) == before


@pytest.mark.medium
def test_what_can_be_gone_on_with_is_kept(stopped: RestorationPlan, tmp_path: Path) -> None:
    before = tree(tmp_path)
    (kept, *rest) = clean(Workspace.of(stopped.target), 0)
    assert (kept.is_needed, all(each.is_needed for each in rest)) == (True, True)
    assert tree(tmp_path) == before
    carry_out(stopped)


def test_a_run_at_work_is_left_alone(stopped: RestorationPlan, tmp_path: Path) -> None:
    before, workspace = tree(tmp_path), Workspace.of(stopped.target)
    with workspace.locked():
        (told,) = clean(workspace, 0)
    assert told.is_needed
    assert tree(tmp_path) == before


@pytest.mark.medium
@pytest.mark.parametrize(("days", "stays"), [(None, True), (30.0, True), (7.0, False)])
def test_a_refused_result_stays_until_it_is_old(days: float | None, stays: bool, refused: RestorationPlan) -> None:
    workspace = Workspace.of(refused.target)
    clean(workspace, days)
    assert not workspace.scratch.exists(), "all its tiles are assembled"
    assert workspace.staging.exists() is stays
    assert workspace.record.exists()
    assert Path(refused.source.uri).exists()
    # Judged again by other ranges, with or without what is gone.
    assert carry_out(refused.model_copy(update={"gate": {}})).verdict != "fail"


def test_without_a_plan_only_what_a_run_made_goes(stopped: RestorationPlan, tmp_path: Path) -> None:
    workspace = Workspace.of(stopped.target)
    for place in (workspace.plan, workspace.plan_copy):
        place.unlink()
    (workspace.root / "notes.txt").write_text("mine")
    before = tree(tmp_path)
    clean(workspace, 7)
    assert tree(tmp_path) == before, "somebody may still bring the plan back"
    os.utime(str(workspace.root), (time.time() - 10 * 86400,) * 2)
    clean(workspace, 7)
    assert {path.name for path in Path(str(workspace.root)).iterdir()} == {"notes.txt", "lock"}


def test_a_plan_of_a_later_version_is_kept_with_all_that_belongs_to_it(
    stopped: RestorationPlan, tmp_path: Path
) -> None:
    workspace = Workspace.of(stopped.target)
    for place in (workspace.plan, workspace.plan_copy):
        place.write_text(place.read_text() + "surprise: 1\n")
    before = tree(tmp_path)
    (told,) = clean(workspace, 0)
    assert (told.is_needed, "later version" in told.why) == (True, True)
    assert tree(tmp_path) == before


def test_a_folder_is_searched_but_no_link_is_followed(stopped: RestorationPlan, tmp_path: Path) -> None:
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "b.ome.zarr.il").symlink_to(Workspace.of(stopped.target).root)
    found = [each.target for each in workspaces_in(str(tmp_path))]
    assert found == [Workspace.of(stopped.target).target]
    assert workspaces_in(stopped.target)[0].target == found[0]


@pytest.mark.medium
def test_il_clean_tells_what_and_how_much_and_does_it(refused: RestorationPlan, tmp_path: Path) -> None:
    before = tree(tmp_path)
    dry = CliRunner().invoke(app, ["clean", str(tmp_path), "--dry-run", "--refused-days", "1"])
    assert dry.exit_code == 0, dry.output
    assert "would go" in dry.output
    assert "would be freed" in dry.output
    assert tree(tmp_path) == before
    done = CliRunner().invoke(app, ["clean", str(tmp_path), "--refused-days", "1"])
    assert "were freed" in done.output
    assert not Workspace.of(refused.target).staging.exists()
    none = CliRunner().invoke(app, ["clean", str(tmp_path / "none")])
    assert (none.exit_code, "there is none" in none.output) == (2, True)


@pytest.mark.medium
def test_an_archive_is_cleaned_by_its_own_ages_and_notes_it(refused: RestorationPlan, tmp_path: Path) -> None:
    archive = archive_in(tmp_path, source("scan.npy", "out/a.ome.zarr"))
    books = ScanRegistry.of(archive.books)
    (tmp_path / "scan.npy").write_bytes(Path(refused.source.uri).read_bytes())
    (item,) = job_queue(archive, discover(archive)[0], books)
    books.end(books.note(item.entry("night")), "refused")
    assert all(piece.is_needed or "scratch" in piece.place for piece in clean_archive(archive))
    clean_archive(archive.model_copy(update={"keep": KeepPolicy(refused_days=5)}))
    rows = json.loads((books.root / "cleaned.json").read_text())
    assert [Path(row["place"]).name for row in rows] == ["scratch.zarr", "staging.ome.zarr"]
    assert (archive.keep.refused_days, archive.keep.is_cleaned) == (30, True)


@pytest.mark.medium
def test_a_scan_without_room_is_told_and_the_rest_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.save(tmp_path / "large.npy", np.zeros((1024, 1024), "f4"))
    for name in ("small", "other"):
        np.save(tmp_path / f"{name}.npy", np.zeros((64, 64), "f4"))
    archive = archive_in(tmp_path, source("*.npy", order="name"))
    items = job_queue(archive, discover(archive)[0], ScanRegistry.of(archive.books))
    assert with_room(archive, items) == (items, []) or shutil.disk_usage(tmp_path).free < 2**30
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(2**30, 2**30, 2**20))
    found, (said,) = with_room(archive, items)
    assert [(Path(item.scan.source).stem, item.todo) for item in found] == [
        ("large", NO_ROOM), ("other", "new"), ("small", "new"),
    ]  # fmt: skip
    assert "large.npy" in said
    assert "GiB of free space are needed" in said
    dry = CliRunner().invoke(app, ["nightly", str(tmp_path / "archive.yaml"), "--dry-run"])
    assert "no room" in dry.output
    # Each fits, all together may not.
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(2**30, 2**30, 50_000))
    found, said_all = with_room(archive, items)
    assert [item.todo for item in found][1:] == ["new", "new"]
    assert any("may get full tonight" in each for each in said_all)


def test_an_archive_file_says_how_long_things_are_kept(tmp_path: Path) -> None:
    content = {"name": "a", "books": "b", "sources": [{"find": "x", "target": "y"}], "keep": {"refused_days": None}}
    (tmp_path / "a.yaml").write_text(json.dumps(content))
    assert read_archive(tmp_path / "a.yaml").keep.refused_days is None
