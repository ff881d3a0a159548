"""When nights are due, which never began, who holds one, and what the books tell without any server."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest

from ilcore.archives import lease as lease_module
from ilcore.archives.due import Schedule, missed, read_schedule, write_schedule
from ilcore.archives.lease import leased, read_lease
from ilcore.archives.scan_registry import ScanRegistry
from ilcore.archives.status import status_of
from ilcore.grammar.errors import Busy

BERLIN = Schedule("02:30", "Europe/Berlin", "2026-01-01T00:00:00+00:00", "nightly/a")


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("after", "until", "wanted"),
    [
        # Summer time begins: 02:30 does not exist on the 29th. It ends: 02:30 comes twice on the 25th of October.
        ("2026-03-27T12:00", "2026-03-30T12:00", ["2026-03-28T01:30", "2026-03-29T01:30", "2026-03-30T00:30"]),
        ("2026-10-23T12:00", "2026-10-26T12:00", ["2026-10-24T00:30", "2026-10-25T00:30", "2026-10-26T01:30"]),
    ],
)
def test_a_night_is_due_once_a_day_also_when_clocks_change(after, until, wanted):
    assert list(BERLIN.due(at(after), at(until))) == [at(each) for each in wanted]


def test_only_nights_of_which_none_began_in_time_are_missed():
    begun = [at("2026-07-02T00:31"), at("2026-07-03T04:00"), at("2026-07-05T00:28")]
    found = missed(BERLIN, begun, at("2026-07-01T12:00"), at("2026-07-06T00:40"))
    # The one of the 3rd began hours late, that of the 4th not at all; that of the 6th may still begin.
    assert found == [at("2026-07-03T00:30"), at("2026-07-04T00:30")]


def test_nights_before_it_was_put_on_schedule_are_not_missed():
    later = Schedule("02:30", "Europe/Berlin", "2026-07-05T00:00:00+02:00", "nightly/a")
    assert missed(later, [], at("2020-01-01T00:00"), at("2026-07-06T12:00")) == [
        at("2026-07-05T00:30"), at("2026-07-06T00:30"),
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["", "{", "[]", '{"begin": "25:00"}', json.dumps({"begin": "1:00"})])
def test_a_schedule_that_cannot_be_read_is_none(text, tmp_path):
    (tmp_path / "schedule.json").write_text(text)
    assert read_schedule(tmp_path / "schedule.json") is None


def test_an_archive_tells_what_it_missed_without_a_server(tmp_path):
    books = ScanRegistry.of(str(tmp_path / "books"))
    assert status_of(books).trouble == []
    write_schedule(books.schedule, Schedule("22:00", "UTC", "2026-07-01T12:00:00+00:00", "nightly/a"))
    books.write_night("2026-07-02T220100", {"counts": {}, "trouble": []})
    told = status_of(books, at("2026-07-05T08:00")).trouble
    assert told == [
        f"no night began by 22:15 on 2026-07-0{day}, when one was due at 22:00 UTC" for day in (3, 4)
    ]  # fmt: skip


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(lease_module, "BEAT_SECONDS", 0.05)


def no_loss() -> None:
    raise AssertionError("nobody took the lease over")


def test_a_night_is_at_work_and_leaves_nothing_when_it_ends(tmp_path, quick):
    books = ScanRegistry.of(str(tmp_path))
    with leased(books.running, {"night": "n", "run": ""}, no_loss) as left:
        assert left is None
        assert status_of(books).at_work["night"] == "n"
    assert read_lease(books.running) is None
    assert status_of(books).trouble == []


def dead_lease(place: Path, **more) -> dict:
    told = {"night": "2026-07-02T220100", "owner": "x", "beat": 3, "process": 1, "process_since": 0.0, "machine": "y"}
    place.write_text(json.dumps({**told, **more}))
    return {**told, **more}


def test_a_night_that_was_killed_is_told_and_does_not_hold_the_next(tmp_path, quick):
    books = ScanRegistry.of(str(tmp_path))
    # The number of its process is given to another one by now.
    left = dead_lease(books.running, machine=lease_module.socket.gethostname(), process=psutil.Process().pid)
    assert "ended without a word" in status_of(books).trouble[0]
    with leased(books.running, {"night": "next"}, no_loss) as before:
        assert before == left


def test_a_night_of_another_machine_is_taken_over_only_if_its_heart_stands_still(tmp_path, quick, monkeypatch):
    place = tmp_path / "running.json"
    dead_lease(place, machine="elsewhere")
    with leased(place, {"night": "mine"}, no_loss) as before:
        assert before["machine"] == "elsewhere"
        monkeypatch.setattr(lease_module.socket, "gethostname", lambda: "third")
        with pytest.raises(Busy, match="which is alive"), leased(place, {"night": "other"}, no_loss):
            pass
    assert read_lease(place) is None


def test_a_night_whose_lease_was_taken_over_is_told_and_lets_it_be(tmp_path, quick):
    lost: list[bool] = []
    place = tmp_path / "running.json"
    with leased(place, {"night": "mine"}, lambda: lost.append(True)):
        end = lease_module.time.monotonic() + 10
        while not lost and lease_module.time.monotonic() < end:
            dead_lease(place, owner="another")
            lease_module.time.sleep(0.05)
    assert lost == [True]
    assert read_lease(place)["owner"] == "another"


def test_what_an_archive_missed_long_ago_is_no_news():
    old = Schedule("22:00", "UTC", "2020-01-01T00:00:00+00:00", "nightly/a")
    now = at("2026-07-05T08:00")
    found = missed(old, [], at("2020-01-01T00:00"), now)
    assert 55 < len(found) <= 60
    assert min(found) > now - timedelta(days=61)
