"""Archives: what is found, what is to be done, where the seconds go."""

import csv
import itertools
import json
import os
import time
from contextlib import nullcontext
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ilcore.archives import job_queue as agenda_module
from ilcore.archives import results as results_module
from ilcore.archives.allocating import BudgetOption, allocate, budget_options, degraded
from ilcore.archives.discover import discover
from ilcore.archives.job_queue import job_queue
from ilcore.archives.night_report import night_report_page
from ilcore.archives.policy import NightPolicy, read_archive
from ilcore.archives.roots import check_roots
from ilcore.archives.scan_registry import ScanRegistry
from ilcore.grammar.errors import BadInput, StoreError
from tests.standins import planned

BERLIN = ZoneInfo("Europe/Berlin")


def archive_in(folder, *sources, **night):
    content = {"name": "try", "books": "books", "sources": list(sources), "night": night}
    (folder / "archive.yaml").write_text(json.dumps(content))
    return read_archive(folder / "archive.yaml")


def source(find, target="out/{stem}.ome.zarr", **more):
    return {"find": find, "target": target, "settle_minutes": 0, **more}


def touch(path, seconds=0.0, content="x"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    os.utime(path, (1e9 + seconds, 1e9 + seconds))
    return path


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"name": "a/b"}, "name"),
        ({"sources": []}, "sources"),
        ({"surprise": 1}, "surprise"),
        ({"sources": [{"find": "x", "target": "y", "restore": {"metod": "nlm"}}]}, "got metod"),
        ({"night": {"until": "25:00"}}, "until"),
        ({"night": {"time_zone": "Mars/Olympus"}}, "Europe/Berlin"),
        ({"night": {"tries": 0}}, "tries"),
    ],
)
def test_an_archive_that_makes_no_sense_is_refused(change, told, tmp_path):
    content = {"name": "try", "books": "b", "sources": [{"find": "x", "target": "y"}], **change}
    (tmp_path / "a.yaml").write_text(json.dumps(content))
    with pytest.raises(BadInput, match=told):
        read_archive(tmp_path / "a.yaml")


@pytest.mark.parametrize("text", ["[", "!!python/object/apply:os.system ['true']", "\x00"])
def test_an_archive_that_is_no_plain_yaml_is_refused(text, tmp_path):
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(BadInput):
        read_archive(tmp_path / "a.yaml")
    with pytest.raises(BadInput, match="readable"):
        read_archive(tmp_path / "none.yaml")


def test_a_night_ends_at_the_next_time_of_day_where_the_archive_is():
    policy = NightPolicy(until="06:00", time_zone="Europe/Berlin")
    assert policy.seconds_left(datetime(2026, 11, 23, 22, tzinfo=BERLIN)) == 8 * 3600
    assert policy.seconds_left(datetime(2026, 11, 24, 5, tzinfo=BERLIN)) == 3600
    # The clock is put back on this night: an hour more.
    assert policy.seconds_left(datetime(2026, 10, 24, 22, tzinfo=BERLIN)) == 9 * 3600
    assert NightPolicy(until="06:00", hours=2).seconds_left(datetime(2026, 1, 1, tzinfo=ZoneInfo("UTC"))) == 7200
    assert NightPolicy().seconds_left(datetime(2026, 1, 1, tzinfo=BERLIN)) is None


def test_globs_find_files_and_volumes_but_nothing_inside_them_nor_results(tmp_path):
    touch(tmp_path / "scans" / "a.tif")
    touch(tmp_path / "scans" / "deep" / "b.ome.zarr" / "0" / "c" / "x.tif")
    touch(tmp_path / "scans" / "old.ome.zarr.il" / "plan.tif")
    archive = archive_in(tmp_path, source("scans/**/*.tif"), source("scans/**/*.zarr", "out/{parent}/{stem}.ome.zarr"))
    scans, trouble = discover(archive)
    assert not trouble
    assert {scan.source.removeprefix(f"{tmp_path}/"): scan.target.removeprefix(f"{tmp_path}/") for scan in scans} == {
        "scans/a.tif": "out/a.ome.zarr",
        "scans/deep/b.ome.zarr": "out/deep/b.ome.zarr",
    }
    assert {scan.instrument for scan in scans} == {"scans", "deep"}


