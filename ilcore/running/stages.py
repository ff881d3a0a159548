"""The stages of a run as plain functions; whoever orchestrates calls them in this order.

    prepare ─> learn_volume_model ─> restore_unit for each open unit ─> assemble_block for each open block
            ─> finish (pyramid, seams, verdict, maps) ─> publish

Every stage may be called again after a crash and does only what is missing.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ilcore.grammar.commands import command
from ilcore.grammar.errors import BadInput, BadPlan, BadVolume, CorruptData
from ilcore.grammar.region import Region, intersect, size, slices
from ilcore.planning.plan import RestorationPlan
from ilcore.qa.seams import Read, seam_score
from ilcore.qa.verdict import QAReport, judge, measures
from ilcore.results.destination import attributes_of, check_destination, estimated_bytes
from ilcore.results.masks import MaskRung
from ilcore.results.ome_zarr import Level, check_metadata, write_root
from ilcore.results.publish import finish_publishing, publish
from ilcore.results.pyramid import Rung, mask_rungs, rungs
from ilcore.results.write import WriteTarget, has_array, open_target
from ilcore.running.ledger import STATUS, BlockReport, Ledger
from ilcore.running.mending import result_array, take_up
from ilcore.running.metadata import keep_metadata
from ilcore.running.null_test import NullTest, null_test_before
from ilcore.running.record import devices_told, has_record, read_findings, read_record, write_record
from ilcore.running.scratch import Scratch, digest_of
from ilcore.running.volume_model import check_start_weights, keep_start_weights, open_source
from ilcore.running.workspace import Workspace, write_text
from ilcore.stores.concurrent import abreast
from ilcore.stores.places import Place, is_there, remove
from ilcore.tiling.assemble import blend, cast, clipped_count
from ilcore.tiling.grid import Tile, Unit
from ilcore.volumes.validity import data_in
from ilcore.volumes.volume import Volume


@dataclass(frozen=True)
class Standing:
    """Where a run stands when it is taken up.

    Args:
        is_published: The result of this very plan is in its place; there is nothing to do.
        units: Units of work in all.
        open_units: Units still to be restored.
    """

    is_published: bool
    units: int = 0
    open_units: int = 0


def prepare(plan: RestorationPlan, workspace: Workspace, *, overwrite: bool = False) -> Standing:
    """Make the workspace of a run, or take up the one that is there. The caller holds the lock.

    Raises:
        BadInput: When another plan's run or result is in the way and `overwrite` is not set. With it, a run of this
            very plan is taken up all the same, unless it is over.
        BadPlan: When its method gives other voxels now than when the plan was made.
        BadVolume: When the source is no longer the one of the plan.
        DestinationError: When the disk refuses.
    """
    # After a kill while publishing, staging may hold the previous result.
    if finish_publishing(workspace.staging, workspace.target):
        workspace.forget_staging()
    if not overwrite and _is_published(plan, workspace):
        _tidy(plan, workspace)
        return Standing(is_published=True)
    there = _fingerprint_there(workspace)
    goes_on = _goes_on(plan, workspace, there, overwrite=overwrite)
    # A wish to overwrite survives a crash: it is remembered beside the plan.
    may_replace = overwrite or (there == plan.fingerprint and workspace.overwrite.exists())
    source = check_source(plan)
    needed = estimated_bytes(source)
    check_destination(workspace.target, plan.source.uri, may_replace, 0 if goes_on else needed)
    if not goes_on:
        check_start_weights(plan)
    _check_method(plan, workspace if goes_on else None)
    if not goes_on:
        levels = (Level("0", source.shape), *(rung.level for rung in rungs(str(workspace.staging), source)))
        check_metadata(source, levels, workspace.target.name, plan.result_format)
        # Nothing is changed before this line: what is refused leaves no trace.
        workspace.clear()
        workspace.begin(plan)
    if may_replace:
        write_text(workspace.overwrite, "")
    workspace.keep_plan(plan)
    keep_start_weights(plan, workspace)
    if goes_on:
        take_up(plan, workspace)
    target = _staged(plan, workspace)
    Scratch.of(workspace.scratch, plan).create()
    ledger = Ledger(workspace.ledger, plan.tile_grid)
    ledger.create(target.count)
    return Standing(False, math.prod(plan.tile_grid.unit_shape), len(ledger.open_places()))


def _is_published(plan: RestorationPlan, workspace: Workspace) -> bool:
    """Tell whether the result of this plan is in its place; the result itself says whose it is."""
    # A record may get lost; what was begun anew has neither record nor ledger yet.
    if workspace.staging.exists() or not (has_record(workspace) or workspace.ledger.exists()):
        return False
    return _fingerprint_there(workspace) == plan.fingerprint == made_by(workspace.target)


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


def _goes_on(plan: RestorationPlan, workspace: Workspace, there: str | None, *, overwrite: bool) -> bool:
    """Tell whether what an earlier run of this plan did is of use to this one."""
    if there not in (None, plan.fingerprint) and not overwrite:
        raise BadInput(
            f"the run in {workspace.root} must be the one of this plan ({plan.fingerprint[:8]}), got another "
            f"({there[:8]}); go on with that one with `{command('il resume', workspace.target)}`, or pass --overwrite"
        )
    # Published and then deleted by somebody, or killed before the first tile: there is nothing to go on with.
    is_begun = is_there(workspace.ledger) and (is_there(workspace.scratch) or is_there(workspace.staging))
    return there == plan.fingerprint and is_begun and not (overwrite and _is_refused(workspace))


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


def is_outdated(plan: RestorationPlan, workspace: Workspace | None) -> bool:
    """Tell whether a plan has tiles to restore, and its method gives other voxels now than when it was made.

    Args:
        plan: The plan.
        workspace: Of its run, where one goes on: when all its tiles are restored, nothing is left to differ.
    """
    if plan.method_version == plan.entry.version:
        return False
    if workspace is None or not (workspace.ledger / "zarr.json").exists():
        return True
    return bool(Ledger(workspace.ledger, plan.tile_grid).open_places())


def _check_method(plan: RestorationPlan, workspace: Workspace | None) -> None:
    if is_outdated(plan, workspace):
        raise BadPlan(
            f"{plan.method} must restore all tiles of a plan alike: this one was made for version "
            f"{plan.method_version} of it, here is version {plan.entry.version}, which gives other voxels; "
            "plan again (`il restore` with --overwrite), or finish the run with the ilcore that began it"
        )


def _staged(plan: RestorationPlan, workspace: Workspace) -> WriteTarget:
    place = workspace.staging / "0"
    if has_array(place):
        return open_target(str(place))
    return result_array(plan, str(place), plan.source.shape)


def result_levels(workspace: Workspace) -> Place:
    """Return the folder that holds the levels of a published result."""
    return workspace.published


def assemble_block(plan: RestorationPlan, workspace: Workspace, number: int) -> BlockReport:
    """Blend, cast and write one write unit of the result; whoever called commits the report to the ledger.

    Values that are not data come out as they went in.

    Raises:
        CorruptData: When a tile is not what its worker wrote, or the written block is not what was sent.
    """
    workspace.check_plan(plan)
    target = open_target(str(workspace.staging / "0"))
    values, clipped = block_of(plan, workspace, target.block(number))
    target.write(target.block(number), values)
    return BlockReport(number, clipped, digest_of(values))


def block_of(plan: RestorationPlan, workspace: Workspace, region: Region) -> tuple[NDArray[Any], int]:
    """Return a region of the result from the tiles in scratch, and how many values were clipped.

    Raises:
        CorruptData: When a tile is not what its worker wrote.
    """
    volume = open_source(plan)
    source = volume.read(region)
    blended, kept = _blended(plan, workspace, region)
    if plan.task != "inpaint":
        kept |= ~volume.valid(region, source)
    wanted = np.where(kept, 0, blended)
    values, clipped = cast(wanted, np.dtype(plan.source.dtype))
    if clipped:
        clipped = clipped_count(wanted, source, plan.source.dtype)
    # What is data stays data: no new value may be one that means "no data".
    return np.where(kept, source, volume.validity.kept_valid(values, wanted)), clipped


def _blended(
    plan: RestorationPlan, workspace: Workspace, region: Region
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the blended region, and where the source is to be kept: no tile restored it, or one says so."""
    grid, scratch = plan.tile_grid, Scratch.of(workspace.scratch, plan)
    ledger = Ledger(workspace.ledger, grid)
    restored, keeps_source = np.zeros(size(region), bool), np.zeros(size(region), bool)

    def pieces() -> Iterator[tuple[Tile, NDArray[Any]]]:
        tiles = grid.touching(region)
        standing = ledger.standing_of(tiles)
        digests = [digest for digest, _ in standing]
        read = abreast(lambda of: _piece(scratch, ledger, *of), zip(tiles, digests, strict=True), scratch.path)
        for tile, (_, is_raw), piece in zip(tiles, standing, read, strict=True):
            shared = intersect(region, tile.keep)
            here = slices(shared, [start for start, _ in region])
            absent = np.isnan(piece)
            keeps_source[here] |= absent[slices(shared, [start for start, _ in tile.keep])]
            restored[here] |= not is_raw
            yield tile, np.where(absent, 0, piece)

    return blend(region, pieces(), grid), keeps_source | ~restored


