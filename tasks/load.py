"""Make or take up the plan of a restoration."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from prefect import task
from prefect.cache_policies import NO_CACHE

from ilcore.grammar.errors import BadInput, TrackingError
from ilcore.methods.catalogue import find
from ilcore.methods.entry import configure
from ilcore.planning.cost import work_of
from ilcore.planning.make import Wishes, plan_volume
from ilcore.planning.plan import RestorationPlan, read_plan
from ilcore.results.destination import check_destination
from ilcore.running.stages import Standing, prepare
from ilcore.running.workspace import Workspace
from ilcore.stores.places import check_answers

if TYPE_CHECKING:
    from tasks.tracking.champions import Registered

MODELS = "models:/"


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Where a plan may come from besides a source: a plan file, and a registry that holds weights."""

    plan: str | None = None
    tracking_uri: str | None = None


@task(name="load", cache_policy=NO_CACHE)
def load(source: str | None, target: str | None, wishes: Wishes, asked: Asked) -> RestorationPlan:
    """Return the plan to carry out: from a plan file, from a run that was begun, or made now.

    Raises:
        BadInput: When nothing says what to restore.
    """
    if asked.plan is not None:
        return read_plan(Path(asked.plan))
    if target is None:
        raise BadInput(
            "a restoration wants source and target, or a plan file, or the target of a run to resume; got none"
        )
    if source is None:
        return plan_of(target)
    return make_plan(source, target, wishes, asked.tracking_uri)


@task(name="prepare", cache_policy=NO_CACHE)
def make_ready(plan: RestorationPlan, workspace: Workspace, *, overwrite: bool) -> Standing:
    """Make the workspace of the run, or take up the one that is there, and tell what is left to do."""
    return prepare(plan, workspace, overwrite=overwrite)


def check_early(source: str, target: str, wishes: Wishes) -> None:
    """Refuse what can be refused in a second, before servers and workers are started.

    Raises:
        ILError: As planning or publishing would, later.
    """
    for place in (source, target):
        check_answers(place)
    wishes.open(source)
    check_destination(target, source, overwrite=True)
    check_free(target)
    if wishes.method is not None:
        configure(find(wishes.method), wishes.overrides)


def check_free(target: str) -> None:
    """Refuse a destination that another run is working on.

    Raises:
        Busy: Naming the other's process.
    """
    workspace = Workspace.of(target)
    if workspace.root.exists():
        with workspace.locked():
            return


def make_plan(source: str, target: str, wishes: Wishes, tracking_uri: str | None = None) -> RestorationPlan:
    """Return the plan for a volume, starting from the registry's champion where there is a registry.

    Args:
        source: The volume.
        target: Where the result shall be.
        wishes: What the user asked for; weights may be a file or models:/NAME@ALIAS.
        tracking_uri: MLflow's address, as `tasks.tracking.client.tracking_uri` understands it.
    """
    with_weights, words = _with_weights(target, wishes, tracking_uri)
    plan = plan_volume(source, target, with_weights)
    return plan.model_copy(update={"why": "; ".join(filter(None, (plan.why, words)))}) if words else plan


def plan_of(target: str) -> RestorationPlan:
    """Return the plan of the run that was begun for a target.

    Raises:
        BadPlan: When there was none.
    """
    return Workspace.of(target).plan_of_run()


def _with_weights(target: str, wishes: Wishes, given: str | None) -> tuple[Wishes, str]:
    """Return the wishes with weights out of the registry, and what is to be said of them."""
    from tasks.tracking.client import Tracker, is_there, tracking_uri

    uri, words = tracking_uri(target, given), ""
    if wishes.weights is not None and wishes.weights.startswith(MODELS):
        named: Registered | None = Tracker(uri).find_weights(wishes.weights)
    elif wishes.weights is None and _may_start_pretrained(wishes) and is_there(uri):
        named, words = _champion(uri)
    else:
        return wishes, ""
    if named is None:
        return wishes, words
    return replace(wishes, weights=str(named.path), weights_uri=named.uri), words


def _champion(uri: str) -> "tuple[Registered | None, str]":
    """Return the registry's champion; where the registry does not answer, the one it named last, and say so."""
    from tasks.tracking.champions import last_champion
    from tasks.tracking.client import Tracker

    try:
        return Tracker(uri).champion(), ""
    except TrackingError:
        last = last_champion(uri)
        which = f"the champion it named last, {last.uri}," if last else "the weights that ship"
        return last, f"MLflow did not answer: {which} were taken for its champion"


def _may_start_pretrained(wishes: Wishes) -> bool:
    if wishes.method is None:
        return wishes.task == "denoise"
    return "weights" in find(wishes.method).needs


def cost_of(plan: RestorationPlan) -> str:
    """Return in one line what a plan will cost, from a prediction that is timed on this machine."""
    work = work_of(plan, timed=True)
    minutes = (work.seconds or 0.0) / 60
    return (
        f"{work.tiles} tiles in {work.units} units, {work.voxels / 1e6:.1f} megavoxels, "
        f"{work.read_per_written:.1f} voxels read for one written, {work.tile_bytes / 2**20:.0f} MB a tile, "
        f"about {max(minutes, 0.1):.1f} minutes of one worker here"
    )


def bytes_of_tile(plan: RestorationPlan) -> int:
    """Return about how much memory the largest tile takes on a worker."""
    return work_of(plan).tile_bytes


def write_plan(plan: RestorationPlan, path: str) -> None:
    """Save a plan as YAML."""
    Path(path).write_text(plan.to_yaml())
