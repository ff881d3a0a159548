"""What was done with every scan of an archive: one small file each, written in one step.

    BOOKS/scans/<key>.json      the standing of one scan
    BOOKS/nights/<night>.json   what one night did
    BOOKS/instruments/<key>.json   what was seen in the last scans of an instrument
    BOOKS/growth/<method>.json     what shares of its steps brought to the last scans
    BOOKS/sightings/<key>.json     since when a scan of no sound date has been as it is
    BOOKS/running.json             the night at work, and who does it
    BOOKS/cleaned.json             what was removed of what runs left behind
    BOOKS/schedule.json            when nights are due
    BOOKS/untracked/               records that MLflow did not take, to be sent later

An entry is written before a scan is begun and when it ends, so that what a crash left can be told from what never was.
"""

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from statistics import median
from typing import Any

from ilcore.archives.discover import Scan
from ilcore.stores.places import entries, make_folder, place_of, read_text, write_text
from ilcore.stores.store import Place

_logger = logging.getLogger(__name__)

#: done: published. refused: the gate said no. failed: an error, to be tried again. paused: stopped in good order.
#: Or the surroundings failed, not the scan. begun: at work, or the run died. quarantined: not tried again until
#: scan or policy change, or it is released.
STANDINGS = ("begun", "done", "refused", "failed", "paused", "quarantined")


@dataclass(frozen=True, kw_only=True)
class ScanState:
    """How one scan stands.

    Args:
        standing: One of STANDINGS.
        stamp, policy: Of the scan and of what was wished, when it was last begun.
        night: Which night that was.
        replaces: Whether the result that is there may be replaced: it is ours, of an earlier state of the scan.
        tries: Nights on which it was begun and did not end.
        why: The reason, in a sentence.
        todo: What was to be done with it, and why.
        drift: In what the scan differs from earlier ones of its instrument.
        degraded: What was left out for want of time; empty where nothing was.
        outcome: Verdict, numbers, places of report and MLflow run; of a scan that is begun, how far its run had come.
    """

    source: str
    target: str
    instrument: str
    standing: str
    stamp: str
    policy: str
    night: str
    replaces: bool = False
    tries: int = 0
    why: str = ""
    todo: str = ""
    drift: str = ""
    degraded: str = ""
    outcome: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_spoilt(self) -> bool:
        """Tell whether the surroundings failed the last time, and not the scan."""
        return bool(self.outcome.get("is_spoilt"))


