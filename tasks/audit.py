"""Audit a result, keep the record beside it, and note it in its MLflow run."""

import datetime
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial

from ilcore.grammar.errors import BadInput, ILError
from ilcore.keeping.audit import Point, audit, is_sound
from ilcore.keeping.verify import Spread, is_over
from ilcore.planning.plan import RestorationPlan
from ilcore.running.record import versions
from ilcore.running.tile import replay_unit
from ilcore.running.workspace import Workspace
from ilcore.stores.places import Place, make_folder, write_text
from tasks.executors.cluster import Resources, open_cluster, worker_device
from tasks.tracking.client import Sheet, Tracker, is_there, tracking_uri
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
    workspace = Workspace.of(target)
    plan = workspace.plan_of_run()
    if not is_over(workspace):
        raise BadInput(
            f"an audit wants a published result, got a run that is not over for {target}; il status tells more"
        )
    now = datetime.datetime.now(tz=datetime.UTC)
    with workspace.locked(), _spread(resources) as spread:
        again = partial(_again, plan, workspace, resources.device)
        points = audit(plan, workspace, tiles=tiles, seed=seed, spread=spread, again=again)
        record = _kept(workspace, plan, points, now, seed)
    return Audited(points, record, _noted(plan, points, now, given_uri))


def _again(plan: RestorationPlan, workspace: Workspace, device: str, index: Sequence[int]) -> list[int]:
    return replay_unit(plan, workspace, index, worker_device(device))


@contextmanager
def _spread(resources: Resources) -> Iterator[Spread]:
    if resources.scheduler is None and resources.workers == 0:
        yield map
        return
    with open_cluster(resources) as cluster:
        yield cluster.spread


def _kept(
    workspace: Workspace, plan: RestorationPlan, points: Sequence[Point], now: datetime.datetime, seed: int
) -> Place:
    folder = workspace.root / "audits"
    make_folder(folder)
    place = folder / f"{now:%Y-%m-%dT%H%M%S}.json"
    content = {
        "time": now.isoformat(), "target": plan.target, "fingerprint": plan.fingerprint, "seed": seed,
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
            Sheet(
                tags={"il.audit": word, "il.audit_time": now.isoformat(timespec="seconds")},
                tables={f"audits/{now:%Y-%m-%dT%H%M%S}.json": [asdict(point) for point in points]},
            ),
        )
    except ILError as error:
        return f"nowhere: {error}"
    return tracker.page(run_id)
