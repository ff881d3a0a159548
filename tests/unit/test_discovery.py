"""What is found of an archive: each real file once, whatever leads to it; what cannot be seen is told, and ends."""

import errno
import json
import os
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ilcore.archives import stamping
from ilcore.archives.discover import discover
from ilcore.archives.finding import find
from ilcore.archives.job_queue import job_queue
from ilcore.archives.policy import Archive, NightPolicy
from ilcore.archives.scan_registry import ScanRegistry
from ilcore.archives.sightings import lost
from tests.unit.test_archives import BERLIN, archive_in, source, touch

DAY = 86400.0


def names(archive: Archive) -> list[str]:
    scans, trouble = discover(archive)
    assert trouble == []
    return sorted(Path(scan.source).name for scan in scans)


def told(archive: Archive) -> list[tuple[str, str]]:
    """What a night would be told of each scan: its name, and what is to be done."""
    scans, _ = discover(archive)
    return [
        (Path(item.scan.source).name, item.todo) for item in job_queue(archive, scans, ScanRegistry.of(archive.books))
    ]


def dated(path: Path, seconds: float) -> Path:
    os.utime(path, (seconds, seconds))
    return path


@pytest.mark.parametrize(
    ("pattern", "wanted"),
    [
        ("*.tif", {"a.tif"}), ("**/*.tif", {"a.tif", "d/b.tif", "d/e/c.tif"}),
        ("d/**", {"d/b.tif", "d/e", "d/e/c.tif"}),
        ("**/e/*", {"d/e/c.tif"}), ("d/[!e]*", {"d/b.tif"}), ("?/e/c.tif", {"d/e/c.tif"}), ("*/b.tif", {"d/b.tif"}),
        (".h*", {".hidden.tif"}), ("a.tif", {"a.tif"}), ("d/./b.*", {"d/b.tif"}), ("**/**/c.tif", {"d/e/c.tif"}),
    ],
)  # fmt: skip
def test_patterns_mean_what_they_mean_to_glob(pattern: str, wanted: set[str], tmp_path: Path) -> None:
    for name in ("a.tif", ".hidden.tif", "d/b.tif", "d/e/c.tif", "d/.no/x.tif"):
        touch(tmp_path / name)
    found = find(f"{tmp_path}/{pattern}")
    assert {os.path.relpath(place, tmp_path) for place in found.places} == wanted
    assert found.trouble == []


@pytest.mark.timeout(20)
def test_links_in_a_circle_end_and_give_nothing_twice(tmp_path: Path) -> None:
    for number in range(12):
        touch(tmp_path / "scans" / f"{number}" / f"{number}.npy")
        for other in ("..", f"../{(number + 1) % 12}", f"../{(number + 5) % 12}"):
            (tmp_path / "scans" / f"{number}" / f"to-{other.replace('/', '-')}").symlink_to(other)
    (tmp_path / "scans" / "self").symlink_to("self")
    assert names(archive_in(tmp_path, source("scans/**/*.npy"))) == sorted(f"{n}.npy" for n in range(12))


def test_a_real_file_is_one_scan_whatever_its_names(tmp_path: Path) -> None:
    real = touch(tmp_path / "b" / "real.npy")
    os.link(real, tmp_path / "b" / "same.npy")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "link.npy").symlink_to(real)
    volume = touch(tmp_path / "b" / "v.zarr" / "zarr.json").parent
    (tmp_path / "a" / "w.zarr").symlink_to(volume)
    (tmp_path / "list.csv").write_text("source\na/link.npy\na/../b/real.npy\n")
    archive = archive_in(
        tmp_path, source("*/*.npy"), source("b/*.npy", "other/{stem}.ome.zarr"), source("*/*.zarr"), source("list.csv")
    )
    assert names(archive) == ["real.npy", "v.zarr"]