@dataclass(frozen=True)
class ScanRegistry:
    """The books of one archive."""

    root: Place

    @classmethod
    def of(cls, root: str) -> "ScanRegistry":
        """Open the books at a path or URL, and make them where there are none."""
        place = place_of(root)
        for name in ("scans", "nights", "instruments", "growth"):
            make_folder(place / name)
        return cls(place)

    @property
    def running(self) -> Place:
        """Return where the night at work says that it is."""
        return self.root / "running.json"

    @property
    def schedule(self) -> Place:
        """Return where it says when nights are due."""
        return self.root / "schedule.json"

    @property
    def untracked(self) -> Place:
        """Return where records wait that MLflow did not take."""
        return self.root / "untracked"

    def entry(self, scan: Scan) -> ScanState | None:
        """Return how a scan stands; None where nothing is known of it."""
        try:
            return _entry(self._place(scan.source))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError):
            # Not ours, or older than this: the scan counts as new, and the result it has is found when it is planned.
            return None

    def standing(self, word: str) -> list[ScanState]:
        """Return all scans that stand so, by source."""
        return [entry for entry in self.all() if entry.standing == word]

    def all(self) -> list[ScanState]:
        """Return every scan that can be read, by source."""
        found = []
        for place in self.files("scans"):
            with suppress(ValueError, TypeError, FileNotFoundError):
                found.append(_entry(place))
        return sorted(found, key=lambda each: each.source)

    def files(self, room: str) -> list[Place]:
        """Return the files of a room of the books, without what a killed writer left half-written beside them."""
        return [each for each in entries(self.root / room) if each.name.endswith(".json")]

    def release(self) -> list[ScanState]:
        """Give every scan that has used tries all of them anew, and return those that were quarantined."""
        found = [entry for entry in self.all() if entry.tries]
        for entry in found:
            standing = "failed" if entry.standing == "quarantined" else entry.standing
            self.note(replace(entry, standing=standing, tries=0, why=f"released: {entry.why}"))
        return [entry for entry in found if entry.standing == "quarantined"]

    def note(self, entry: ScanState) -> ScanState:
        """Write an entry."""
        write_text(self._place(entry.source), json.dumps(asdict(entry), indent=1))
        return entry

    def end(self, entry: ScanState, standing: str, why: str = "", **outcome: Any) -> ScanState:
        """Write how a scan that was begun ended; running out of time and failing surroundings cost no try."""
        ended = replace(entry, standing=standing, why=why, outcome=outcome)
        tries = 0 if standing in ("done", "refused", "paused") else entry.tries
        return self.note(replace(ended, tries=entry.tries - 1 if ended.is_spoilt else tries))

    def history(self, instrument: str) -> list[dict[str, float]]:
        """Return what was seen in the last scans of an instrument, the oldest first."""
        try:
            return [dict(row["seen"]) for row in self._rows(instrument)]
        except (TypeError, KeyError):
            return []

    def remember(self, entry: ScanState, seen: Mapping[str, float], most: int) -> None:
        """Keep what was seen in a scan, in place of what was seen in it before; of the last `most` scans."""
        rows = [row for row in self._rows(entry.instrument) if row.get("source") != entry.source]
        rows.append({"source": entry.source, "night": entry.night, "seen": dict(seen)})
        write_text(self._instrument(entry.instrument), json.dumps(rows[-most:], indent=1))

    def _rows(self, instrument: str) -> list[dict[str, Any]]:
        return _list_in(self._instrument(instrument))

    def growth(self, method: str, count: int) -> tuple[float, ...] | None:
        """Return what shares of the steps of a method brought, the median of the last scans; None where unknown."""
        rows = [row for row in _list_in(self.root / "growth" / f"{method}.json") if len(row) == count]
        columns = zip(*rows, strict=True)
        return tuple(float(median(column)) for column in columns) if rows else None

    def learn_growth(self, method: str, growth: Sequence[float], most: int) -> None:
        """Keep what shares of the steps of a method brought; of the last `most` scans."""
        place = self.root / "growth" / f"{method}.json"
        write_text(place, json.dumps([*_list_in(place), list(growth)][-most:]))

    def _instrument(self, instrument: str) -> Place:
        return self.root / "instruments" / f"{hashlib.sha256(instrument.encode()).hexdigest()[:32]}.json"

    def write_night(self, name: str, content: Mapping[str, Any]) -> Place:
        """Write what a night did, and return where."""
        place = self.root / "nights" / f"{name}.json"
        write_text(place, json.dumps(content, indent=1))
        return place

    def nights(self) -> list[str]:
        """Return the names of all nights, the oldest first."""
        return [each.name.removesuffix(".json") for each in self.files("nights")]

    def night(self, name: str) -> dict[str, Any]:
        """Return what a night did."""
        return dict(json.loads(read_text(self.root / "nights" / f"{name}.json")))

    def _place(self, source: str) -> Place:
        return self.root / "scans" / f"{key_of(source)}.json"


def key_of(source: str) -> str:
    """Return what a scan is called in the books."""
    return hashlib.sha256(source.encode()).hexdigest()[:32]


def _entry(place: Place) -> ScanState:
    """Read an entry; what a later version says besides is left out, and told."""
    told = dict(json.loads(read_text(place)))
    more = frozenset(told) - frozenset(ScanState.__dataclass_fields__)
    if more:
        _tell_later(str(place.parent.parent), ", ".join(sorted(more)))
    return ScanState(**{name: value for name, value in told.items() if name not in more})


@cache
def _tell_later(books: str, names: str) -> None:
    _logger.warning("%s were kept by a later version of ilcore; what it says in %s is left out", books, names)


def _list_in(place: Place) -> list[Any]:
    try:
        return list(json.loads(read_text(place)))
    except (FileNotFoundError, ValueError, TypeError):
        return []
