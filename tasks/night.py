"""The steps of a night: what is on the agenda, how much of a scan there is time for, and how it ended."""

import datetime
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.runtime import flow_run
from prefect.settings import PREFECT_API_URL
from prefect.utilities.urls import url_for

from ilcore.archives.agenda import IMPROVE, RESUME, RETRY, Item, agenda
from ilcore.archives.books import Books, Entry
from ilcore.archives.discover import discover
from ilcore.archives.drift import REMEMBERED, drift, seen_in
from ilcore.archives.growth import growth_of
from ilcore.archives.policy import Archive
from ilcore.archives.sightings import lost
from ilcore.archives.spending import SHARES, Rung, degraded, ladder_of, left_out, scaled, spend
from ilcore.grammar.errors import ILError
from ilcore.restoring.plan import RestorationPlan
from ilcore.restoring.planning import Wishes
from ilcore.restoring.stages import is_outdated, made_by
from ilcore.restoring.volume_model import LearntModel, budget_of, learnt_before
from ilcore.restoring.workspace import Workspace
from ilcore.volumes.stores import Place
from tasks.budget import Budget
from tasks.load import make_plan, plan_of
from tasks.publish import Outcome
from tasks.sheets import curves_of
from tasks.stopping import Stopped
from tasks.tracking import DEGRADED, EXPERIMENT, NIGHT, Sheet, Tracker, tracking_uri

#: What work took over what was expected is believed within these bounds.
_RATIOS = (0.2, 20.0)
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
    trouble: Sequence[str]
    ends: float | None
    began: float = field(default_factory=time.monotonic)
    ratio: float = _FIRST_RATIO
    #: Of the workers' hours, once there are workers; None without a limit.
    budget: Budget | None = None
    #: Ladders of scans that were planned, by policy, each with the size of its scan.
    ladders: dict[int, tuple[list[Rung], int]] = field(default_factory=dict)
    done: list[Entry] = field(default_factory=list)

    @property
    def work(self) -> list[Item]:
        """Return what there is to do, in order."""
        return [item for item in self.items if item.is_work]

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
def open_night(archive: Archive, hours: float | None) -> Night:
    """Find the scans, open the books, and return the night that begins now."""
    now = datetime.datetime.now(tz=datetime.UTC)
    scans, trouble = discover(archive)
    books = Books.of(archive.books)
    trouble += lost(books, scans, trouble)
    policy = archive.night if hours is None else archive.night.model_copy(update={"hours": hours})
    seconds = policy.seconds_left(now)
    ends = None if seconds is None else time.monotonic() + seconds
    return Night(_fresh(books, now), archive, books, agenda(archive, scans, books), trouble, ends)


def _fresh(books: Books, now: datetime.datetime) -> str:
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
    match outcome:
        case Outcome():
            found = [finding for finding in outcome.findings if finding["verdict"] == "fail"]
            why = "; ".join(f"{each['check']}: {each['measured']:.4g}, allowed {each['allowed']}" for each in found)
            standing = "done" if outcome.is_published else "refused"
            entry = night.books.end(entry, standing, why, **_told(outcome))
        case Stopped():
            entry = night.books.end(entry, "paused", str(outcome))
        case ILError() if entry.tries < night.archive.night.tries and outcome.exit_code != 2:
            entry = night.books.end(entry, "failed", str(outcome))
        case ILError():
            entry = night.books.end(entry, "quarantined", str(outcome))
        case _:
            # Nothing of ours: it may be the scan, so it is tried once more, on another night.
            standing = "failed" if entry.tries < night.archive.night.tries else "quarantined"
            entry = night.books.end(entry, standing, f"{type(outcome).__name__}: {outcome}")
    night.done.append(entry)
    return entry


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
    if item.before is not None:
        night.books.note(item.before)


def learn_growth(night: Night, rung: Rung, plan: RestorationPlan) -> None:
    """Remember what a quarter and a half of the steps brought to a scan that had all of them."""
    workspace = Workspace.of(plan.target)
    if rung.words or budget_of(plan.entry) == 0 or not workspace.record.exists():
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


@task(name="track-night", cache_policy=NO_CACHE)
def track_night(archive: Archive, summary: Mapping[str, Any], page: Place) -> None:
    """Keep what a night did as a run of its own: scans that never came to a run stand there too."""
    uri = tracking_uri(f"{archive.books}/night", archive.night.tracking_uri)
    rows = [
        {
            name: entry[name]
            for name in ("source", "target", "standing", "todo", "why", "degraded", "drift", "instrument")
        }
        for entry in summary["done"]
    ]
    rest = [{**dict.fromkeys(rows[0] if rows else ("standing",), ""), **each} for each in summary["not_done"]]
    sheet = Sheet(
        metrics={"scans": summary["scans"], "seconds": summary["seconds"], **summary["counts"]},
        tags={NIGHT: f"{archive.name} {summary['night']}", "il.archive": archive.name},
        tables={"scans.json": rows, "not_done.json": rest}, files={page: "page"},
    )  # fmt: skip
    bad = {"failed", "refused", "quarantined"} & set(summary["counts"])
    try:
        Tracker(uri).keep(
            f"{EXPERIMENT}-nights", f"{archive.name}-{summary['night']}", sheet, "FAILED" if bad else "FINISHED"
        )
    except ILError as error:
        # The books hold it all; MLflow being away costs nobody a night.
        sys.stderr.write(f"warning: the night is over, but MLflow did not take its record: {error}\n")


@task(name="close", cache_policy=NO_CACHE)
def close_night(night: Night) -> dict[str, Any]:
    """Write down what the night did, and return it."""
    done = {entry.source for entry in night.done}
    counts: dict[str, int] = {}
    for entry in night.done:
        counts[entry.standing] = counts.get(entry.standing, 0) + 1
    rest = [item for item in night.items if item.scan.source not in done]
    for item in rest:
        if item.todo == "quarantine":
            night.books.note(replace(item.entry(night.name, "quarantined", item.why), tries=item.tries))
    content: Mapping[str, Any] = {
        "night": night.name,
        "archive": night.archive.name,
        "run": _page_of_run(),
        "seconds": time.monotonic() - night.began,
        "scans": len(night.items),
        "counts": counts,
        "trouble": list(night.trouble),
        "done": [asdict(entry) for entry in night.done],
        "not_done": [
            {"source": item.scan.source, "target": item.scan.target, "todo": item.todo, "why": item.why}
            for item in rest
        ],
    }
    night.books.write_night(night.name, content)
    return dict(content)


def _page_of_run() -> str:
    """Return where Prefect shows this night; empty where its pages end with the run."""
    if flow_run.id is None or not PREFECT_API_URL.value():
        return ""
    return url_for("flow-run", obj_id=str(flow_run.id), url_type="ui") or ""


def folder_for_plans() -> "tempfile.TemporaryDirectory[str]":
    """Return a folder that goes away with the night."""
    return tempfile.TemporaryDirectory(prefix="il-night-")