def test_lists_name_scans_and_may_name_targets(tmp_path):
    for name in "ab":
        touch(tmp_path / "data" / f"{name}.npy")
    with (tmp_path / "list.csv").open("w") as file:
        writer = csv.writer(file)
        writer.writerows([["source", "target", "dish"], ["data/a.npy", "", "7"], ["data/b.npy", "/elsewhere/b", "8"]])
    archive = archive_in(tmp_path, source("list.csv", "/out/{dish}/{stem}.ome.zarr", instrument="dish {dish}"))
    scans, _ = discover(archive)
    assert [scan.target for scan in scans] == ["/out/7/a.ome.zarr", "/elsewhere/b"]
    assert [scan.instrument for scan in scans] == ["dish 7", "dish 8"]


def test_stac_items_name_their_assets(tmp_path):
    touch(tmp_path / "b04.tif"), touch(tmp_path / "b08.tif")
    assets = {"look": {"href": "look.png"}, "B04": {"href": "b04.tif", "roles": ["data"]}, "B08": {"href": "b08.tif"}}
    item = {"type": "Feature", "id": "scene-1", "collection": "s2", "assets": assets}
    (tmp_path / "items.json").write_text(json.dumps({"type": "FeatureCollection", "features": [item]}))
    first, _ = discover(archive_in(tmp_path, source("items.json", "/out/{collection}/{item}.zarr")))
    named, _ = discover(archive_in(tmp_path, source("items.json", "/out/{item}-{stem}.zarr", asset="B08")))
    assert [(scan.source, scan.target) for scan in first] == [(str(tmp_path / "b04.tif"), "/out/s2/scene-1.zarr")]
    assert [scan.target for scan in named] == ["/out/scene-1-b08.zarr"]


def test_what_cannot_be_listed_hides_nothing_else(tmp_path):
    touch(tmp_path / "a.npy")
    (tmp_path / "bad.csv").write_text("name\nx\n")
    archive = archive_in(
        tmp_path, source("none.csv"), source("bad.csv"), source("*.npy"), source("a.*", "out/{unknown}.zarr")
    )
    scans, trouble = discover(archive)
    assert [scan.source for scan in scans] == [str(tmp_path / "a.npy")]
    assert len(trouble) == 2
    assert "column `source`" in trouble[1]


def test_two_scans_never_share_a_target(tmp_path):
    touch(tmp_path / "x" / "a.npy"), touch(tmp_path / "y" / "a.npy")
    scans, trouble = discover(archive_in(tmp_path, source("*/a.npy")))
    assert len(scans) == 1
    assert "would both become" in trouble[0]


def test_a_scan_in_a_folder_changes_when_any_of_its_files_does(tmp_path):
    part = touch(tmp_path / "a.zarr" / "0" / "c")
    archive = archive_in(tmp_path, source("*.zarr"))
    stamps = []
    for seconds, content in ((0, "x"), (0, "x"), (1, "x"), (1, "xy")):
        touch(part, seconds, content)
        stamps.append(discover(archive)[0][0].stamp)
    assert stamps[0] == stamps[1]
    assert len(set(stamps)) == 3


@pytest.fixture
def three(tmp_path, monkeypatch):
    """An archive of three scans whose results are there."""
    for number, name in enumerate("abc"):
        touch(tmp_path / f"{name}.npy", number)
    monkeypatch.setattr(results_module, "made_by", lambda place: "fingerprint")
    archive = archive_in(tmp_path, source("*.npy"))
    return archive, ScanRegistry.of(archive.books)


def todo(archive, books):
    scans, _ = discover(archive)
    return {item.scan.source[-5]: item.todo for item in job_queue(archive, scans, books)}


def note(archive, books, name, standing, tries=1):
    scans, _ = discover(archive)
    (item,) = [item for item in job_queue(archive, scans, books) if item.scan.source.endswith(f"{name}.npy")]
    entry = books.note(item.entry("tonight"))
    books.end(entry, standing, "because")
    if standing in ("failed", "begun"):
        books.note(replace(entry, standing=standing, why="because", tries=tries))