def _piece(scratch: Scratch, ledger: Ledger, tile: Tile, digest: int) -> NDArray[Any]:
    try:
        return scratch.piece(tile, digest)
    except CorruptData:
        # Not done after all: whoever goes on with the run restores it again.
        ledger.reopen(ledger.grid.unit_of([at // u for at, u in zip(tile.index, (1, *ledger.grid.unit), strict=True)]))
        raise


def measure_seams(plan: RestorationPlan, workspace: Workspace, unit: Unit) -> None:
    """Measure the seams of one unit on the assembled result and store them in the ledger."""
    volume = open_source(plan)
    result = _known(open_target(str(workspace.staging / "0")).read, volume)
    source = volume.known
    ledger = Ledger(workspace.ledger, plan.tile_grid)
    ledger.set_seams(unit, [seam_score(result, tile, plan.tile_grid, source) for tile in unit.tiles])


def _known(read: Read, volume: Volume) -> Read:
    """Return a reader of a result that gives NaN where there is no data."""

    def known(region: Region) -> NDArray[Any]:
        values = read(region)
        return data_in(values, volume.valid(region, values))

    return known


def verdict_of(plan: RestorationPlan, workspace: Workspace) -> QAReport:
    """Return the verdict on a run whose tiles are all done and assembled."""
    ledger = Ledger(workspace.ledger, plan.tile_grid)
    values = int(np.prod(plan.source.shape, dtype=np.int64))
    share = float(ledger.read("clipped_values").sum()) / values
    found = measures(ledger.table(), STATUS, clipped_share=share, confidence=plan.confidence)
    null = null_test_before(workspace) or NullTest(why_not="nobody asked for it")
    if plan.task == "copy":
        # Nothing rests on the noise of a source that is kept as it is, and there is one thing to say of it: why.
        del found["noise confidence"]
        return replace(judge(found, plan.gate), notes=(plan.why,))
    notes = (*null.notes, *_unasked(plan, found), *((told,) if (told := devices_told(workspace)) else ()))
    return replace(judge({**found, **null.numbers}, plan.gate, null.limits), notes=notes)


def _unasked(plan: RestorationPlan, found: dict[str, float]) -> Iterator[str]:
    """Take out what means nothing for this noise, and say so."""
    is_shared = any(channel.verdict not in ("white", "unknown") for channel in plan.channels)
    if is_shared and found.pop("faint contrast", None) is not None:
        yield "faint contrast: not asked, for noise that neighbours share makes faint points of its own"


def coarser_levels(plan: RestorationPlan, root: Place) -> tuple[Rung | MaskRung, ...]:
    """Return the coarser levels of a result, then its masks, each to be written once the one before it is complete."""
    volume = open_source(plan)
    return (*rungs(str(root), volume), *mask_rungs(str(root), volume))


def complete(plan: RestorationPlan, workspace: Workspace, report: QAReport) -> None:
    """Write the root metadata that makes staging, whose levels are all written, a readable image."""
    workspace.check_lock()
    if isinstance(staging := workspace.staging, Path):
        for orphan in staging.rglob("*.partial"):
            # What a killed writer had not given its name yet.
            orphan.unlink()
    write_image_metadata(plan, workspace, staging, report)


def write_image_metadata(plan: RestorationPlan, workspace: Workspace, root: Place, report: QAReport) -> None:
    """Write the metadata of the image whose levels lie in a folder."""
    volume = open_source(plan)
    levels = (Level("0", volume.shape), *(rung.level for rung in rungs(str(root), volume)))
    about = {
        "ilcore": {
            "fingerprint": plan.fingerprint, "method": plan.method, "scope": plan.scope, "verdict": report.verdict,
            "source": plan.source.uri, "source_digest": plan.source.digest,
            **({"not_carried_over": plan.source.remarks} if plan.source.remarks else {}),
        }
    }  # fmt: skip
    name = workspace.target.name.removesuffix(".zarr").removesuffix(".ome")
    write_root(str(root), volume=volume, levels=levels, name=name, attributes=about)


def publish_result(plan: RestorationPlan, workspace: Workspace) -> Place:
    """Put the result in its place in one step, then note it and remove the scratch.

    The source is digested once more, always: times and sizes of files tell nothing of values that were overwritten
    where they lie, and a store of many objects has none. It costs one reading, or that of a sample of a large volume.

    Raises:
        BadVolume: When the source is no longer the one that was planned for; the previous result stays then.
        DestinationError: When the disk refuses; result and previous result are both whole then.
    """
    if (staging := workspace.staging).exists():
        _check_unchanged(plan)
        workspace.check_lock(is_sure=True)
        publish(staging, workspace.target, overwrite=workspace.overwrite.exists())
        workspace.forget_staging()
    _tidy(plan, workspace)
    return workspace.target


def _tidy(plan: RestorationPlan, workspace: Workspace) -> None:
    """Note that the result is published, keep its metadata, and remove what only the run needed."""
    if not has_record(workspace):
        remake_record(plan, workspace)
    record = read_record(workspace)
    if not record["published"]:
        keep_metadata(workspace)
        write_text(workspace.record, json.dumps(record | {"published": True}, indent=2))
    Scratch.of(workspace.scratch, plan).remove()
    remove(workspace.overwrite)
    if workspace.lacks_plan:
        workspace.keep_plan(plan)


def remake_record(plan: RestorationPlan, workspace: Workspace) -> None:
    """Write the record of a finished run again, from its ledger; what was measured besides the tiles is lost."""
    told = f"{workspace.record.name} was lost, and made again from the ledger; numbers of the run are not in it"
    is_there = made_by(workspace.target) == plan.fingerprint and not workspace.staging.exists()
    write_record(plan, workspace, verdict_of(plan, workspace), {"published": is_there, "remade": told})
