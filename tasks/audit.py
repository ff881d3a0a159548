"""Audit a result, keep the record beside it, and note it in its MLflow run."""

import datetime
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass

from ilcore.grammar.errors import BadInput, ILError
from ilcore.keeping.audit import Point, audit, is_sound
from ilcore.keeping.verify import is_over
from ilcore.planning.plan import RestorationPlan
from ilcore.running.executor import Executor, Local
from ilcore.running.record import versions
from ilcore.running.run import Run
from ilcore.stores.places import make_folder, write_text
from ilcore.stores.store import Place
from tasks.executors.cluster import Resources, open_cluster, worker_device
from tasks.tracking.client import RunPayload, Tracker, is_there, tracking_uri
from tasks.tracking.run_payload import volume_run


@dataclass(frozen=True)
class Audited:
    """What an audit found, where its record is, and what it was noted in."""

    points: tuple[Point, ...]
    record: Place
    noted: str

    @property
    def is_sound(self) -> bool:
        """Tell whether nothing differs."""
        return is_sound(self.points)


def audit_result(target: str, resources: Resources, *, tiles: int, seed: int, given_uri: str | None) -> Audited:
    """Audit a published result.

    Raises:
        BadInput: When nothing was published yet.
        BadPlan: When no run was begun for the target.
        Busy: When a run is working on it.
    """
    run = Run.begun(target)
    if not is_over(run.workspace):
        raise BadInput(
            f"an audit wants a published result, got a run that is not over for {target}; il status tells more"
        )
    now = datetime.datetime.now(tz=datetime.UTC)
    with run.workspace.locked(), _executor(resources) as executor:
        points = audit(run, tiles=tiles, seed=seed, executor=executor)
        record = _kept(run, points, now, seed)
    return Audited(points, record, _noted(run.plan, points, now, given_uri))


@contextmanager
def _executor(resources: Resources) -> Iterator[Executor]:
    if resources.scheduler is None and resources.workers == 0:
        yield Local(worker_device(resources.device))
        return
    with open_cluster(resources) as cluster:
        yield cluster


def _kept(run: Run, points: Sequence[Point], now: datetime.datetime, seed: int) -> Place:
    folder = run.workspace.root / "audits"
    make_folder(folder)
    place = folder / f"{now:%Y-%m-%dT%H%M%S}.json"
    content = {
        "time": now.isoformat(), "target": run.plan.target, "fingerprint": run.plan.fingerprint, "seed": seed,
        "is_sound": is_sound(points), "points": [asdict(point) for point in points], "versions": versions(),
    }  # fmt: skip
    write_text(place, json.dumps(content, indent=2))
    return place


def _noted(plan: RestorationPlan, points: Sequence[Point], now: datetime.datetime, given: str | None) -> str:
    """Note an audit in the run that made the result; say in words what came of it."""
    uri = tracking_uri(plan.target, given)
    if not is_there(uri):
        return f"nowhere: {uri} is not there"
    try:
        tracker = Tracker(uri)
        run_id = tracker.last(volume_run(plan, now.date()))
        if run_id is None:
            return f"nowhere: {uri} holds no run of this plan"
        word = "sound" if is_sound(points) else "differs"
        tracker.note(
            run_id,
            RunPayload(
                tags={"il.audit": word, "il.audit_time": now.isoformat(timespec="seconds")},
                tables={f"audits/{now:%Y-%m-%dT%H%M%S}.json": [asdict(point) for point in points]},
            ),
        )
    except ILError as error:
        return f"nowhere: {error}"
    return tracker.page(run_id)