def test_every_scan_is_new_once(three):
    archive, books = three
    assert todo(archive, books) == dict.fromkeys("abc", "new")
    for name, standing in (("a", "done"), ("b", "refused"), ("c", "paused")):
        note(archive, books, name, standing)
    assert todo(archive, books) == {"a": "done", "b": "done", "c": "resume"}


def test_a_scan_that_fails_or_kills_the_run_is_tried_again_and_then_put_aside(three):
    archive, books = three
    note(archive, books, "a", "failed", tries=1)
    note(archive, books, "b", "begun", tries=2)
    note(archive, books, "c", "quarantined")
    assert todo(archive, books) == {"a": "retry", "b": "quarantine", "c": "quarantine"}


def test_a_change_of_scan_or_policy_begins_anew(three, tmp_path):
    archive, books = three
    for name in "abc":
        note(archive, books, name, "quarantined" if name == "c" else "done")
    touch(tmp_path / "a.npy", 100), touch(tmp_path / "c.npy", 100)
    assert todo(archive, books) == {"a": "changed", "b": "done", "c": "changed"}
    other = archive_in(tmp_path, source("*.npy", restore={"method": "tv"}))
    assert todo(other, books) == dict.fromkeys("abc", "changed")


def test_a_result_with_fewer_steps_is_made_anew_after_all_else(three, monkeypatch):
    archive, books = three
    note(archive, books, "a", "done")
    scan = next(scan for scan in discover(archive)[0] if scan.source.endswith("a.npy"))
    books.note(replace(books.entry(scan), degraded="5 of 20 steps"))
    items = job_queue(archive, discover(archive)[0], books)
    assert [(item.scan.source[-5], item.todo, item.replaces) for item in items] == [
        ("b", "new", False), ("c", "new", False), ("a", "improve", True),
    ]  # fmt: skip
    assert items[-1].why == "had 5 of 20 steps"


def test_a_result_that_is_gone_is_made_again(three, monkeypatch):
    archive, books = three
    note(archive, books, "a", "done")
    monkeypatch.setattr(results_module, "made_by", lambda place: None)
    assert todo(archive, books)["a"] == "new"


def test_the_order_is_priority_then_unfinished_then_as_wished(tmp_path, monkeypatch):
    for number, name in enumerate(("a", "b", "z/c", "z/d")):
        touch(tmp_path / f"{name}.npy", number, "x" * (10 - number))
    archive = archive_in(
        tmp_path, source("*.npy", order="newest"), source("z/*.npy", order="smallest", priority=5),
    )  # fmt: skip
    books = ScanRegistry.of(archive.books)
    note(archive, books, "a", "paused")
    scans, _ = discover(archive)
    assert [item.scan.source[-5] for item in job_queue(archive, scans, books)] == ["d", "c", "a", "b"]


def test_a_scan_that_may_still_be_written_waits(tmp_path):
    (tmp_path / "a.npy").write_text("x")
    archive = archive_in(tmp_path, source("*.npy") | {"settle_minutes": 10})
    scans, _ = discover(archive)
    (item,) = job_queue(archive, scans, ScanRegistry.of(archive.books))
    assert (item.todo, item.is_work) == ("too young", False)
    assert scans[0].changed == pytest.approx(time.time(), abs=60)


def test_books_that_were_damaged_make_a_scan_new_again(three):
    archive, books = three
    note(archive, books, "a", "done")
    for path in (books.root / "scans").iterdir():
        path.write_text("{")
    assert todo(archive, books)["a"] == "new"


@st.composite
def ladders(draw):
    """Ladders with less and less worth for a second, as steps have."""
    made = []
    for _ in range(draw(st.integers(1, 4))):
        seconds, gain, worth = draw(st.integers(1, 5)), 10.0, 8.0
        ladder = [BudgetOption(float(seconds), gain)]
        for _ in range(draw(st.integers(0, 2))):
            more, worth = draw(st.integers(1, 4)), worth / draw(st.sampled_from([1.5, 2, 3]))
            ladder.append(BudgetOption(ladder[-1].seconds + more, ladder[-1].gain + worth * more))
        made.append(ladder)
    return made


