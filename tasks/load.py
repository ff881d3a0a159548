"""Look at a volume, and make or take up the plan of its restoration."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from ilcore.degradations.estimate import preflight
from ilcore.grammar.errors import BadInput
from ilcore.methods.catalogue import find
from ilcore.methods.entry import configure
from ilcore.restoring.plan import RestorationPlan, read_plan
from ilcore.restoring.planning import Wishes, looks, plan_volume
from ilcore.restoring.stages import Standing, prepare
from ilcore.restoring.work import work_of
from ilcore.restoring.workspace import Workspace
from ilcore.volumes.destination import check_destination
from ilcore.volumes.open import open_volume
from ilcore.volumes.volume import Volume

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


def describe(source: str, *, axes: str | None, level: int, missing: float | None) -> dict[str, Any]:
    """Return what a volume is and what its noise looks like, as plain values."""
    volume = open_volume(source, axes=axes, level=level, missing=missing)
    samples = [volume.read(region)[0] for region in looks(volume, seed=0)]
    found = preflight(samples, volume.dtype, missing=volume.missing)
    channels = [_channel(name, report) for name, report in zip(_names(volume), found.channels, strict=True)]
    return {**_facts(volume), "noise": channels}


def check_early(source: str, target: str, wishes: Wishes) -> None:
    """Refuse what can be refused in a second, before servers and workers are started.

    Raises:
        ILError: As planning or publishing would, later.
    """
    open_volume(source, axes=wishes.axes, level=wishes.level, missing=wishes.missing)
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
        tracking_uri: MLflow's address, as `tasks.tracking.tracking_uri` understands it.
    """
    return plan_volume(source, target, _with_weights(target, wishes, tracking_uri))


def plan_of(target: str) -> RestorationPlan:
    """Return the plan of the run that was begun for a target.

    Raises:
        BadPlan: When there was none.
    """
    return Workspace.of(target).plan_of_run()


def _with_weights(target: str, wishes: Wishes, given: str | None) -> Wishes:
    from tasks.tracking import Tracker, is_there, tracking_uri

    uri = tracking_uri(target, given)
    if wishes.weights is not None and wishes.weights.startswith(MODELS):
        named = Tracker(uri).find_weights(wishes.weights)
    elif wishes.weights is None and _may_start_pretrained(wishes) and is_there(uri):
        champion = Tracker(uri).champion()
        if champion is None:
            return wishes
        named = champion
    else:
        return wishes
    return replace(wishes, weights=str(named.path), weights_uri=named.uri)


def _may_start_pretrained(wishes: Wishes) -> bool:
    if wishes.method is None:
        return wishes.task == "denoise"
    return "weights" in find(wishes.method).needs


def _facts(volume: Volume) -> dict[str, Any]:
    here = ["tczyx".index(axis) for axis in volume.axes]
    bytes_ = volume.dtype.itemsize
    for length in volume.shape:
        bytes_ *= length
    return {
        "volume": volume.uri,
        "format": volume.format,
        "axes": volume.axes,
        "shape": [volume.shape[place] for place in here],
        "dtype": volume.dtype.name,
        "size": f"{bytes_ / 2**20:.1f} MB",
        "voxel": [_voxel(volume, place) for place in here if "tczyx"[place] in "zyx"],
        "chunks": [volume.chunks[place] for place in here],
        "levels": volume.levels,
        "missing": volume.missing,
    }


def _voxel(volume: Volume, place: int) -> str:
    return f"{'tczyx'[place]} {volume.scale[place]:.6g} {volume.units[place] or 'pixel'}"


def _names(volume: Volume) -> list[str]:
    return [*volume.channels] or [str(number) for number in range(volume.shape[1])]


def _channel(name: str, report: Any) -> Mapping[str, Any]:
    return {
        "channel": name,
        "noise": report.verdict,
        "confidence": round(report.confidence, 2),
        "level": float(f"{report.level:.4g}"),
        "gain": float(f"{report.noise.gain:.4g}"),
        "read noise": float(f"{report.noise.read_std:.4g}"),
        "saturated": f"{report.saturated_share:.2%}",
        "empty": f"{report.empty_share:.2%}",
        "missing": f"{report.missing_share:.2%}",
        "notes": "; ".join(report.notes),
    }


def cost_of(plan: RestorationPlan) -> str:
    """Return in one line what a plan will cost, from a prediction that is timed on this machine."""
    work = work_of(plan, timed=True)
    minutes = (work.seconds or 0.0) / 60
    return (
        f"{work.tiles} tiles in {work.units} units, {work.voxels / 1e6:.1f} megavoxels, "
        f"{work.read_per_written:.1f} voxels read for one written, {work.tile_bytes / 2**20:.0f} MB a tile, "
        f"about {max(minutes, 0.1):.1f} minutes of one worker here"
    )


def write_plan(plan: RestorationPlan, path: str) -> None:
    """Save a plan as YAML."""
    Path(path).write_text(plan.to_yaml())
