"""The steps of a night: what is on the agenda, how much of a scan there is time for, and how it ended."""

import datetime
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from ilcore.archives.agenda import AWAY, IMPROVE, RESUME, RETRY, Item, agenda
from ilcore.archives.books import Books, Entry
from ilcore.archives.discover import discover
from ilcore.archives.drift import REMEMBERED, drift, seen_in
from ilcore.archives.growth import growth_of
from ilcore.archives.policy import Archive
from ilcore.archives.room import with_room
from ilcore.archives.sightings import lost
from ilcore.archives.spending import SHARES, Rung, degraded, ladder_of, left_out, scaled, spend
from ilcore.grammar.errors import ClusterError, ILError, WorkerDied
from ilcore.grammar.surroundings import is_outside
from ilcore.planning.make import Wishes
from ilcore.planning.plan import RestorationPlan
from ilcore.running.stages import is_outdated, made_by
from ilcore.running.volume_model import LearntModel, learnt_before
from ilcore.running.workspace import Workspace
from tasks.executors.budget import Budget
from tasks.executors.shutdown import Stopped
from tasks.load import make_plan, plan_of
from tasks.publish import Outcome
from tasks.tracking.client import DEGRADED, NIGHT
from tasks.tracking.run_payload import curves_of

#: What work took over what was expected is believed within these bounds.
_RATIOS = (0.2, 20.0)
#: Standings of which somebody should know.
BAD = frozenset({"failed", "refused", "quarantined"})
#: Scans in a row after whose failure it is the surroundings.
_SPOILT = 3
#: Before anything is known: workers share a machine, and stages besides the tiles take their time.
_FIRST_RATIO = 1.5


class NotTonight(ILError):
    """There is no time to make a result anew that is there already."""


@dataclass
class Night:
    """One night at work: what it does with each scan, written down as it goes."""

    name: str
    archive: Archive
    books: Books
    items: Sequence[Item]
    trouble: list[str]
    ends: float | None
    began: float = field(default_factory=time.monotonic)
    ratio: float = _FIRST_RATIO
    #: Of the workers' hours, once there are workers; None without a limit.
    budget: Budget | None = None
    #: Ladders of scans that were planned, by policy, each with the size of its scan.
    ladders: dict[int, tuple[list[Rung], int]] = field(default_factory=dict)
    done: list[Entry] = field(default_factory=list)
    #: Scans for which there is no time tonight.
    set_aside: set[str] = field(default_factory=set)
    #: Scans in a row that the surroundings spoiled; as many as `_SPOILT` where all others would fare alike.
    spoilt: int = 0

    @property
    def work(self) -> list[Item]:
        """Return what there is to do, in order."""
        return [item for item in self.items if item.is_work]

    @property
    def left(self) -> list[Item]:
        """Return what there is to do yet, in order; what was tried tonight and spoilt comes last."""
        ended = {entry.source: entry for entry in self.done}
        over = {source for source, entry in ended.items() if not entry.is_spoilt} | self.set_aside
        rest = [item for item in self.work if item.scan.source not in over]
        return sorted(rest, key=lambda item: item.scan.source in ended)

    @property
    def is_spoilt(self) -> bool:
        """Tell whether the surroundings would spoil the next scan too, so that it is better to wait."""
        return self.spoilt >= _SPOILT

    def meet(self, trouble: str) -> None:
        """Note what is wrong tonight with something else than a scan, once."""
        if trouble not in self.trouble:
            self.trouble.append(trouble)

    @property
    def has_restored(self) -> bool:
        """Tell whether some scan got through tonight: what ends workers all the same is not the machine."""
        return any(entry.standing in ("done", "refused") for entry in self.done)

    @property
    def seconds_left(self) -> float | None:
        """Return how long the night lasts yet; None without a limit."""
        limits = [] if self.ends is None else [self.ends - time.monotonic()]
        limits += [] if self.budget is None else [self.budget.seconds]
        return min(limits, default=None)

    @property
    def is_over(self) -> bool:
        """Tell whether there is no time left."""
        return self.seconds_left is not None and self.seconds_left <= 0


@task(name="discover", cache_policy=NO_CACHE)
def open_night(archive: Archive, hours: float | None, name: str | None = None) -> Night:
    """Find the scans, open the books, and return the night that begins now."""
    now = datetime.datetime.now(tz=datetime.UTC)
    scans, trouble = discover(archive)
    books = Books.of(archive.books)
    trouble += lost(books, scans, trouble)
    policy = archive.night if hours is None else archive.night.model_copy(update={"hours": hours})
    seconds = policy.seconds_left(now)
    ends = None if seconds is None else time.monotonic() + seconds
    items, told = with_room(archive, agenda(archive, scans, books))
    told += sorted({item.why for item in items if item.todo == AWAY})
    return Night(name or fresh_name(books, now), archive, books, items, [*trouble, *told], ends)


