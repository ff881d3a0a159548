"""Make damaged pieces again, and nothing else.

A published result is written to only with voxels whose digest is the one that the ledger noted when they were made
first: what cannot be made again to the same bits is left as it is, and said.
"""

import json
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from ilcore.grammar.errors import CorruptData
from ilcore.grammar.region import words
from ilcore.keeping.verify import Spread, is_over, verify
from ilcore.planning.plan import RestorationPlan
from ilcore.results.masks import MaskRung
from ilcore.results.write import open_target
from ilcore.running.damage import (
    BLOCKS,
    CURVES,
    LEDGER,
    PLAN,
    RECORD,
    ROOT,
    SCRATCH,
    SEAMS,
    TILES,
    UNITS,
    Damage,
    numbers_in,
    read_damage,
    write_damage,
)  # fmt: skip
from ilcore.running.ledger import BlockReport, Ledger
from ilcore.running.mending import mend_arrays, result_array, units_touching
from ilcore.running.metadata import put_back_metadata
from ilcore.running.record import read_findings, read_record
from ilcore.running.scratch import Scratch, digest_of
from ilcore.running.stages import (
    block_of,
    check_source,
    coarser_levels,
    remake_record,
    result_levels,
    write_image_metadata,
)  # fmt: skip
from ilcore.running.tile import restore_unit
from ilcore.running.workspace import Workspace, write_text
from ilcore.stores.places import remove
from ilcore.tiling.grid import Index

#: Files that say what image a folder holds, in Zarr v3 and v2.
ROOT_METADATA = ("zarr.json", ".zattrs", ".zgroup")

Restore: TypeAlias = Callable[[Index], Any]


def repair(plan: RestorationPlan, workspace: Workspace, spread: Spread = map, restore: Restore | None = None) -> int:
    """Redo what the note of `il verify` names, and return how many pieces that was.

    Args:
        plan: The plan of the run.
        workspace: Its folder; the caller holds the lock.
        spread: How work is spread.
        restore: What restores one unit of work; by default here, on the CPU.

    Raises:
        BadVolume: When the source is no longer the one of the plan.
        CorruptData: When a piece cannot be made again to the same bits; it is left as it is then.
    """
    damages = read_damage(workspace)
    if not damages:
        return 0
    left = _put_back(plan, workspace, damages, spread)
    if is_over(workspace):
        _repair_result(plan, workspace, left, spread, restore or partial(restore_unit, plan, workspace))
        _note(workspace, damages)
    else:
        _reopen(plan, workspace, left)
    write_damage(workspace, ())
    return len(damages)


def _put_back(
    plan: RestorationPlan, workspace: Workspace, damages: Sequence[Damage], spread: Spread
) -> tuple[Damage, ...]:
    """Put back what is known without any voxel, and return what is left to be made again then."""
    places = {each.place for each in damages}
    if PLAN in places:
        workspace.keep_plan(plan)
    if places & {LEDGER, SCRATCH} or not is_over(workspace):
        mend_arrays(plan, workspace)
    ledger = Ledger(workspace.ledger, plan.tile_grid)
    for name, place in (("curve", CURVES), ("seam", SEAMS)):
        for number in numbers_in(damages, place):
            ledger.empty(name, number)
    if RECORD in places and is_over(workspace):
        remake_record(plan, workspace)
    elif RECORD in places:
        # Whoever ends the run writes it.
        remove(workspace.record)
    count = put_back_metadata(workspace) if is_over(workspace) else 0
    is_other = count or places & {PLAN, LEDGER, SCRATCH, RECORD, CURVES, SEAMS}
    return verify(plan, workspace, spread) if is_other else tuple(damages)