def test_a_file_that_only_a_link_leads_to_is_found_by_it(tmp_path: Path) -> None:
    touch(tmp_path / "disk" / "2026" / "a.npy")
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans" / "nas").symlink_to(tmp_path / "disk")
    scans, _ = discover(archive_in(tmp_path, source("scans/**/*.npy")))
    assert [scan.source for scan in scans] == [f"{tmp_path}/scans/nas/2026/a.npy"]


def test_a_link_that_leads_nowhere_hides_nothing(tmp_path: Path) -> None:
    touch(tmp_path / "a.npy")
    (tmp_path / "b.npy").symlink_to("gone.npy")
    (tmp_path / "c.npy").symlink_to("c.npy")
    scans, trouble = discover(archive_in(tmp_path, source("*.npy")))
    assert [Path(scan.source).name for scan in scans] == ["a.npy"]
    assert [any(name in each for each in trouble) for name in ("b.npy", "c.npy")] == [True, True]


def test_a_root_that_is_not_there_or_empty_is_told_and_the_rest_goes_on(tmp_path: Path) -> None:
    touch(tmp_path / "here" / "a.npy")
    (tmp_path / "mount").mkdir()
    archive = archive_in(tmp_path, source("here/*.npy"), source("gone/**/*.npy"), source("mount/**/*.npy"))
    scans, trouble = discover(archive)
    assert len(scans) == 1
    assert len(trouble) == 2
    assert "gone is not there" in trouble[0]
    assert "mount is empty" in trouble[1]


