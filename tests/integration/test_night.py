"""What a night makes of a scan: how much of it there is time for, and how it is written down."""

import errno
import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ilcore.archives import allocating
from ilcore.archives.allocating import BudgetOption
from ilcore.archives.discover import discover
from ilcore.archives.job_queue import job_queue
from ilcore.archives.policy import read_archive
from ilcore.archives.scan_registry import ScanRegistry
from ilcore.grammar.errors import BadVolume, ClusterError, DivergedError, StoreError, WorkerDied
from ilcore.methods.catalogue import METHODS
from ilcore.planning.cost import work_of
from ilcore.running.carry_out import carry_out
from ilcore.running.run import Run
from ilcore.running.stages import prepare
from ilcore.running.workspace import Workspace
from tasks.executors.shutdown import OutOfTime
from tasks.nights import steps as night_module
from tasks.nights.accounts import close_night
from tasks.nights.report import LAST, write_morning_page
from tasks.nights.steps import (
    Night,
    NotTonight,
    begun,
    ended,
    learn_growth,
    learn_pace,
    may_replace,
    plan_scan,
    planned,
    put_off,
)
from tasks.outcome import Outcome
from tests.scenes import noisy, scene


@pytest.fixture
def night(tmp_path: Path) -> Night:
    (tmp_path / "scans").mkdir()
    for number in range(3):
        values = (noisy(scene("cells", (64, 64), number), std=0.06, seed=number) * 4000 + 500).clip(0, 65535)
        np.save(tmp_path / "scans" / f"s{number}.npy", values.astype("u2"))
    content = {
        "name": "try", "books": "books", "night": {"device": "cpu"},
        "sources": [{
            "find": "scans/*.npy", "target": "out/{stem}.ome.zarr", "settle_minutes": 0, "order": "name",
            "restore": {"method": "zs_n2n", "scope": "tile", "axes": "yx", "overrides": {"stop.steps": 400}},
        }],
    }  # fmt: skip
    (tmp_path / "a.yaml").write_text(json.dumps(content))
    archive = read_archive(tmp_path / "a.yaml")
    books = ScanRegistry.of(archive.books)
    return Night("tonight", archive, books, job_queue(archive, discover(archive)[0], books), (), None)


def plan_first(night: Night, seconds: float | None):
    """Return plan and rung of the first scan in a night that has so many seconds left."""
    night.ends = None if seconds is None else time.monotonic() + seconds
    first, *later = night.work
    return plan_scan.fn(night, first, later, 1)


def test_without_a_limit_nothing_is_left_out(night):
    plan, rung = plan_first(night, None)
    assert plan.overrides["stop.steps"] == 400
    assert rung.words == ""


def test_a_short_night_leaves_steps_out_and_says_so(night, monkeypatch):
    # What a step costs is measured; on a busy machine it is another number each time.
    monkeypatch.setattr(allocating, "work_of", lambda plan, *, timed: replace(work_of(plan, timed=False), seconds=30.0))
    whole = plan_first(night, 1e6)[1]
    assert whole.words == ""
    # Enough for the least of all three scans, not for half of the steps of each.
    plan, rung = plan_first(night, 1.2 * whole.seconds)
    assert plan.overrides["stop.steps"] in (100, 200)
    assert plan.left_out
    assert "for want of time" in plan.reasons
    assert (
        planned(night, night.work[0], rung, plan).degraded
        == rung.words
        == f"{plan.overrides['stop.steps']} of 400 steps"
    )
    hopeless, _ = plan_first(night, 0.001)
    assert hopeless.overrides["stop.steps"] == 100


def test_a_stopped_scan_goes_on_with_the_plan_it_had(night):
    plan, _ = plan_first(night, 0.001)
    carry_out(plan)
    item = replace(night.work[0], todo="resume")
    again, _ = plan_scan.fn(night, item, [], 1)
    assert again == plan


def test_a_stopped_scan_whose_method_gives_other_voxels_now_is_planned_anew(night, monkeypatch):
    plan, _ = plan_first(night, 0.001)
    workspace = Workspace.of(plan.target)
    with workspace.locked():
        prepare(Run(plan, workspace))
    item = replace(night.work[0], todo="resume")
    assert not may_replace(item, plan)
    monkeypatch.setitem(METHODS, "zs_n2n", replace(METHODS["zs_n2n"], version=METHODS["zs_n2n"].version + 1))
    again, _ = plan_scan.fn(night, item, [], 1)
    assert again.method_version == plan.method_version + 1
    assert may_replace(item, again)
    with workspace.locked():
        assert prepare(Run(again, workspace), overwrite=True).open_units > 0


def test_what_was_left_out_is_still_known_when_a_scan_goes_on(night):
    plan, rung = plan_first(night, 0.001)
    carry_out(plan)
    again, same = plan_scan.fn(night, replace(night.work[0], todo="resume"), [], 1)
    assert (again, same.words) == (plan, rung.words)