def fresh_name(books: Books, now: datetime.datetime) -> str:
    """Return a name for a night that begins now."""
    name, there = now.strftime("%Y-%m-%dT%H%M%S"), set(books.nights())
    return name if name not in there else f"{name}-{len(there)}"


@task(name="plan-scan", cache_policy=NO_CACHE)
def plan_scan(night: Night, item: Item, later: Sequence[Item], workers: int) -> tuple[RestorationPlan, Rung]:
    """Return the plan for a scan, with as many steps as the night affords.

    A run that was stopped goes on with the plan it had, unless its method gives other voxels now: it is planned anew.

    Raises:
        NotTonight: There is a result, and the night is too short to make it with all its steps.
    """
    if item.todo in (RESUME, RETRY) and (begun := _plan_begun(item)) is not None:
        return begun, Rung(0.0, 0.0, words=left_out(begun))
    left = night.seconds_left
    wishes = replace(item.policy.wishes, roots=night.archive.roots)
    wishes = _within(wishes, _share(night, item, later, workers))
    plan = make_plan(item.scan.source, item.scan.target, wishes, night.archive.night.tracking_uri)
    if left is None or made_by(Workspace.of(plan.target).target) == plan.fingerprint:
        return plan, Rung(0.0, 0.0)
    growth = night.books.growth(f"{plan.method}-{plan.scope}", len(SHARES))
    ladder = ladder_of(plan, workers, slower=night.ratio, growth=growth)
    night.ladders[item.scan.policy] = (ladder, item.scan.size)
    if item.todo == IMPROVE and ladder[-1].seconds > left:
        raise NotTonight(f"all its steps take {ladder[-1].seconds:.0f} s, the night has {left:.0f} s left")
    # What is done already takes no time from what is not.
    others = [_guessed(night, each) for each in later if each.todo != IMPROVE]
    given = spend([ladder, *others], left)[0]
    # With no time for the least of it, it is begun all the same: what is done by the end is kept.
    rung = ladder[given or 0]
    return degraded(plan, rung), rung


def _share(night: Night, item: Item, later: Sequence[Item], workers: int) -> float | None:
    """Return a scan's share of the core-hours that are left, by its size; None without a limit."""
    if night.seconds_left is None:
        return None
    rest = sum(each.scan.size for each in later if each.todo != IMPROVE)
    share = max(1, item.scan.size) / max(1, item.scan.size + rest)
    return max(night.seconds_left, 1.0) * max(1, workers) / night.ratio * share / 3600


def _within(wishes: Wishes, hours: float | None) -> Wishes:
    """Let a method be chosen that fits into the hours; what the policy itself says of them stays."""
    return wishes if hours is None or wishes.hours is not None else replace(wishes, hours=hours)


def _plan_begun(item: Item) -> RestorationPlan | None:
    try:
        plan = plan_of(item.scan.target)
        if is_outdated(plan, Workspace.of(plan.target)):
            return None
    except ILError:
        return None
    return plan if plan.source.uri in (item.scan.source, str(Path(item.scan.source).resolve())) else None


def _guessed(night: Night, item: Item) -> list[Rung]:
    ladder, size = night.ladders.get(item.scan.policy) or next(iter(night.ladders.values()))
    return scaled(ladder, item.scan.size / max(1, size))


def save_plan(plan: RestorationPlan, folder: Path) -> str:
    """Write a plan where the flow of a restoration finds it."""
    path = folder / f"{plan.fingerprint[:16]}.yaml"
    path.write_text(plan.to_yaml(), encoding="utf-8")
    return str(path)


def may_replace(item: Item, plan: RestorationPlan) -> bool:
    """Tell whether what is there is to be replaced: it is ours, and of another plan."""
    if item.replaces:
        return made_by(Workspace.of(plan.target).target) != plan.fingerprint
    return item.todo in (RESUME, RETRY) and _is_outdated(item)


def _is_outdated(item: Item) -> bool:
    """Tell whether a run is in the way that cannot be finished: its method gives other voxels now."""
    try:
        plan = plan_of(item.scan.target)
        return is_outdated(plan, Workspace.of(plan.target))
    except ILError:
        return False


