"""One night over an archive: find what is new, changed or unfinished, and restore it scan by scan."""

import time
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from flows.restore import restore_volume
from flows.summary import night_markdown
from ilcore.archives.agenda import Item
from ilcore.archives.books import Books
from ilcore.archives.lease import leased
from ilcore.archives.policy import read_archive
from ilcore.grammar.errors import ClusterError
from ilcore.planning.plan import RestorationPlan
from ilcore.running.workspace import Workspace
from tasks.executors.budget import Budget
from tasks.executors.cluster import Cluster, Resources, open_cluster
from tasks.executors.pausing import pausable
from tasks.executors.shutdown import ask, gracefully, is_asked, until, waited_for, while_left
from tasks.nights.accounts import close_night, look_back, page_of_run, track_night
from tasks.nights.report import write_morning_page
from tasks.nights.steps import (
    BAD,
    Night,
    NotTonight,
    begun,
    ended,
    folder_for_plans,
    fresh_name,
    learn_growth,
    learn_instrument,
    learn_pace,
    may_replace,
    open_night,
    plan_scan,
    planned,
    put_off,
    save_plan,
    tags_of,
)  # fmt: skip
from tasks.nights.tidying import tidy
from tasks.services.stale import free_stale
from tasks.tracking.journal import catch_up

#: Sentences of trouble that stand in the message of a night; the page has them all.
_TOLD = 5


@flow(name="nightly")
def nightly(archive: str, hours: float | None = None) -> Any:
    """Restore what is new, changed or unfinished in an archive, until it is done or the night is over.

    Args:
        archive: The archive file.
        hours: Longest duration, instead of the file's own.
    """
    told = read_archive(archive)
    # Two nights at once would be in each other's way: the second refuses.
    with Workspace.of(f"{told.books}/night").locked(), gracefully(), pausable():
        books = Books.of(told.books)
        name = fresh_name(books, datetime.now(tz=UTC))
        with leased(books.running, {"night": name, "run": page_of_run()}, ask) as left:
            free_stale()
            night = open_night(told, hours, name)
            look_back(night, left)
            catch_up(books.untracked)
            if night.work:
                _work(night)
            tidy(night)
            summary = close_night(night)
            page = write_morning_page(night.books, summary)
            track_night(told, summary, page)
            catch_up(books.untracked)
    return _ended(summary, str(page))


def _work(night: Night) -> None:
    """Go through the scans, and again through those that the surroundings spoiled: store, scheduler, disk, memory."""
    for minutes in (0.0, *night.archive.night.again_minutes):
        if not night.left or not _waited(night, 60 * minutes):
            return
        try:
            _round(night)
        except ClusterError as error:
            night.meet(str(error))


def _waited(night: Night, seconds: float) -> bool:
    """Wait; tell whether there is still time then, and nobody wants the night to stop."""
    end = time.monotonic() + seconds
    while not is_asked() and not night.is_over:
        if time.monotonic() >= end:
            return True
        time.sleep(min(1.0, max(0.0, end - time.monotonic())))
    return False


def _round(night: Night) -> None:
    policy = night.archive.night
    resources = Resources(workers=policy.workers, scheduler=policy.scheduler, device=policy.device)
    with open_cluster(resources) as cluster, ExitStack() as limits, folder_for_plans() as folder:
        limits.enter_context(until(night.seconds_left))
        if policy.gpu_hours is not None:
            left = 3600 * policy.gpu_hours if night.budget is None else night.budget.left
            night.budget = Budget(left, lambda: cluster.workers)
            limits.callback(night.budget.settle)
            limits.enter_context(while_left(night.budget.look))
        night.spoilt, work = 0, night.left
        for number, item in enumerate(work):
            if is_asked() or night.is_over:
                return
            _one(night, item, work[number + 1 :], cluster, Path(folder))
            if night.is_spoilt:
                return


def _one(night: Night, item: Item, later: list[Item], cluster: Cluster, folder: Path) -> None:
    """Plan and restore one scan; whatever becomes of it, the night goes on."""
    entry = begun(night, item)
    try:
        plan, rung = plan_scan(night, item, later, cluster.workers)
        entry = planned(night, item, rung, plan)
        began = time.monotonic()
        outcome = _restored(night, plan, tags_of(night, item, entry), cluster, folder, may_replace(item, plan))
        learn_pace(night, rung, time.monotonic() - began)
        learn_instrument(night, entry, plan)
        learn_growth(night, rung, plan)
    except NotTonight:
        put_off(night, item)
        return
    except Exception as error:
        # One bad scan must not cost the others their night.
        outcome = error
    ended(night, entry, outcome)


def _restored(
    night: Night, plan: RestorationPlan, tags: dict[str, str], cluster: Cluster, folder: Path, overwrite: bool
) -> Any:
    policy = night.archive.night
    # Around a flow in the main thread Prefect answers SIGTERM itself, with an exception that may get lost.
    state: Any = waited_for(partial(
        restore_volume,
        target=plan.target, plan=save_plan(plan, folder), overwrite=overwrite, scheduler=cluster.address,
        device=policy.device, tracking_uri=policy.tracking_uri, tags=tags,
        queue=str(night.books.untracked), return_state=True,
    ))  # fmt: skip
    return state.result(raise_on_failure=False)


def _ended(summary: dict[str, Any], page: str) -> State[Any]:
    create_markdown_artifact(night_markdown(summary, page), key="night", description="What the night did")
    bad = {name: summary["counts"].get(name, 0) for name in sorted(BAD)}
    told = ", ".join(f"{count} {name}" for name, count in summary["counts"].items()) or "nothing to do"
    # Whoever watches the schedule is told of scans that need a person.
    if any(bad.values()) or summary["trouble"]:
        words = "; ".join((told, *summary["trouble"][:_TOLD], f"see {page}"))
        return Failed(message=words, data={**summary, "page": page})
    return Completed(message=told, data={**summary, "page": page})