@pytest.mark.parametrize(("code", "word"), [(errno.EACCES, "right"), (errno.ESTALE, "mount"), (errno.EIO, "disk")])
@pytest.mark.parametrize("shut", ["scans", "scans/shut", "scans/v.zarr/0"])
def test_a_folder_that_cannot_be_read_is_told(
    code: int, word: str, shut: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a system that refuses: who runs as root may read everything."""
    for name in ("scans/a.npy", "scans/shut/b.npy", "scans/open/c.npy", "scans/v.zarr/0/c"):
        touch(tmp_path / name)
    really = os.scandir

    def refusing(path: str) -> object:
        if str(path) == f"{tmp_path}/{shut}":
            raise OSError(code, os.strerror(code), path)
        return really(path)

    monkeypatch.setattr(os, "scandir", refusing)
    scans, trouble = discover(archive_in(tmp_path, source("scans/**/*.npy"), source("scans/*.zarr", "o/{name}")))
    assert all(f"{tmp_path}/{shut}" in each for each in trouble)
    assert trouble
    assert "zarr" in shut or all(word in each for each in trouble)
    assert {Path(scan.source).name for scan in scans} == {
        "scans": set[str](), "scans/shut": {"a.npy", "c.npy", "v.zarr"}, "scans/v.zarr/0": {"a.npy", "b.npy", "c.npy"},
    }[shut]  # fmt: skip


def test_a_disk_that_was_unmounted_below_the_root_is_told_until_its_folder_goes(tmp_path: Path) -> None:
    for name in ("one/2026/a.npy", "one/2026/b.npy", "two/c.npy"):
        touch(tmp_path / "scans" / name)
    archive = archive_in(tmp_path, source("scans/**/*.npy"))
    books = ScanRegistry.of(archive.books)
    scans, _ = discover(archive)
    for item in job_queue(archive, scans, books):
        books.note(item.entry("night"))
    assert lost(books, scans, []) == []
    for name in ("a", "b"):
        (tmp_path / "scans" / "one" / "2026" / f"{name}.npy").unlink()
    (tmp_path / "scans" / "one" / "2026").rmdir()
    scans, trouble = discover(archive)
    (said,) = lost(books, scans, trouble)
    assert f"{tmp_path}/scans/one is empty, 2 scans" in said
    (tmp_path / "scans" / "one").rmdir()
    assert lost(books, *discover(archive)) == []
    (tmp_path / "scans" / "two" / "c.npy").rename(tmp_path / "scans" / "other.txt")
    (tmp_path / "scans" / "two").rmdir()
    (said,) = lost(books, *discover(archive))
    assert "no scan at all" in said
    assert "3 are known" in said


def test_names_that_no_record_can_hold_are_told_in_one_line_and_hide_nothing(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in (b"a\nb.npy", b"c\xff.npy", b"d\x1b[31m.npy", "{stem} ü [1] %s.npy".encode(), b"e.npy"):
        Path(os.fsdecode(os.fsencode(tmp_path / "in") + b"/" + name)).write_text("x")
    touch(Path(os.fsdecode(os.fsencode(tmp_path / "in") + b"/\xfe.zarr/c\xff")))
    archive = archive_in(tmp_path, source("in/*"))
    scans, trouble = discover(archive)
    assert sorted(Path(scan.source).name for scan in scans) == ["e.npy", "{stem} ü [1] %s.npy"]
    assert len(trouble) == 4
    assert all(each.isprintable() and "rename" in each for each in trouble)
    json.dumps(trouble).encode()
    assert {todo for _, todo in told(archive)} == {"new"}


def test_what_is_neither_file_nor_folder_is_told_and_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    os.mkfifo(tmp_path / "in" / "a.npy")
    scans, (said,) = discover(archive_in(tmp_path, source("in/*.npy")))
    assert scans == []
    assert "pipe" in said


@pytest.mark.parametrize("content", ["[]", '{"features": [{"id": 1}]}', '{"features": [3]}', "{", '{"a": 1}'])
def test_a_list_of_items_that_is_none_is_told(content: str, tmp_path: Path) -> None:
    touch(tmp_path / "a.npy")
    (tmp_path / "items.json").write_text(content)
    scans, (said,) = discover(archive_in(tmp_path, source("items.json"), source("*.npy")))
    assert len(scans) == 1
    assert "items.json" in said


def test_a_target_made_of_unknown_words_is_told(tmp_path: Path) -> None:
    touch(tmp_path / "a.npy")
    for target in ("out/{dish}", "out/{0}", "out/{stem.x}"):
        scans, (said,) = discover(archive_in(tmp_path, source("*.npy", target)))
        assert scans == []
        assert "{stem}" in said


@pytest.fixture
def settling(tmp_path: Path) -> Archive:
    (tmp_path / "in").mkdir()
    return archive_in(tmp_path, source("in/*", settle_minutes=10))


def test_a_volume_that_was_put_there_under_old_dates_waits(settling: Archive, tmp_path: Path) -> None:
    """Copies that keep dates bring one piece after the other: the newest date says nothing of those to come."""
    part = touch(tmp_path / "in" / "a.zarr" / "0" / "c")
    for each in (part, part.parent, part.parent.parent):
        dated(each, time.time() - DAY)
    assert told(settling) == [("a.zarr", "too young")]


def test_a_piece_that_goes_while_it_is_looked_at_means_that_somebody_writes(
    settling: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path / "in" / "a.zarr" / "0" / "c")
    gone = touch(tmp_path / "in" / "a.zarr" / "0" / "d.partial")
    really = stamping._of_entry

    def late(entry: "os.DirEntry[str]", name: str) -> stamping._Piece:
        gone.unlink(missing_ok=True)
        return really(entry, name)

    monkeypatch.setattr(stamping, "_of_entry", late)
    assert told(settling) == [("a.zarr", "too young")]


def test_a_file_with_an_older_date_is_watched_before_it_is_believed(
    settling: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stamping, "WATCHED", 0.5)
    dated(touch(tmp_path / "in" / "whole.npy"), time.time() - DAY)
    growing, is_over = touch(tmp_path / "in" / "growing.npy"), threading.Event()

    def write() -> None:
        """As some network disks do it: the date stays what it was set to."""
        while not is_over.wait(0.02):
            with growing.open("a") as file:
                file.write("x")
            dated(growing, time.time() - DAY)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        time.sleep(0.1)
        assert sorted(told(settling)) == [("growing.npy", "too young"), ("whole.npy", "new")]
    finally:
        is_over.set()
        writer.join()


def test_a_date_of_the_future_neither_waits_for_ever_nor_skips_the_wait(
    settling: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead = dated(touch(tmp_path / "in" / "ahead.npy"), time.time() + 900 * DAY)
    scans, (said,) = discover(settling)
    assert scans == []
    assert "ahead.npy bears a date of the future" in said
    later = time.time() + 3600
    monkeypatch.setattr(time, "time", lambda: later)
    (scan,), trouble = discover(settling)
    (item,) = job_queue(settling, [scan], ScanRegistry.of(settling.books))
    assert trouble == []
    assert (item.todo, "which is in the future" in item.why) == ("new", True)
    assert ahead.exists()


def test_where_every_clock_is_ahead_a_scan_is_worked_on_once_it_was_seen_to_stay_as_it_is(
    settling: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server whose clock is ahead dates both the file and its last change."""
    touch(tmp_path / "in" / "a.zarr" / "c", 1e9)
    now = [time.time() - 30 * DAY]
    monkeypatch.setattr(time, "time", lambda: now[0])
    assert told(settling) == [("a.zarr", "too young")]
    now[0] += 3600
    assert told(settling) == [("a.zarr", "new")]
    touch(tmp_path / "in" / "a.zarr" / "d", 1e9)
    assert told(settling) == [("a.zarr", "too young")]
    now[0] += 3600
    assert told(settling) == [("a.zarr", "new")]


def test_what_is_done_does_not_wait_because_somebody_changed_its_rights(tmp_path: Path) -> None:
    part = touch(tmp_path / "in" / "a.zarr" / "c")
    archive = archive_in(tmp_path, source("in/*", settle_minutes=0))
    books = ScanRegistry.of(archive.books)
    (item,) = job_queue(archive, discover(archive)[0], books)
    books.end(books.note(item.entry("night")), "refused")
    part.chmod(0o600)
    assert told(archive_in(tmp_path, source("in/*", settle_minutes=10))) == [("a.zarr", "done")]


@pytest.mark.parametrize(
    ("now", "until", "minutes"),
    [
        # The clock is put back from 03:00 to 02:00: it shows each time between twice.
        (datetime(2026, 10, 24, 22, tzinfo=BERLIN), "02:30", 270),
        (datetime(2026, 10, 25, 2, 15, tzinfo=BERLIN), "02:30", 15),
        (datetime(2026, 10, 25, 2, 15, fold=1, tzinfo=BERLIN), "02:30", 15),
        (datetime(2026, 10, 25, 2, 45, fold=1, tzinfo=BERLIN), "02:30", 24 * 60 - 15),
        (datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN), "06:00", 270),
        # It is put forward from 02:00 to 03:00: what it skips is over then.
        (datetime(2026, 3, 29, 1, tzinfo=BERLIN), "02:30", 60),
        (datetime(2026, 3, 29, 3, 10, tzinfo=BERLIN), "02:30", 23 * 60 + 20),
        (datetime(2026, 3, 28, 22, tzinfo=BERLIN), "06:00", 7 * 60),
        (datetime(2026, 3, 29, 1, tzinfo=BERLIN), "01:00", 23 * 60),
    ],
)
def test_a_night_ends_when_the_clock_next_shows_its_end(now: datetime, until: str, minutes: float) -> None:
    assert NightPolicy(until=until, time_zone="Europe/Berlin").seconds_left(now) == 60 * minutes


@pytest.mark.parametrize("zone", ["Europe/Berlin", "Australia/Lord_Howe", "America/St_Johns"])
def test_no_night_is_over_before_it_began(zone: str) -> None:
    """Every hour of the days around a change of clocks, in zones that put them back by an hour and by half of one."""
    for until in ("01:45", "02:30", "03:00"):
        policy = NightPolicy(until=until, time_zone=zone)
        for start in (datetime(2026, 3, 28, 12, 15, tzinfo=UTC), datetime(2026, 4, 4, 12, 15, tzinfo=UTC)):
            left = [policy.seconds_left(datetime.fromtimestamp(start.timestamp() + 3600 * n, UTC)) for n in range(24)]
            assert all(0 < each <= 25 * 3600 for each in left if each is not None)
