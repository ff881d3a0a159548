"""Make or take up the plan of a restoration."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from prefect import task
from prefect.cache_policies import NO_CACHE

from ilcore.grammar.devices import device_of, kind_of
from ilcore.grammar.errors import BadInput, TrackingError
from ilcore.methods.catalogue import find
from ilcore.methods.entry import configure
from ilcore.planning.cost import work_of
from ilcore.planning.make import opened, plan_volume
from ilcore.planning.options import RestoreOptions
from ilcore.planning.plan import RestorationPlan, read_plan
from ilcore.results.destination import check_destination
from ilcore.running.run import Run
from ilcore.running.stages import Readiness, prepare
from ilcore.running.workspace import Workspace
from ilcore.stores.places import check_answers
from tasks.executors.cluster import has_gpu

if TYPE_CHECKING:
    from tasks.tracking.champions import Registered

MODELS = "models:/"


@dataclass(frozen=True, kw_only=True)
class PlanSource:
    """Where a plan may come from besides a source: a plan file, a registry that holds weights, a kind of device."""

    plan: str | None = None
    tracking_uri: str | None = None
    device: str = "auto"


@task(name="load", cache_policy=NO_CACHE)
def load(source: str | None, target: str | None, options: RestoreOptions, asked: PlanSource) -> RestorationPlan:
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
    return make_plan(source, target, options, asked.tracking_uri, asked.device)


@task(name="prepare", cache_policy=NO_CACHE)
def make_ready(run: Run, *, overwrite: bool, is_planned_now: bool) -> Readiness:
    """Make the workspace of the run, or take up the one that is there, and tell what is left to do."""
    return prepare(run, overwrite=overwrite, is_planned_now=is_planned_now)


def check_early(source: str, target: str, options: RestoreOptions) -> None:
    """Refuse what can be refused in a second, before servers and workers are started.

    Raises:
        ILError: As planning or publishing would, later.
    """
    for place in (source, target):
        check_answers(place)
    opened(source, options)
    check_destination(target, source, overwrite=True)
    check_free(target)
    if options.method is not None:
        configure(find(options.method), options.overrides)


def check_free(target: str) -> None:
    """Refuse a destination that another run is working on.

    Raises:
        Busy: Naming the other's process.
    """
    workspace = Workspace.of(target)
    if workspace.root.exists():
        with workspace.locked():
            return


def make_plan(
    source: str, target: str, options: RestoreOptions, tracking_uri: str | None = None, device: str = "auto"
) -> RestorationPlan:
    """Return the plan for a volume, starting from the registry's champion where there is a registry.

    Args:
        source: The volume.
        target: Where the result shall be.
        options: What the user asked for; weights may be a file or models:/NAME@ALIAS.
        tracking_uri: MLflow's address, as `tasks.tracking.client.tracking_uri` understands it.
        device: auto, cpu or cuda: what tiles are put together for, where the options leave it open.
    """
    if "cut_for" not in options.model_fields_set and has_gpu(device):
        options = options.but(cut_for="gpu")
    with_weights, words = _with_weights(target, options, tracking_uri)
    plan = plan_volume(source, target, with_weights)
    return plan.model_copy(update={"why": "; ".join(filter(None, (plan.why, words)))}) if words else plan


def plan_of(target: str) -> RestorationPlan:
    """Return the plan of the run that was begun for a target.

    Raises:
        BadPlan: When there was none.
    """
    return Workspace.of(target).plan_of_run()


def _with_weights(target: str, options: RestoreOptions, given: str | None) -> tuple[RestoreOptions, str]:
    """Return the options with weights out of the registry, and what is to be said of them."""
    from tasks.tracking.client import Tracker, is_there, tracking_uri

    uri, words = tracking_uri(target, given), ""
    if options.weights is not None and options.weights.startswith(MODELS):
        named: Registered | None = Tracker(uri).find_weights(options.weights)
    elif options.weights is None and _may_start_pretrained(options) and is_there(uri):
        named, words = _champion(uri)
    else:
        return options, ""
    if named is None:
        return options, words
    return options.but(weights=str(named.path), weights_uri=named.uri), words


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


def _may_start_pretrained(options: RestoreOptions) -> bool:
    if options.method is None:
        return options.task == "denoise"
    return "weights" in find(options.method).needs


def check_device(device: str) -> None:
    """Refuse a device that is not here, before a plan is made for it.

    Raises:
        BadInput: There is no such device.
    """
    device_of(device)


def cost_of(plan: RestorationPlan, device: str = "auto") -> str:
    """Return in one line what a plan will cost, from a prediction that is timed on this machine.

    Args:
        plan: The plan.
        device: auto, cpu or cuda.

    Raises:
        BadInput: There is no such device here.
    """
    work = work_of(plan, timed=True, device=device)
    minutes = (work.seconds or 0.0) / 60
    long = f"{minutes / 60:.1f} hours" if minutes > 180 else f"{max(minutes, 0.1):.1f} minutes"
    # Fewer than these are a unit on a CPU, which takes one after the other.
    at_once = f" ({work.together} together on a GPU: {work.together * work.tile_bytes / 2**30:.1f} GB)"
    return (
        f"{work.tiles} tiles in {work.units} units, {work.voxels / 1e6:.1f} megavoxels, "
        f"{work.read_per_written:.1f} voxels read for one written, {work.tile_bytes / 2**20:.0f} MB a tile"
        f"{at_once if work.together > 4 else ''}, about {long} of one worker here, on {kind_of(device)}"
    )


def bytes_of_tile(plan: RestorationPlan) -> int:
    """Return about how much memory the largest tile takes on a worker."""
    return work_of(plan).tile_bytes


def write_plan(plan: RestorationPlan, path: str) -> None:
    """Save a plan as YAML."""
    Path(path).write_text(plan.to_yaml())
