"""What a night has to do: which scans are new, changed, unfinished or finished, and in which order they come."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from ilcore.archives.discover import Scan
from ilcore.archives.policy import Archive, SourcePolicy
from ilcore.archives.results import Results
from ilcore.archives.scan_registry import ScanRegistry, ScanState
from ilcore.archives.sightings import first_seen
from ilcore.archives.stamping import is_ahead
from ilcore.grammar.errors import OutsideError
from ilcore.running.headway import headway

#: Tells of each scan what is to be done; those above `wait` are worked on.
NEW, CHANGED, RESUME, RETRY, IMPROVE = "new", "changed", "resume", "retry", "improve"
SKIP, WAIT, QUARANTINE, AWAY = "done", "too young", "quarantine", "cannot be told"
_WORK = frozenset({NEW, CHANGED, RESUME, RETRY, IMPROVE})


@dataclass(frozen=True)
class Job:
    """One scan on the agenda: what is to be done with it, and why.

    Args:
        tries: Nights that it has cost already.
        before: Of a result to be improved, its entry as it is.
        comes_last: It ended a run or its workers before, and must not keep the others from their turn.
    """

    scan: Scan
    policy: SourcePolicy
    todo: str
    why: str
    tries: int = 0
    replaces: bool = False
    before: ScanState | None = None
    comes_last: bool = False

    @property
    def is_work(self) -> bool:
        """Tell whether the night has to do something."""
        return self.todo in _WORK

    @cached_property
    def reached(self) -> int:
        """Return how far a run for it has come by now."""
        return headway(self.scan.target)

    def entry(self, night: str, standing: str = "begun", why: str = "") -> ScanState:
        """Return what the books say when it is begun."""
        return ScanState(
            source=self.scan.source, target=self.scan.target, instrument=self.scan.instrument, standing=standing,
            stamp=self.scan.stamp, policy=self.policy.digest, night=night, tries=self.tries + 1, why=why,
            replaces=self.replaces, todo=f"{self.todo}: {self.why}",
            outcome={"headway": self.reached},
        )  # fmt: skip


def job_queue(archive: Archive, scans: Sequence[Scan], books: ScanRegistry) -> list[Job]:
    """Return one item a scan; work first, in the order in which it is to be done."""
    results = Results()
    return sorted((_item(scan, archive, books, results) for scan in scans), key=_place)


def _place(item: Job) -> tuple[float | str, ...]:
    scan = item.scan
    class_ = (not item.is_work, item.todo == IMPROVE, item.comes_last, -item.policy.priority, item.todo != RESUME)
    first = {"oldest": scan.changed, "newest": -scan.changed, "smallest": float(scan.size), "name": 0.0}
    return *class_, first[item.policy.order], scan.source


def _item(scan: Scan, archive: Archive, books: ScanRegistry, results: Results) -> Job:
    policy, entry = archive.sources[scan.policy], books.entry(scan)
    is_other = entry is None or scan.stamp != entry.stamp
    if is_other and (why := _may_be_written(scan, policy, books)):
        return Job(scan, policy, WAIT, why)
    dated = f"; dated {_day(scan.changed)}, which is in the future" if is_other and is_ahead(scan.changed) else ""
    if entry is None:
        return Job(scan, policy, NEW, f"not seen before{dated}")
    changes = list(_changes(scan, policy, entry))
    if changes:
        return Job(scan, policy, CHANGED, f"{' and '.join(changes)}{dated}", replaces=scan.target == entry.target)
    if entry.standing == "done":
        return _done(scan, policy, entry, results)
    return _unchanged(scan, policy, entry, archive.night.tries)


def _done(scan: Scan, policy: SourcePolicy, entry: ScanState, results: Results) -> Job:
    try:
        if results.is_gone(scan.target):
            return Job(scan, policy, NEW, "its result is gone")
    except OutsideError as error:
        # Nobody can tell: it is left as it is.
        return Job(scan, policy, AWAY, str(error))
    if entry.degraded:
        return Job(scan, policy, IMPROVE, f"had {entry.degraded}", replaces=True, before=entry)
    return Job(scan, policy, SKIP, f"done on {entry.night}")


def _may_be_written(scan: Scan, policy: SourcePolicy, books: ScanRegistry) -> str:
    """Return why a scan waits; empty where it has stayed as it is for long enough."""
    now, since, told = time.time(), scan.touched or scan.changed, "changed"
    if is_ahead(since):
        # Every clock that dated it is ahead: what counts is since when it has been seen as it is.
        told = f"dated {_day(since)}, which is in the future, and first seen as it is"
        since = first_seen(books, scan, now)
    minutes = max(now - since, 0) / 60
    return f"{told} {minutes:.0f} minutes ago, so it may still be written" if minutes < policy.settle_minutes else ""


def _day(seconds: float) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(seconds))


def _changes(scan: Scan, policy: SourcePolicy, entry: ScanState) -> Iterator[str]:
    if scan.stamp != entry.stamp:
        yield "the scan has changed"
    if policy.digest != entry.policy:
        yield "what is wished has changed"
    if scan.target != entry.target:
        yield "the target has changed"


def _unchanged(scan: Scan, policy: SourcePolicy, entry: ScanState, tries: int) -> Job:
    match entry.standing:
        case "refused":
            return Job(scan, policy, SKIP, f"refused on {entry.night}")
        case "paused" if entry.is_spoilt:
            last = bool(entry.outcome.get("ended_workers"))
            return Job(scan, policy, RESUME, entry.why, entry.tries, entry.replaces, comes_last=last)
        case "paused":
            return Job(scan, policy, RESUME, "stopped in good order before", replaces=entry.replaces)
        case "quarantined":
            return Job(scan, policy, QUARANTINE, entry.why, entry.tries, entry.replaces)
        case _:
            return _tried(scan, policy, entry, tries)


def _tried(scan: Scan, policy: SourcePolicy, entry: ScanState, tries: int) -> Job:
    tried, why = _tries_of(entry), "the run died while at it" if entry.standing == "begun" else entry.why
    # A run that dies once says nothing of its scan: machines and workers go down.
    allowed = max(tries, 2) if entry.standing == "begun" else tries
    if tried >= allowed:
        return Job(scan, policy, QUARANTINE, f"given up after {tried} nights: {why}", tried, entry.replaces)
    todo, last = (RESUME, tried > 0) if entry.standing == "begun" else (RETRY, False)
    return Job(scan, policy, todo, why, tried, entry.replaces, comes_last=last)


def _tries_of(entry: ScanState) -> int:
    """Return how many nights a scan has cost; a run that died was none if it had come further by then."""
    if entry.standing == "begun" and headway(entry.target) > int(entry.outcome.get("headway", 0)):
        return max(entry.tries - 1, 0)
    return entry.tries
