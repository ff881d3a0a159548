"""How an archive stands, told from its books: no server is asked, and none need be there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ilcore.archives.books import Books, Entry
from ilcore.archives.due import Schedule, began_at, missed, read_schedule, told_of
from ilcore.archives.lease import is_alive, read_lease
from ilcore.stores.places import entries


@dataclass(frozen=True, kw_only=True)
class ArchiveStanding:
    """How an archive stands now.

    Args:
        last: What the last night did; None before the first.
        at_work: The night at work; None where there is none.
        died: A night that ended without a word.
        missed: Nights that never began, each in a sentence.
        quarantined: Scans that wait for somebody.
        untracked: Runs of which MLflow is still to be told.
    """

    schedule: Schedule | None
    last: Mapping[str, Any] | None
    at_work: Mapping[str, Any] | None
    died: Mapping[str, Any] | None
    missed: tuple[str, ...]
    quarantined: tuple[Entry, ...]
    untracked: int

    @property
    def trouble(self) -> list[str]:
        """Return what somebody should know, each in a sentence."""
        told = list(self.missed)
        if self.died is not None:
            told.append(died_words(self.died))
        if self.quarantined:
            told.append(f"{len(self.quarantined)} scans are quarantined; il nightly ARCHIVE --release tries them again")
        if self.last is not None and self.at_work is None:
            told += [f"last night: {each}" for each in self.last.get("trouble", ())]
        return told


def standing_of(books: Books, now: datetime | None = None) -> ArchiveStanding:
    """Return how an archive stands, from its books."""
    now = now or datetime.now(tz=UTC)
    nights, lease = books.nights(), read_lease(books.running)
    lives = lease is not None and is_alive(books.running, lease)
    return ArchiveStanding(
        schedule=(schedule := read_schedule(books.schedule)),
        last=_night(books, nights[-1]) if nights else None,
        at_work=lease if lives else None,
        died=None if lives else lease,
        missed=tuple(missed_words(schedule, [*nights, *_night_of(lease)], now)) if schedule else (),
        quarantined=tuple(books.standing("quarantined")),
        untracked=len(entries(books.untracked)),
    )


def missed_words(schedule: Schedule, nights: Sequence[str], now: datetime, *, begins: bool = False) -> list[str]:
    """Return which nights never began since the last one that did, each in a sentence.

    Args:
        schedule: When they were due.
        nights: Names of those that began.
        now: As UTC.
        begins: Whether another one begins now.
    """
    begun = [moment for moment in map(began_at, nights) if moment is not None]
    after = max(begun, default=datetime.fromisoformat(schedule.since))
    found = missed(schedule, [*begun, now] if begins else begun, after, now)
    return [told_of(due, schedule.time_zone) for due in found]


def died_words(lease: Mapping[str, Any]) -> str:
    """Return in a sentence that a night ended without a word."""
    where = f"process {lease.get('process')} on {lease.get('machine')}"
    return f"the night of {lease.get('night')} ({where}) ended without a word: killed, or its machine went down"


def _night_of(lease: Mapping[str, Any] | None) -> list[str]:
    return [] if lease is None else [str(lease.get("night"))]


def _night(books: Books, name: str) -> Mapping[str, Any] | None:
    try:
        return books.night(name)
    except (OSError, ValueError):
        return None
