"""When nights are due, and which of them never began: from the books alone, whether a server runs or not.

BOOKS/schedule.json   when nights are to begin, since when, and how it is called on the server
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from ilcore.stores.places import Place, remove, write_text

#: How late a night may begin before it counts as missed, and how early it may be.
GRACE, EARLY = timedelta(minutes=15), timedelta(minutes=5)
#: Nights further back than this are no news.
LONGEST = timedelta(days=60)


@dataclass(frozen=True)
class Schedule:
    """When an archive's nights begin.

    Args:
        begin: Time of the day, HH:MM.
        time_zone: Of that time.
        since: When it was put on schedule, in ISO 8601 with its offset.
        deployment: Its name on the server.
    """

    begin: str
    time_zone: str
    since: str
    deployment: str

    def due(self, after: datetime, until: datetime) -> Iterator[datetime]:
        """Yield the moments after one and up to another at which a night is to begin, the earliest first."""
        zone = ZoneInfo(self.time_zone)
        after = max(after, datetime.fromisoformat(self.since), until - LONGEST)
        day = after.astimezone(zone).date() - timedelta(days=1)
        while day <= until.astimezone(zone).date():
            moment = self._on(day, zone)
            if after < moment <= until:
                yield moment
            day += timedelta(days=1)

    def next(self, now: datetime) -> datetime:
        """Return when the next night is due."""
        return next(self.due(now, now + timedelta(days=3)))

    def _on(self, day: date, zone: ZoneInfo) -> datetime:
        # By way of UTC: an hour that the clocks skip is the one after it, one that comes twice is the first.
        return datetime.combine(day, time.fromisoformat(self.begin), zone).astimezone(UTC)


def write_schedule(place: Place, schedule: Schedule) -> None:
    """Keep when nights are due."""
    write_text(place, json.dumps(asdict(schedule), indent=1))


def forget_schedule(place: Place) -> None:
    """Note that no night is due any more."""
    remove(place)


def read_schedule(place: Place) -> Schedule | None:
    """Return when nights are due; None where an archive is on no schedule."""
    try:
        told: dict[str, Any] = json.loads(place.read_text())
        schedule = Schedule(**told)
        datetime.fromisoformat(schedule.since), schedule.next(datetime.now(tz=UTC))
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return None
    return schedule


def missed(schedule: Schedule, begun: Iterable[datetime], after: datetime, now: datetime) -> list[datetime]:
    """Return when nights were due of which none had begun by the end of its grace.

    Args:
        schedule: When they are due.
        begun: When nights began.
        after: Earlier ones are not asked for.
        now: As UTC.
    """
    known = list(begun)
    return [
        due for due in schedule.due(after, now - GRACE) if not any(due - EARLY <= each <= due + GRACE for each in known)
    ]


def began_at(name: str) -> datetime | None:
    """Return when a night began, from its name; None for a name that is none of ours."""
    try:
        return datetime.strptime(name[:17], "%Y-%m-%dT%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return None


def told_of(due: datetime, time_zone: str) -> str:
    """Return in a sentence that a night was missed."""
    here = due.astimezone(ZoneInfo(time_zone))
    return f"no night began by {(here + GRACE):%H:%M} on {here:%Y-%m-%d}, when one was due at {here:%H:%M} {time_zone}"