@settings(max_examples=200, deadline=None)
@given(ladders(), st.integers(0, 40))
def test_the_night_is_never_overspent_and_hardly_a_gain_is_missed(made, seconds):
    given_rungs = allocate(made, seconds)
    spent = sum(ladder[rung].seconds for ladder, rung in zip(made, given_rungs, strict=True) if rung is not None)
    assert spent <= seconds
    if None in given_rungs:
        return
    gain = sum(ladder[rung].gain for ladder, rung in zip(made, given_rungs, strict=True))
    every = itertools.product(*(range(len(ladder)) for ladder in made))
    sums = [[ladder[at] for ladder, at in zip(made, chosen, strict=True)] for chosen in every]
    best = max(sum(r.gain for r in rungs) for rungs in sums if sum(r.seconds for r in rungs) <= seconds)
    # Greedy by worth is the best but for the last step, which may not fit.
    largest = max((b.gain - a.gain for ladder in made for a, b in itertools.pairwise(ladder)), default=0.0)
    assert gain >= best - largest - 1e-9


def test_what_comes_first_is_served_first():
    ladder = [BudgetOption(5.0, 1.0), BudgetOption(8.0, 2.0)]
    assert allocate([ladder, ladder, ladder], 11.0) == [0, 0, None]
    assert allocate([ladder, ladder, ladder], 13.0) == [1, 0, None]
    assert allocate([ladder, ladder, ladder], 2.0) == [None, None, None]


def test_a_plan_is_degraded_visibly(tmp_path):
    np.save(tmp_path / "a.npy", np.random.default_rng(0).normal(100, 9, (64, 64)).astype("f4"))
    plan = planned(tmp_path / "a.npy", tmp_path / "out", "zs_n2n", overrides={"stop.steps": 40})
    ladder = budget_options(plan, 2)
    assert [rung.share for rung in ladder] == [0.25, 0.5, 1.0]
    assert all(a.seconds < b.seconds and a.gain < b.gain for a, b in itertools.pairwise(ladder))
    less = degraded(plan, ladder[0])
    assert less.overrides["stop.steps"] == 10
    assert less.left_out == "10 of 40 steps"
    assert less.left_out in less.reasons
    assert less.fingerprint != plan.fingerprint
    assert degraded(plan, ladder[-1]) == plan


HOSTILE = "<script>alert(1)</script>\"' onload=x"


def test_nothing_that_a_scan_is_called_becomes_part_of_the_page():
    entry = {
        "source": f"/scans/{HOSTILE}.npy", "target": HOSTILE, "standing": "failed", "why": HOSTILE,
        "degraded": HOSTILE, "outcome": {"verdict": HOSTILE, "page": "javascript:alert(1)", "report": HOSTILE},
    }  # fmt: skip
    night = {
        "archive": "try", "night": "n", "scans": 1, "seconds": 1.0, "counts": {HOSTILE: 1}, "trouble": [HOSTILE],
        "done": [entry], "not_done": [{"source": HOSTILE, "todo": HOSTILE, "why": HOSTILE}],
    }  # fmt: skip
    page = night_report_page(night, None)
    assert "<script" not in page
    assert 'href="javascript' not in page
    assert "onload=x" not in page.replace("&#34;&#39; onload=x", "").replace("%22%27%20onload%3Dx", "")
    assert "http://" not in page
    assert "https://" not in page


def test_one_bad_row_of_a_list_hides_no_other(tmp_path):
    np.save(tmp_path / "here.npy", np.zeros((4, 4)))
    (tmp_path / "list.csv").write_text("source\ngone.npy\nhere.npy\n")
    found, trouble = discover(archive_in(tmp_path, source("list.csv")))
    assert [Path(scan.source).name for scan in found] == ["here.npy"]
    assert len(trouble) == 1
    assert "gone.npy" in trouble[0]


def test_a_word_of_a_list_leads_nowhere_else(tmp_path):
    np.save(tmp_path / "here.npy", np.zeros((4, 4)))
    (tmp_path / "list.csv").write_text("source,dish\nhere.npy,../../elsewhere\n")
    found, [told] = discover(archive_in(tmp_path, source("list.csv", "out/{dish}/{stem}.ome.zarr")))
    assert found == []
    assert "dish" in told


