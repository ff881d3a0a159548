"""The stages of a run as plain functions; whoever orchestrates calls them in this order.

    prepare ─> learn_volume_model ─> restore_unit for each open unit ─> assemble_block for each open block
            ─> finish (pyramid, seams, verdict, maps) ─> publish

Every stage may be called again after a crash and does only what is missing.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ilcore.grammar.commands import command
from ilcore.grammar.errors import BadInput, BadPlan, BadVolume
from ilcore.grammar.layers import LAYERS_BESIDE
from ilcore.grammar.region import Region
from ilcore.planning.plan import RestorationPlan
from ilcore.qa.measures import measures
from ilcore.qa.seams import Read, seam_score
from ilcore.qa.verdict import QAReport, judge
from ilcore.results.destination import attributes_of, check_destination, estimated_bytes
from ilcore.results.layers import write_layers
from ilcore.results.masks import MaskLevel
from ilcore.results.ome_zarr import Level, check_metadata, write_root
from ilcore.results.publish import finish_publishing, publish
from ilcore.results.pyramid import PyramidLevel, mask_levels, pyramid_levels
from ilcore.results.write import has_array
from ilcore.running.assembling import block_of
from ilcore.running.finer import OnResult
from ilcore.running.ledger import BlockReport
from ilcore.running.mending import take_up
from ilcore.running.metadata import keep_metadata
from ilcore.running.null_test import NullTest, null_test_before
from ilcore.running.parts import found_at, result_array
from ilcore.running.record import devices_told, has_record, read_findings, read_record, write_record
from ilcore.running.run import Run, open_source
from ilcore.running.scratch import digest_of
from ilcore.running.tile_record import STATUS
from ilcore.running.volume_model import check_start_weights, keep_start_weights
from ilcore.running.workspace import Workspace, write_text
from ilcore.stores.places import is_there, remove, store_of
from ilcore.stores.store import Place
from ilcore.tiling.grid import Unit
from ilcore.volumes.validity import data_in
from ilcore.volumes.volume import Volume


@dataclass(frozen=True)
class Readiness:
    """Where a run stands when it is taken up.

    Args:
        is_published: The result of this very plan is in its place; there is nothing to do.
        units: Units of work in all.
        open_units: Units still to be restored.
    """

    is_published: bool
    units: int = 0
    open_units: int = 0


def prepare(run: Run, *, overwrite: bool = False, is_planned_now: bool = False) -> Readiness:
    """Make the workspace of a run, or take up the one that is there. The caller holds the lock.

    Args:
        run: The run.
        overwrite: Whether another plan's run or result may be replaced.
        is_planned_now: The plan was made a moment ago, and its source digested for it: that is not done again.

    Raises:
        BadInput: When another plan's run or result is in the way and `overwrite` is not set. With it, a run of this
            very plan is taken up all the same, unless it is over.
        BadPlan: When its method gives other voxels now than when the plan was made.
        BadVolume: When the source is no longer the one of the plan.
        DestinationError: When the disk refuses.
    """
    # After a kill while publishing, staging may hold the previous result.
    if finish_publishing(run.workspace.staging, run.workspace.target):
        run.workspace.forget_staging()
    if not overwrite and _is_published(run):
        _tidy(run)
        return Readiness(is_published=True)
    there = _fingerprint_there(run.workspace)
    goes_on = _goes_on(run, there, overwrite=overwrite)
    # A wish to overwrite survives a crash: it is remembered beside the plan.
    may_replace = overwrite or (there == run.plan.fingerprint and run.workspace.overwrite.exists())
    if not is_planned_now:
        check_source(run.plan)
    needed = estimated_bytes(run.face, run.plan.layers_beside)
    check_destination(run.workspace.target, run.plan.source.uri, may_replace, 0 if goes_on else needed)
    if not goes_on:
        check_start_weights(run.plan)
    _check_method(run, goes_on=goes_on)
    if not goes_on:
        levels = (
            Level("0", run.face.shape),
            *(rung.level for rung in pyramid_levels(str(run.workspace.staging), run.face)),
        )
        check_metadata(run.face, levels, run.workspace.target.name, run.plan.result_format)
        # Nothing is changed before this line: what is refused leaves no trace.
        run.workspace.clear()
        run.workspace.begin(run.plan)
    if may_replace:
        write_text(run.workspace.overwrite, "")
    run.workspace.keep_plan(run.plan)
    keep_start_weights(run)
    if goes_on:
        take_up(run)
    count = _staged(run)
    run.scratch.create()
    ledger = run.ledger
    ledger.create(count)
    return Readiness(False, math.prod(run.grid.unit_shape), len(ledger.open_places()))


def _is_published(run: Run) -> bool:
    """Tell whether the result of this plan is in its place; the result itself says whose it is."""
    # A record may get lost; what was begun anew has neither record nor ledger yet.
    if run.workspace.staging.exists() or not (has_record(run.workspace) or run.workspace.ledger.exists()):
        return False
    return _fingerprint_there(run.workspace) == run.plan.fingerprint == made_by(run.workspace.target)


def _fingerprint_there(workspace: Workspace) -> str | None:
    """Return the fingerprint of the plan whose run lives here; None where there is none."""
    try:
        return workspace.plan_of_run().fingerprint
    except BadPlan:
        return "unreadable" if workspace.plan.exists() else None


def made_by(target: Place) -> str | None:
    """Return the fingerprint of the plan that a published result was made with; None for anything else."""
    about = attributes_of(target).get("ilcore")
    return str(about.get("fingerprint")) if isinstance(about, Mapping) else None


def _goes_on(run: Run, there: str | None, *, overwrite: bool) -> bool:
    """Tell whether what an earlier run of this plan did is of use to this one."""
    if there not in (None, run.plan.fingerprint) and not overwrite:
        raise BadInput(
            f"the run in {run.workspace.root} must be the one of this plan ({run.plan.fingerprint[:8]}), got another "
            f"({there[:8]}); go on with that one with `{command('il resume', run.workspace.target)}`, or pass "
            "--overwrite"
        )
    # Published and then deleted by somebody, or killed before the first tile: there is nothing to go on with.
    is_begun = is_there(run.workspace.ledger) and (is_there(run.workspace.scratch) or is_there(run.workspace.staging))
    return there == run.plan.fingerprint and is_begun and not (overwrite and _is_refused(run.workspace))


def _is_refused(workspace: Workspace) -> bool:
    return has_record(workspace) and read_findings(workspace).verdict == "fail"


def check_source(plan: RestorationPlan) -> Volume:
    """Open the source of a plan, and make sure that it is the one that was planned for.

    Raises:
        BadVolume: When it holds something else now.
    """
    volume = open_source(plan)
    if volume.digest() != plan.source.digest:
        raise BadVolume(
            f"the source must be the one that was planned for, got another content in {plan.source.uri}; plan again"
        )
    return volume


def _check_unchanged(plan: RestorationPlan) -> None:
    """Refuse to publish what was read while somebody wrote: its parts may be of different scans."""
    if open_source(plan).digest() != plan.source.digest:
        raise BadVolume(
            f"the source must stay as it is until its result is published, got another content in {plan.source.uri} "
            "than at the start; nothing was published; when nobody writes to it any more, run again with --overwrite"
        )


def is_outdated(run: Run, *, goes_on: bool = True) -> bool:
    """Tell whether a run has tiles to restore, and its method gives other voxels now than when it was planned.

    Args:
        run: The run.
        goes_on: Whether what lies in its folder is of use: when all its tiles are restored, nothing is left to differ.
    """
    if run.plan.method_version == run.plan.entry.version:
        return False
    if not goes_on or not (run.workspace.ledger / "zarr.json").exists():
        return True
    return bool(run.ledger.open_places())


def _check_method(run: Run, *, goes_on: bool) -> None:
    if is_outdated(run, goes_on=goes_on):
        plan = run.plan
        raise BadPlan(
            f"{plan.method} must restore all tiles of a plan alike: this one was made for version "
            f"{plan.method_version} of it, here is version {plan.entry.version}, which gives other voxels; "
            "plan again (`il restore` with --overwrite), or finish the run with the ilcore that began it"
        )


def _staged(run: Run) -> int:
    """Make the arrays of the result that are not there, and return how many write units all have together."""
    for part in run.parts:
        if not has_array(place := run.workspace.staging / part.path):
            result_array(run.plan, str(place), run.result_grid.shape5, part.layer)
    return len(run.parts) * run.result.count


def assemble_block(run: Run, number: int) -> BlockReport:
    """Blend, cast and write one write unit of the result; whoever called commits the report to the ledger.

    Values that are not data come out as they went in.

    Raises:
        CorruptData: When a tile is not what its worker wrote, or the written block is not what was sent.
    """
    run.workspace.check_plan(run.plan)
    part, unit = found_at(run.parts, number)
    target = part.target(run.workspace.staging)
    values, clipped = block_of(run, part, target.block(unit))
    target.write(target.block(unit), values)
    return BlockReport(number, clipped, digest_of(values))


def measure_seams(run: Run, unit: Unit) -> None:
    """Measure the seams of one unit on the assembled result and store them in the ledger."""
    result, grid = _known(run.result.read, run.face), run.result_grid
    source = OnResult.of(run).cubic if run.plan.is_finer else run.source.known
    tiles = [grid.tile(tile.index) for tile in unit.tiles]
    run.ledger.set_seams(unit, [seam_score(result, tile, grid, source) for tile in tiles])


def _known(read: Read, volume: Volume) -> Read:
    """Return a reader of a result that gives NaN where there is no data."""

    def known(region: Region) -> NDArray[Any]:
        values = read(region)
        return data_in(values, volume.valid(region, values))

    return known


def verdict_of(run: Run) -> QAReport:
    """Return the verdict on a run whose tiles are all done and assembled."""
    ledger = run.ledger
    values = int(np.prod(run.result_grid.shape5, dtype=np.int64))
    share = float(ledger.read("clipped_values").sum()) / values
    aim, table = run.plan.aim, ledger.table()
    found = measures(table, STATUS, clipped_share=share, confidence=run.plan.confidence, limits=aim.limits())
    for name in ("consistency", "invented_share") if run.plan.is_finer else ():
        if np.isfinite(table[name]).any():
            found[name.replace("_", " ")] = float(np.nanmedian(table[name]))
    means_nothing = [name for name in sorted(aim.unasked) if found.pop(name, None) is not None]
    null = null_test_before(run.workspace) or NullTest(why_not="nobody asked for it")
    if run.plan.task == "copy":
        # Nothing rests on the noise of a source that is kept as it is, and there is one thing to say of it: why.
        del found["noise confidence"]
        return replace(judge(found, run.plan.gate), notes=(run.plan.why,))
    notes = (*null.notes, *_unasked(run.plan, found), *((told,) if (told := devices_told(run.workspace)) else ()))
    if means_nothing:
        notes += (f"not asked of what {aim.name} makes, for it leaves next to no residual: {', '.join(means_nothing)}",)
    limits = {**null.limits, **aim.run_limits()}
    return replace(judge({**found, **null.numbers}, run.plan.gate, limits), notes=notes)


def _unasked(plan: RestorationPlan, found: dict[str, float]) -> Iterator[str]:
    """Take out what means nothing for this noise, and say so."""
    is_shared = any(channel.verdict not in ("white", "unknown") for channel in plan.channels)
    if is_shared and found.pop("faint contrast", None) is not None:
        yield "faint contrast: not asked, for noise that neighbours share makes faint points of its own"


def coarser_levels(run: Run, root: Place) -> tuple[PyramidLevel | MaskLevel, ...]:
    """Return the coarser levels of a result, its masks, and the levels of its layers.

    Each is to be written once the one before it is complete.
    """
    beside = (part for part in run.parts if part.layer is not None)
    layers = (rung for part in beside for rung in pyramid_levels(str(root), run.face, part.path, part.layer))
    return (*pyramid_levels(str(root), run.face), *mask_levels(str(root), run.face), *layers)


def complete(run: Run, report: QAReport) -> None:
    """Write the root metadata that makes staging, whose levels are all written, a readable image."""
    run.workspace.check_lock()
    staging = run.workspace.staging
    store_of(staging).remove_halves(staging)
    write_image_metadata(run, staging, report)


def write_image_metadata(run: Run, root: Place, report: QAReport) -> None:
    """Write the metadata of the image whose levels lie in a folder."""
    plan, volume = run.plan, run.face
    levels = (Level("0", volume.shape), *(rung.level for rung in pyramid_levels(str(root), volume)))
    about = {
        "ilcore": {
            "fingerprint": plan.fingerprint, "method": plan.method, "scope": plan.scope, "verdict": report.verdict,
            "source": plan.source.uri, "source_digest": plan.source.digest,
            **({"not_carried_over": plan.source.remarks} if plan.source.remarks else {}),
            **({LAYERS_BESIDE: {layer.name: layer.folder for layer in plan.layers_beside}} if plan.layers else {}),
        }
    }  # fmt: skip
    name = run.workspace.target.name.removesuffix(".zarr").removesuffix(".ome")
    write_layers(str(root), volume, plan.layers_beside, levels, name)
    write_root(str(root), volume=volume, levels=levels, name=name, attributes=about)


def publish_result(run: Run) -> Place:
    """Put the result in its place in one step, then note it and remove the scratch.

    The source is digested once more, always: times and sizes of files tell nothing of values that were overwritten
    where they lie, and a store of many objects has none. It costs one reading, or that of a sample of a large volume.

    Raises:
        BadVolume: When the source is no longer the one that was planned for; the previous result stays then.
        DestinationError: When the disk refuses; result and previous result are both whole then.
    """
    if (staging := run.workspace.staging).exists():
        _check_unchanged(run.plan)
        run.workspace.check_lock(is_sure=True)
        publish(staging, run.workspace.target, overwrite=run.workspace.overwrite.exists())
        run.workspace.forget_staging()
    _tidy(run)
    return run.workspace.target


def _tidy(run: Run) -> None:
    """Note that the result is published, keep its metadata, and remove what only the run needed."""
    if not has_record(run.workspace):
        remake_record(run)
    record = read_record(run.workspace)
    if not record["published"]:
        keep_metadata(run.workspace)
        write_text(run.workspace.record, json.dumps(record | {"published": True}, indent=2))
    run.scratch.remove()
    remove(run.workspace.overwrite)
    if run.workspace.lacks_plan:
        run.workspace.keep_plan(run.plan)


def remake_record(run: Run) -> None:
    """Write the record of a finished run again, from its ledger; what was measured besides the tiles is lost."""
    told = f"{run.workspace.record.name} was lost, and made again from the ledger; numbers of the run are not in it"
    is_there = made_by(run.workspace.target) == run.plan.fingerprint and not run.workspace.staging.exists()
    write_record(run, verdict_of(run), {"published": is_there, "remade": told})
