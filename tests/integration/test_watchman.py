"""The watchman tells what the books say, once, to those whom it was told to tell."""

from datetime import UTC, datetime
from pathlib import Path

from ilcore.archives.books import Books
from ilcore.archives.due import Schedule, write_schedule
from tasks.services.status_page import add_archive
from tasks.services.telling import ADDRESSES
from tasks.services.watchman import NOTIFY, archives_in, look
from tests.hook import hook


def test_a_night_that_never_began_is_told_once_and_without_a_server(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.delenv(ADDRESSES, raising=False)
    books = Books.of(str(tmp_path / "books"))
    add_archive(tmp_path, "cryo", str(tmp_path / "books"))
    assert archives_in(tmp_path) == {"cryo": str(tmp_path / "books")}
    assert look(tmp_path, "cryo", str(tmp_path / "books")) == []
    write_schedule(books.schedule, Schedule("22:00", "UTC", "2026-01-01T00:00:00+00:00", "nightly/cryo"))
    began = datetime.now(tz=UTC).strftime("%Y-%m-%dT%H%M%S")
    with hook() as (address, posted):
        # Whoever cannot be reached is told later.
        (tmp_path / NOTIFY).write_text("http://127.0.0.1:1/gone")
        assert look(tmp_path, "cryo", str(tmp_path / "books"))
        (tmp_path / NOTIFY).write_text(address + "\n")
        first = look(tmp_path, "cryo", str(tmp_path / "books"))
        assert first
        assert look(tmp_path, "cryo", str(tmp_path / "books")) == []
        books.write_night(began, {"counts": {}, "trouble": []})
        assert look(tmp_path, "cryo", str(tmp_path / "books")) == []
    assert [each["text"].splitlines() for each in posted] == [["ilcore: cryo wants a look", *first]]
    monkeypatch.delenv(ADDRESSES, raising=False)


def test_a_night_that_was_killed_is_told(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.delenv(ADDRESSES, raising=False)
    books = Books.of(str(tmp_path / "books"))
    books.running.write_text('{"night": "2026-07-02T220100", "machine": "elsewhere", "process": 7, "beat": 1}')
    monkeypatch.setattr("ilcore.archives.lease.BEAT_SECONDS", 0.01)
    [told] = look(tmp_path, "cryo", str(tmp_path / "books"))
    assert "process 7 on elsewhere" in told