def learn_pace(night: Night, rung: Rung, seconds: float) -> None:
    """Remember how long a scan took over what was expected of it."""
    if rung.seconds > 0:
        ratio = night.ratio * seconds / rung.seconds
        night.ratio = 0.5 * night.ratio + 0.5 * min(max(ratio, _RATIOS[0]), _RATIOS[1])


def ended(night: Night, entry: Entry, outcome: Outcome | BaseException) -> Entry:
    """Write down how a scan ended.

    Args:
        night: The night.
        entry: As it was begun.
        outcome: What the restoration returned, or what it raised.
    """
    standing, why, told = _ending(night, entry, outcome)
    entry = night.books.end(entry, standing, why, **told)
    night.spoilt = night.spoilt + 1 if entry.is_spoilt else 0
    if isinstance(outcome, ClusterError) and not isinstance(outcome, WorkerDied):
        night.spoilt = _SPOILT
    night.done = [*(each for each in night.done if each.source != entry.source), entry]
    return entry


def _ending(night: Night, entry: Entry, outcome: Outcome | BaseException) -> tuple[str, str, dict[str, Any]]:
    """Return how a scan stands now, why, and what is told of its result."""
    match outcome:
        case Outcome():
            found = [finding for finding in outcome.findings if finding["verdict"] == "fail"]
            why = "; ".join(f"{each['check']}: {each['measured']:.4g}, allowed {each['allowed']}" for each in found)
            return "done" if outcome.is_published else "refused", why, _told(outcome)
        case Stopped():
            return "paused", str(outcome), {}
        case WorkerDied() if not night.has_restored:
            return "paused", str(outcome), {"is_spoilt": True, "ended_workers": True}
        case _ if is_outside(outcome) and not isinstance(outcome, WorkerDied):
            return "paused", _sentence(outcome), {"is_spoilt": True}
        case ILError() if outcome.exit_code == 2 or entry.tries >= night.archive.night.tries:
            return "quarantined", str(outcome), {}
        case _:
            # It may be the scan, so it is tried once more, on another night.
            standing = "failed" if entry.tries < night.archive.night.tries else "quarantined"
            return standing, _sentence(outcome), {}


def _sentence(error: BaseException) -> str:
    return str(error) if isinstance(error, ILError) else f"{type(error).__name__}: {error}"


def _told(outcome: Outcome) -> dict[str, Any]:
    return {
        "verdict": outcome.verdict, "numbers": dict(outcome.numbers), "report": outcome.report, "page": outcome.page,
    }  # fmt: skip


def begun(night: Night, item: Item) -> Entry:
    """Write down that a scan is worked on now."""
    return night.books.note(item.entry(night.name))


def planned(night: Night, item: Item, rung: Rung, plan: RestorationPlan) -> Entry:
    """Write down what a scan is given, and in what it differs from earlier ones of its instrument."""
    seen = drift(night.books.history(item.scan.instrument), seen_in(plan))
    return night.books.note(replace(item.entry(night.name), degraded=rung.words, drift=seen))


def put_off(night: Night, item: Item) -> None:
    """Write down that all is as it was before: there was no time to make a result anew."""
    night.set_aside.add(item.scan.source)
    if item.before is not None:
        night.books.note(item.before)


def learn_growth(night: Night, rung: Rung, plan: RestorationPlan) -> None:
    """Remember what a quarter and a half of the steps brought to a scan that had all of them."""
    workspace = Workspace.of(plan.target)
    if rung.words or plan.entry.method.budget == 0 or not workspace.record.exists():
        return
    try:
        curves = curves_of(plan, workspace, learnt_before(workspace) or LearntModel(None))
    except (ILError, OSError, KeyError, ValueError):
        # Nothing was lost but a hint.
        return
    grown = growth_of(list(curves.values()), SHARES)
    if grown is not None:
        night.books.learn_growth(f"{plan.method}-{plan.scope}", grown, REMEMBERED)


def learn_instrument(night: Night, entry: Entry, plan: RestorationPlan) -> None:
    """Remember what was seen in a scan: what drifts for long becomes the usual."""
    night.books.remember(entry, seen_in(plan), REMEMBERED)


def tags_of(night: Night, item: Item, entry: Entry) -> dict[str, str]:
    """Return what the MLflow run of a scan says of the night."""
    return {
        "il.drift": entry.drift or "no",
        NIGHT: f"{night.archive.name} {night.name}", DEGRADED: entry.degraded or "no", "il.todo": item.todo,
        "il.instrument": item.scan.instrument,
    }  # fmt: skip


def folder_for_plans() -> "tempfile.TemporaryDirectory[str]":
    """Return a folder that goes away with the night."""
    return tempfile.TemporaryDirectory(prefix="il-night-")
