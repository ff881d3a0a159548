"""Make damaged pieces again, and nothing else.

A published result is written to only with voxels whose digest is the one that the ledger noted when they were made
first: what cannot be made again to the same bits is left as it is, and said.
"""

import json
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ilcore.grammar.errors import CorruptData
from ilcore.grammar.region import words
from ilcore.keeping.verify import is_over, verify
from ilcore.results.layers import groups_of
from ilcore.results.masks import MaskLevel
from ilcore.results.write import open_target
from ilcore.running.assembling import block_of
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
from ilcore.running.executor import Executor, Local
from ilcore.running.ledger import BlockReport, Ledger
from ilcore.running.mending import mend_arrays, units_touching
from ilcore.running.metadata import put_back_metadata
from ilcore.running.parts import found_at, result_array, units_in
from ilcore.running.record import read_findings, read_record
from ilcore.running.run import Run
from ilcore.running.scratch import digest_of
from ilcore.running.stages import (
    check_source,
    coarser_levels,
    remake_record,
    write_image_metadata,
)  # fmt: skip
from ilcore.running.tile import restore_unit
from ilcore.running.workspace import Workspace, write_text
from ilcore.stores.places import read_text, remove
from ilcore.tiling.grid import Index

#: Files that say what image a folder holds, in Zarr v3 and v2.
ROOT_METADATA = ("zarr.json", ".zattrs", ".zgroup")


def repair(run: Run, executor: Executor | None = None) -> int:
    """Redo what the note of `il verify` names, and return how many pieces that was.

    Args:
        run: The run; the caller holds its lock.
        executor: What does the work, instead of this process.

    Raises:
        BadVolume: When the source is no longer the one of the plan.
        CorruptData: When a piece cannot be made again to the same bits; it is left as it is then.
    """
    damages = read_damage(run.workspace)
    if not damages:
        return 0
    by = executor or Local()
    left = _put_back(run, damages, by)
    if is_over(run.workspace):
        _repair_result(run.anew(), left, by)
        _note(run.workspace, damages)
    else:
        _reopen(run.anew(), left)
    write_damage(run.workspace, ())
    return len(damages)


def _put_back(run: Run, damages: Sequence[Damage], by: Executor) -> tuple[Damage, ...]:
    """Put back what is known without any voxel, and return what is left to be made again then."""
    places = {each.place for each in damages}
    if PLAN in places:
        run.workspace.keep_plan(run.plan)
    if places & {LEDGER, SCRATCH} or not is_over(run.workspace):
        mend_arrays(run)
    ledger = run.anew().ledger
    for name, place in (("curve", CURVES), ("seam", SEAMS)):
        for number in numbers_in(damages, place):
            ledger.empty(name, number)
    if RECORD in places and is_over(run.workspace):
        remake_record(run)
    elif RECORD in places:
        # Whoever ends the run writes it.
        remove(run.workspace.record)
    count = put_back_metadata(run.workspace) if is_over(run.workspace) else 0
    # Of what has no metadata nobody looked at the voxels.
    is_other = count or places & {CURVES, SEAMS} or any(each.number is None for each in damages)
    return verify(run, by) if is_other else tuple(damages)