def _reopen(plan: RestorationPlan, workspace: Workspace, damages: Sequence[Damage]) -> None:
    """Of a run that goes on anyway, the damaged pieces are simply not done yet."""
    ledger, grid = Ledger(workspace.ledger, plan.tile_grid), plan.tile_grid
    places = [np.unravel_index(number, grid.grid_shape) for number in numbers_in(damages, TILES)]
    for index in {tuple(int(n) // u for n, u in zip(at, (1, *grid.unit), strict=True)) for at in places}:
        ledger.reopen(grid.unit_of(index))
    ledger.reopen_blocks(numbers_in(damages, "0"))
    for name, place in (("tiles", UNITS), ("blocks", BLOCKS)):
        for number in numbers_in(damages, place):
            ledger.empty(name, number)


def _repair_result(
    plan: RestorationPlan, workspace: Workspace, damages: Sequence[Damage], spread: Spread, restore: Restore
) -> None:
    check_source(plan)
    without = [each.place for each in damages if each.number is None]
    _remake_arrays(plan, workspace, [place for place in without if place != ROOT])
    _remake_records(plan, workspace, damages, spread, restore)
    redone = numbers_in(damages, "0")
    if redone:
        _restore_again(plan, workspace, redone, spread, restore)
        _all(spread(partial(_write_again, plan, workspace), redone))
    for rung in coarser_levels(plan, result_levels(workspace)):
        above = {*numbers_in(damages, rung.level.path), *rung.above(redone)}
        redone = list(range(rung.target.count)) if rung.level.path in without else sorted(above)
        _all(spread(rung.write, redone))
    if without:
        _rewrite_metadata(plan, workspace, is_root=ROOT in without)
    _check(plan, workspace, spread)
    Scratch.of(workspace.scratch, plan).remove()


def _remake_records(
    plan: RestorationPlan, workspace: Workspace, damages: Sequence[Damage], spread: Spread, restore: Restore
) -> None:
    """Restore the units whose records are lost, and note the write units that come out of it as they lie there.

    Raises:
        CorruptData: When they come out different: then nobody can tell which of both is what was written.
    """
    ledger, grid = Ledger(workspace.ledger, plan.tile_grid), plan.tile_grid
    units = {grid_place(ledger, number) for number in numbers_in(damages, UNITS)}
    for number in numbers_in(damages, BLOCKS):
        ledger.empty("blocks", number)
    blocks = ledger.open_blocks()
    target = open_target(f"{result_levels(workspace)}/0")
    units |= set(units_touching(plan, [target.block(number) for number in blocks]))
    if not units:
        return
    scratch = Scratch.of(workspace.scratch, plan)
    scratch.remove()
    scratch.create()
    for index in units:
        ledger.reopen(grid.unit_of(index))
    _all(spread(restore, sorted(units)))
    with ledger.book() as book:
        for report in spread(partial(_as_it_lies, plan, workspace), blocks):
            book.add(report)


def grid_place(ledger: Ledger, number: int) -> Index:
    """Return the place of the unit of work that a chunk of the ledger tells of."""
    t, z, y, x, *_ = (int(at) for at in np.unravel_index(number, ledger.chunk_counts("tiles")))
    return t, z, y, x


def _as_it_lies(plan: RestorationPlan, workspace: Workspace, number: int) -> BlockReport:
    target = open_target(f"{result_levels(workspace)}/0")
    region = target.block(number)
    values, clipped = block_of(plan, workspace, region)
    if digest_of(target.read(region)) != digest_of(values):
        raise CorruptData(
            f"the voxels at {words(region)} of {workspace.target}, whose record is lost, were wanted as they are made "
            "now, got others: both are damaged, or another machine made them; restore anew with --overwrite"
        )
    return BlockReport(number, clipped, digest_of(values))


def _rewrite_metadata(plan: RestorationPlan, workspace: Workspace, *, is_root: bool) -> None:
    root = result_levels(workspace)
    for name in ROOT_METADATA if is_root else ():
        remove(root / name)
    write_image_metadata(plan, workspace, root, read_findings(workspace))
    workspace.show_published()


def _check(plan: RestorationPlan, workspace: Workspace, spread: Spread) -> None:
    left = verify(plan, workspace, spread)
    if left:
        write_damage(workspace, left)
        raise CorruptData(
            f"a sound result was wanted after the repair, got {left[0].why} in {left[0].place}; "
            "look at the disk, then `il resume` again"
        )


def _all(work: Iterable[Any]) -> None:
    for _ in work:
        pass


def _restore_again(
    plan: RestorationPlan, workspace: Workspace, blocks: Sequence[int], spread: Spread, restore: Restore
) -> None:
    """Restore the tiles that meet some write units, in a fresh scratch."""
    target = open_target(f"{result_levels(workspace)}/0")
    units = units_touching(plan, [target.block(number) for number in blocks])
    ledger = Ledger(workspace.ledger, plan.tile_grid)
    scratch = Scratch.of(workspace.scratch, plan)
    scratch.remove()
    scratch.create()
    for index in units:
        ledger.reopen(plan.tile_grid.unit_of(index))
    _all(spread(restore, units))


def _write_again(plan: RestorationPlan, workspace: Workspace, number: int) -> None:
    target = open_target(f"{result_levels(workspace)}/0")
    region = target.block(number)
    values, _ = block_of(plan, workspace, region)
    if digest_of(values) != Ledger(workspace.ledger, plan.tile_grid).read("block_digest")[number]:
        raise CorruptData(
            f"the voxels at {words(region)} of {workspace.target} were wanted as they were made first, got others: "
            "another machine or other versions, see record.json; restore anew with --overwrite"
        )
    target.write(region, values)


def _remake_arrays(plan: RestorationPlan, workspace: Workspace, levels: Sequence[str]) -> None:
    """Put the metadata of arrays back, which follow from the plan; their chunks are not touched."""
    root = result_levels(workspace)
    held = {rung.level.path: rung for rung in coarser_levels(plan, root)}
    with tempfile.TemporaryDirectory(prefix="il-") as folder:
        for path in levels:
            rung = held.get(path)
            if isinstance(rung, MaskRung):
                replace(rung, root=folder).create()
            else:
                result_array(plan, f"{folder}/{path}", rung.level.shape if rung else plan.source.shape)
            for file in Path(folder, path).iterdir():
                write_text(root / path / file.name, file.read_text())


def _note(workspace: Workspace, damages: Sequence[Damage]) -> None:
    """Add to the record of the run that it was repaired, when and where."""
    record = read_record(workspace)
    told = {"when": datetime.now(UTC).isoformat(timespec="seconds"), "what": [each.__dict__ for each in damages]}
    write_text(workspace.record, json.dumps({**record, "repairs": [*record.get("repairs", []), told]}, indent=2))