def test_a_result_with_fewer_steps_is_made_anew_when_there_is_time_for_all(night, monkeypatch):
    monkeypatch.setattr(allocating, "work_of", lambda plan, *, timed: replace(work_of(plan, timed=False), seconds=30.0))
    less, rung = plan_first(night, 0.001)
    carry_out(less)
    ended(night, planned(night, night.work[0], rung, less), Outcome(target=less.target, verdict="pass", report="r"))
    night.items = job_queue(night.archive, discover(night.archive)[0], night.books)
    *others, item = night.work
    assert [each.todo for each in (*others, item)] == ["new", "new", "improve"]
    # What is new is given its steps as if there were nothing to improve.
    assert plan_scan.fn(replace(night, ends=time.monotonic() + 1e6), others[0], [others[1], item], 1)[1].words == ""
    before = night.books.entry(item.scan)
    begun(night, item)
    with pytest.raises(NotTonight, match="all its steps take"):
        plan_scan.fn(replace(night, ends=time.monotonic() + 1.0), item, [], 1)
    put_off(night, item)
    assert night.books.entry(item.scan) == before
    whole, all_steps = plan_scan.fn(replace(night, ends=None), item, [], 1)
    assert whole.overrides["stop.steps"] == 400
    assert all_steps.words == ""
    assert may_replace(item, whole)


def test_only_a_result_of_ours_from_another_plan_is_replaced(night, monkeypatch):
    item, (less, _), (whole, _) = night.work[0], plan_first(night, 0.001), plan_first(night, None)
    monkeypatch.setattr(night_module, "made_by", lambda place: less.fingerprint)
    assert not may_replace(item, whole)
    assert may_replace(replace(item, replaces=True), whole)
    assert not may_replace(replace(item, replaces=True), less)


def test_what_work_took_corrects_what_is_expected(night):
    before = night.ratio
    for _ in range(8):
        learn_pace(night, BudgetOption(10.0, 1.0), 40.0 * night.ratio / before)
    assert night.ratio > 2 * before
    learn_pace(night, BudgetOption(0.0, 0.0), 1e9)


ENDS = [
    (Outcome(target="t", verdict="pass", report="r"), 1, "done"),
    (Outcome(target="t", verdict="fail", report="r"), 1, "refused"),
    (OutOfTime("over"), 2, "paused"),
    (StoreError("away"), 2, "paused"),
    (ClusterError("gone"), 2, "paused"),
    (WorkerDied("no memory"), 2, "paused"),
    (OSError(errno.ENOSPC, "no space left"), 2, "paused"),
    (MemoryError(), 2, "paused"),
    (DivergedError("nan"), 1, "failed"),
    (DivergedError("nan"), 2, "quarantined"),
    (BadVolume("garbage"), 1, "quarantined"),
    (RuntimeError("who knows"), 1, "failed"),
    (RuntimeError("who knows"), 2, "quarantined"),
]


@pytest.mark.parametrize(("outcome", "tries", "standing"), ENDS)
def test_every_end_has_a_name(outcome, tries, standing, night):
    item = replace(night.work[0], tries=tries - 1)
    entry = ended(night, begun(night, item), outcome)
    assert entry.standing == standing
    assert night.books.entry(item.scan) == entry
    if isinstance(outcome, Exception):
        assert str(outcome) in entry.why


def test_the_books_and_the_page_tell_of_the_night(night):
    plan, rung = plan_first(night, 0.001)
    report = carry_out(plan)
    entry = planned(night, night.work[0], rung, plan)
    ended(night, entry, Outcome(target=plan.target, verdict=report.verdict, report="r", numbers={"seconds": 1.0}))
    ended(night, begun(night, night.work[1]), BadVolume("garbage <b>"))
    summary = close_night.fn(night)
    assert [each["standing"] for each in summary["done"]][1] == "quarantined"
    assert [Path(each["source"]).name for each in summary["not_done"]] == ["s2.npy"]
    assert night.books.night("tonight") == summary
    page = Path(write_morning_page.fn(night.books, summary))
    assert page.name == LAST
    text = page.read_text()
    assert "100 of 400 steps" in text
    assert "garbage &lt;b&gt;" in text
    if report.verdict != "fail":
        assert text.count("data:image/png") == 2


def test_a_scan_that_had_all_steps_teaches_what_they_bring(night):
    plan, rung = plan_first(night, None)
    carry_out(plan)
    learn_growth(night, replace(rung, words="100 of 400 steps"), plan)
    assert night.books.growth("zs_n2n-tile", len(allocating.SHARES)) is None
    learn_growth(night, rung, plan)
    grown = night.books.growth("zs_n2n-tile", len(allocating.SHARES))
    assert grown is not None
    assert 0 < grown[0] <= grown[1] <= grown[2] <= 1