def _reopen(run: Run, damages: Sequence[Damage]) -> None:
    """Of a run that goes on anyway, the damaged pieces are simply not done yet."""
    ledger, grid = run.ledger, run.grid
    places = [np.unravel_index(number, grid.grid_shape) for number in numbers_in(damages, TILES)]
    for index in {tuple(int(n) // u for n, u in zip(at, (1, *grid.unit), strict=True)) for at in places}:
        ledger.reopen(grid.unit_of(index))
    for part in run.parts:
        ledger.reopen_blocks(part.numbers(numbers_in(damages, part.path)))
    for name, place in (("tiles", UNITS), ("blocks", BLOCKS)):
        for number in numbers_in(damages, place):
            ledger.empty(name, number)


def _repair_result(run: Run, damages: Sequence[Damage], by: Executor) -> None:
    check_source(run.plan)
    without = [each.place for each in damages if each.number is None]
    _remake_arrays(run, [place for place in without if place != ROOT])
    _remake_records(run, damages, by)
    redone = {part.path: numbers_in(damages, part.path) for part in run.parts}
    numbers = [number for part in run.parts for number in part.numbers(redone[part.path])]
    if numbers:
        _restore_again(run, units_in(run.parts, numbers), by)
        _all(by.move(partial(_write_again, run), numbers))
    for rung in coarser_levels(run, run.workspace.published):
        above = {*numbers_in(damages, rung.level.path), *rung.above(redone.get(rung.below, ()))}
        again = list(range(rung.target.count)) if rung.level.path in without else sorted(above)
        redone[rung.level.path] = again
        _all(by.move(rung.write, again))
    if without:
        _rewrite_metadata(run, is_root=ROOT in without)
    _check(run, by)
    run.scratch.remove()


def _remake_records(run: Run, damages: Sequence[Damage], by: Executor) -> None:
    """Restore the units whose records are lost, and note the write units that come out of it as they lie there.

    Raises:
        CorruptData: When they come out different: then nobody can tell which of both is what was written.
    """
    ledger, grid = run.ledger, run.grid
    units = {grid_place(ledger, number) for number in numbers_in(damages, UNITS)}
    for number in numbers_in(damages, BLOCKS):
        ledger.empty("blocks", number)
    blocks = ledger.open_blocks()
    target = open_target(f"{run.workspace.published}/0")
    regions = [target.block(unit) for unit in units_in(run.parts, blocks)]
    units |= set(units_touching(run.result_grid, regions))
    if not units:
        return
    scratch = run.scratch
    scratch.remove()
    scratch.create()
    for index in units:
        ledger.reopen(grid.unit_of(index))
    _all(by.compute(partial(restore_unit, run), sorted(units)))
    with ledger.book() as book:
        for report in by.move(partial(_as_it_lies, run), blocks):
            book.add(report)


def grid_place(ledger: Ledger, number: int) -> Index:
    """Return the place of the unit of work that a chunk of the ledger tells of."""
    t, z, y, x, *_ = (int(at) for at in np.unravel_index(number, ledger.chunk_counts("tiles")))
    return t, z, y, x


def _as_it_lies(run: Run, number: int) -> BlockReport:
    part, unit = found_at(run.parts, number)
    target = part.target(run.workspace.published)
    region = target.block(unit)
    values, clipped = block_of(run, part, region)
    if digest_of(target.read(region)) != digest_of(values):
        raise CorruptData(
            f"the voxels at {words(region)} of {run.workspace.target}, whose record is lost, were wanted as they are "
            "made now, got others: both are damaged, or another machine made them; restore anew with --overwrite"
        )
    return BlockReport(number, clipped, digest_of(values))


def _rewrite_metadata(run: Run, *, is_root: bool) -> None:
    root = run.workspace.published
    groups = [root, *(root / group for group in groups_of(run.plan.layers_beside))]
    for place in (group / name for group in groups for name in ROOT_METADATA) if is_root else ():
        remove(place)
    write_image_metadata(run, root, read_findings(run.workspace))
    run.workspace.show_published()


def _check(run: Run, by: Executor) -> None:
    left = verify(run, by)
    if left:
        write_damage(run.workspace, left)
        raise CorruptData(
            f"a sound result was wanted after the repair, got {left[0].why} in {left[0].place}; "
            "look at the disk, then `il resume` again"
        )


def _all(work: Iterable[Any]) -> None:
    for _ in work:
        pass


def _restore_again(run: Run, blocks: Sequence[int], by: Executor) -> None:
    """Restore the tiles that meet some write units, in a fresh scratch."""
    target = open_target(f"{run.workspace.published}/0")
    units = units_touching(run.result_grid, [target.block(number) for number in blocks])
    ledger = run.ledger
    scratch = run.scratch
    scratch.remove()
    scratch.create()
    for index in units:
        ledger.reopen(run.grid.unit_of(index))
    _all(by.compute(partial(restore_unit, run), units))


def _write_again(run: Run, number: int) -> None:
    part, unit = found_at(run.parts, number)
    target = part.target(run.workspace.published)
    region = target.block(unit)
    values, _ = block_of(run, part, region)
    if digest_of(values) != run.ledger.read("block_digest")[number]:
        raise CorruptData(
            f"the voxels at {words(region)} of {run.workspace.target} were wanted as they were made first, got others: "
            "another machine or other versions, see record.json; restore anew with --overwrite"
        )
    target.write(region, values)


def _remake_arrays(run: Run, levels: Sequence[str]) -> None:
    """Put the metadata of arrays back, which follow from the plan; their chunks are not touched."""
    root = run.workspace.published
    held = {rung.level.path: rung for rung in coarser_levels(run, root)}
    finest = {part.path: part.layer for part in run.parts}
    with tempfile.TemporaryDirectory(prefix="il-") as folder:
        for path in levels:
            rung = held.get(path)
            if isinstance(rung, MaskLevel):
                replace(rung, root=folder).create()
            else:
                layer = rung.layer if rung else finest[path]
                result_array(run.plan, f"{folder}/{path}", rung.level.shape if rung else run.result_grid.shape5, layer)
            for file in Path(folder, path).iterdir():
                write_text(root / path / file.name, read_text(file))


def _note(workspace: Workspace, damages: Sequence[Damage]) -> None:
    """Add to the record of the run that it was repaired, when and where."""
    record = read_record(workspace)
    told = {"when": datetime.now(UTC).isoformat(timespec="seconds"), "what": [each.__dict__ for each in damages]}
    write_text(workspace.record, json.dumps({**record, "repairs": [*record.get("repairs", []), told]}, indent=2))