def test_roots_hold_back_lists_and_links(tmp_path):
    (tmp_path / "scans").mkdir()
    (tmp_path / "private").mkdir()
    np.save(tmp_path / "private" / "a.npy", np.zeros((4, 4)))
    np.save(tmp_path / "scans" / "b.npy", np.zeros((4, 4)))
    (tmp_path / "scans" / "link.npy").symlink_to(tmp_path / "private" / "a.npy")
    archive = archive_in(tmp_path, source("scans/*.npy"))
    archive = archive.model_copy(update={"roots": (str(tmp_path / "scans"), str(tmp_path / "out"))})
    found, [told] = discover(archive)
    assert [Path(scan.source).name for scan in found] == ["b.npy"]
    assert "link.npy" in told
    (tmp_path / "list.csv").write_text(f"source,target\nscans/b.npy,{tmp_path}/private/b.ome.zarr\n")
    listed = archive_in(tmp_path, source("list.csv")).model_copy(update={"roots": archive.roots})
    found, [told] = discover(listed)
    assert found == []
    assert "private/b.ome.zarr" in told


@pytest.mark.parametrize(
    ("place", "is_in"),
    [
        ("s3://bucket/scans/a.zarr", True), ("s3://bucket/scans", True), ("s3://bucket/scansx/a", False),
        ("s3://bucket/scans/../private/a", False), ("s3://bucket/scans/%2e%2e/private/a", False),
        ("s3://other/scans/a", False), ("/scans/a", False), ("https://bucket/scans/a", False),
    ],
)  # fmt: skip
def test_roots_in_stores(place: str, is_in: bool):
    with nullcontext() if is_in else pytest.raises(BadInput, match="must lie in"):
        check_roots(["s3://bucket/scans/"], place)


def test_a_store_that_is_away_is_asked_once_and_its_results_are_left_as_they_are(tmp_path, monkeypatch):
    archive = archive_in(tmp_path, source("*.npy", target="s3://bucket/{stem}.ome.zarr"))
    books, asked = ScanRegistry.of(archive.books), []
    for name in "abc":
        touch(tmp_path / f"{name}.npy")

    def away(place):
        asked.append(place)
        raise StoreError("an object store that answers was wanted")

    monkeypatch.setattr(agenda_module, "headway", lambda target: 0)
    for scan in discover(archive)[0]:
        (item,) = [each for each in job_queue(archive, discover(archive)[0], books) if each.scan == scan]
        books.end(books.note(item.entry("tonight")), "done")
    monkeypatch.setattr(results_module, "made_by", away)
    assert todo(archive, books) == dict.fromkeys("abc", "cannot be told")
    assert len(asked) == 1


def test_results_whose_disk_is_not_mounted_are_not_made_again(three, tmp_path):
    archive, books = three
    note(archive, books, "a", "done")
    (item,) = [each for each in job_queue(archive, discover(archive)[0], books) if each.todo == "done"]
    folder = Path(item.scan.target).parent
    folder.mkdir(parents=True)
    (again,) = [each for each in job_queue(archive, discover(archive)[0], books) if each.scan == item.scan]
    assert again.todo == "cannot be told"
    assert "mount its disk" in again.why
    (folder / "b.ome.zarr").mkdir()
    assert todo(archive, books)["a"] == "done"


def test_what_a_killed_writer_left_half_written_is_no_entry(three):
    archive, books = three
    note(archive, books, "a", "quarantined")
    (entry,) = books.all()
    path = next((books.root / "scans").iterdir())
    path.with_name(path.name + ".partial").write_text(path.read_text())
    assert books.all() == [entry]
    assert len(books.release()) == 1


def test_a_release_gives_back_the_tries_of_what_the_surroundings_spoiled_last(three):
    archive, books = three
    note(archive, books, "a", "failed", tries=1)
    (item,) = [item for item in job_queue(archive, discover(archive)[0], books) if item.todo == "retry"]
    books.end(books.note(item.entry("tonight")), "paused", "store away", is_spoilt=True)
    assert books.all()[0].tries == 1
    books.release()
    assert books.all()[0].tries == 0


def test_a_scan_that_is_put_aside_may_still_replace_the_result_it_had(three, tmp_path):
    archive, books = three
    note(archive, books, "a", "done")
    touch(tmp_path / "a.npy", 100)
    note(archive, books, "a", "quarantined")
    (item,) = [item for item in job_queue(archive, discover(archive)[0], books) if item.todo == "quarantine"]
    assert item.replaces
