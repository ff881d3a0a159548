"""What an archive is: a YAML file that says where scans come from, where results go, and how they are made.

name: cryo
books: /restored/cryo.books
sources:
  - find: /scans/**/*.ome.zarr
    target: /restored/{parent}/{stem}.ome.zarr
    priority: 10
    restore: {method: adapted}
night: {until: "06:00", time_zone: Europe/Berlin}
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields
from datetime import UTC, datetime, time, timedelta
from math import inf
from pathlib import Path
from string import Formatter
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from ilcore.archives.file import text_of_archive
from ilcore.grammar.errors import BadInput
from ilcore.planning.make import Wishes
from ilcore.qa.verdict import gate_complaints
from ilcore.stores.addresses import is_remote

#: The roots are those of the archive.
_WISHES = tuple(field.name for field in fields(Wishes) if field.name != "roots")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SourcePolicy(_Frozen):
    """Scans found in one way, and what is to be done with each of them.

    Args:
        find: A glob of files and folders on a disk or in a store (`s3://bucket/scans/**/*.zarr`), a `.csv` list with a
            column `source`, or a STAC item collection (`.json`).
        target: Where a result goes; `{stem}`, `{name}`, `{parent}`, `{path}` of the scan, and columns of a list.
        asset: Which asset of a STAC item; the first with the role `data` if left out.
        instrument: A name for scans that are alike, made like `target`.
        priority: Larger is earlier.
        order: Which of these scans come first: oldest, newest, smallest, or by name.
        settle_minutes: Scans changed within this time may still be written, and wait for the next night.
        restore: What `il restore` can be told: method, scope, overrides, level, depth ...
    """

    find: str
    target: str
    asset: str | None = None
    instrument: str = "{parent}"
    priority: int = 0
    order: Literal["oldest", "newest", "smallest", "name"] = "oldest"
    settle_minutes: Annotated[float, Field(ge=0)] = 10.0
    restore: dict[str, Any] = {}

    @field_validator("restore")
    @classmethod
    def _known(cls, value: dict[str, Any]) -> dict[str, Any]:
        unknown = sorted(set(value) - set(_WISHES))
        if unknown:
            raise ValueError(f"knows {', '.join(_WISHES)}; got {', '.join(unknown)}")
        complaints = gate_complaints(_gate(value))
        if complaints:
            raise ValueError("; ".join(complaints))
        return value

    @field_validator("target", "instrument")
    @classmethod
    def _pattern(cls, value: str) -> str:
        list(Formatter().parse(value))
        return value

    @property
    def wishes(self) -> Wishes:
        """Return what is wished of every scan."""
        told = dict(self.restore)
        if told.get("tile") is not None:
            told["tile"] = tuple(told["tile"])
        return Wishes(**{**told, "gate": _gate(told)})

    @property
    def digest(self) -> str:
        """Name everything that decides the voxels of a result."""
        return hashlib.sha256(json.dumps(self.restore, sort_keys=True).encode()).hexdigest()[:16]


def _gate(restore: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    """Return what a policy wants of the QA gate: [low, high] by check, null where an end is open."""
    try:
        ends = {name: tuple(pair) for name, pair in dict(restore.get("gate") or {}).items()}
        return {
            name: (-inf if low is None else float(low), inf if high is None else float(high))
            for name, (low, high) in ends.items()
        }
    except (TypeError, ValueError) as error:
        raise ValueError(f"gate wants CHECK: [low, high], got {restore['gate']!r}") from error


class NightPolicy(_Frozen):
    """When a night ends and what it may use.

    Args:
        until: Time of the day, "HH:MM", at which no new work is begun.
        time_zone: Of that time.
        hours: Longest duration of a night.
        gpu_hours: Hours of all workers together, one worker a GPU.
        workers, scheduler, device, tracking_uri: As for `il restore`.
        tries: Nights on which a scan may fail or kill the run before it is quarantined.
        again_minutes: Pauses after which a night tries again what the surroundings spoiled: store, scheduler, disk ...
    """

    until: str | None = None
    time_zone: str = "UTC"
    hours: Annotated[float, Field(gt=0)] | None = None
    gpu_hours: Annotated[float, Field(gt=0)] | None = None
    workers: Annotated[int, Field(ge=0)] = 0
    scheduler: str | None = None
    device: Literal["auto", "cpu", "cuda"] = "auto"
    tracking_uri: str | None = None
    tries: Annotated[int, Field(ge=1)] = 2
    again_minutes: tuple[Annotated[float, Field(ge=0)], ...] = (1.0, 5.0, 15.0)

    @field_validator("until")
    @classmethod
    def _time(cls, value: str | None) -> str | None:
        if value is not None:
            time.fromisoformat(value)
        return value

    @field_validator("time_zone")
    @classmethod
    def _zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (KeyError, ValueError) as error:
            raise ValueError(f"must be a name like Europe/Berlin, got {value!r}") from error
        return value

    def seconds_left(self, now: datetime) -> float | None:
        """Return how long the night that begins now may last; None without a limit."""
        limits = [] if self.hours is None else [self.hours * 3600]
        if self.until is not None:
            limits.append((self._end(now) - now.astimezone(UTC)).total_seconds())
        return min(limits, default=None)

    def _end(self, now: datetime) -> datetime:
        """Return when the clock of the archive next shows `until`: on the day that it is put back, it does so twice."""
        zone, clock = ZoneInfo(self.time_zone), time.fromisoformat(str(self.until))
        today = now.astimezone(zone).date()
        days = [datetime.combine(today + timedelta(days=n), clock, zone) for n in range(3)]
        # In one zone comparisons ignore that clocks are put forward and back.
        shown = (_shown(day.replace(fold=fold)) for day in days for fold in (0, 1))
        return min(each for each in shown if each > now.astimezone(UTC))


def _shown(moment: datetime) -> datetime:
    """Return when a clock shows a time, in UTC; one that is skipped, as soon as the clock is put forward past it."""

    def clock(at: datetime) -> datetime:
        return at.astimezone(moment.tzinfo).replace(tzinfo=None)

    wanted, at = moment.replace(tzinfo=None), moment.astimezone(UTC)
    if clock(at) != wanted:
        at = min(moment.replace(fold=fold).astimezone(UTC) for fold in (0, 1))
    while clock(at) < wanted:
        at += timedelta(minutes=1)
    return at


class KeepPolicy(_Frozen):
    """What of runs that are over is kept. Sources, results, and what can be gone on with always are.

    Args:
        refused_days: Days for which a refused result is kept, to be judged again by other ranges; null for ever.
        is_cleaned: Whether every night ends with removing what nobody needs, as `il clean` does.
    """

    refused_days: Annotated[float, Field(ge=0)] | None = 30.0
    is_cleaned: bool = True


class Archive(_Frozen):
    """One archive.

    Args:
        books: Where it keeps its records.
        roots: Folders and places in stores that scans and results must lie in, wherever a list or a link may lead.
    """

    name: Annotated[str, Field(pattern=r"^[\w.-]+$")]
    books: str
    sources: Annotated[tuple[SourcePolicy, ...], Field(min_length=1)]
    night: NightPolicy = NightPolicy()
    keep: KeepPolicy = KeepPolicy()
    roots: tuple[str, ...] = ()


def read_archive(path: str | Path) -> Archive:
    """Read an archive file; relative places in it are meant from where it lies.

    Raises:
        BadInput: Listing every complaint.
    """
    file = Path(path)
    text = text_of_archive(file)
    try:
        content = yaml.safe_load(text)
        archive = Archive.model_validate(content)
        for source in archive.sources:
            source.wishes  # noqa: B018 (a wish of the wrong type complains when made)
    except yaml.YAMLError as error:
        raise BadInput(f"an archive must be YAML, got {file}: {error}") from error
    except ValidationError as error:
        found = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        raise BadInput(f"an archive must be complete and sound, got {file}: {found}; see docs/nightly.md") from error
    return _placed(archive, file.resolve().parent)


def _placed(archive: Archive, folder: Path) -> Archive:
    def there(place: str) -> str:
        return place if is_remote(place) else str(folder / place)

    sources = tuple(
        each.model_copy(update={"find": there(each.find), "target": there(each.target)}) for each in archive.sources
    )
    roots = tuple(there(root) for root in archive.roots)
    return archive.model_copy(update={"books": there(archive.books), "sources": sources, "roots": roots})
