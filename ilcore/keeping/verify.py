"""Read everything back and compare it with what was written.

always      plan, record and ledger of the run
published   all metadata, word for word ─> every write unit of level 0, of the image and of its layers, against its
                          digest in the ledger ─> every write unit of a coarser level against the level below
under way   every restored tile in scratch, and every assembled write unit, against its digest
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ilcore.formats.open import open_volume
from ilcore.grammar.errors import BadInput, BadVolume, CorruptData, DestinationError, ILError
from ilcore.grammar.region import words
from ilcore.planning.plan import RestorationPlan
from ilcore.results.destination import attributes_of
from ilcore.results.layers import groups_of
from ilcore.results.masks import MaskLevel
from ilcore.results.pyramid import PyramidLevel
from ilcore.results.write import WriteTarget, open_target
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
)  # fmt: skip
from ilcore.running.executor import Executor, Local
from ilcore.running.mending import array_damage, level_damage
from ilcore.running.metadata import changed_metadata, kept_metadata
from ilcore.running.parts import Part
from ilcore.running.record import has_record, read_record
from ilcore.running.run import Run
from ilcore.running.scratch import digest_of
from ilcore.running.stages import coarser_levels, made_by
from ilcore.running.workspace import Workspace
from ilcore.stores.places import trouble

#: Write units or tiles that are checked in one go.
BATCH = 16


@dataclass(frozen=True)
class Batch:
    """Neighbouring write units of one place, or tiles."""

    place: str
    numbers: tuple[int, ...]


def verify(run: Run, executor: Executor | None = None) -> tuple[Damage, ...]:
    """Compare what is stored of a run or of its result with what was written; nothing is changed.

    Args:
        run: The run; the caller holds its lock.
        executor: What does the reading, instead of this process.

    Raises:
        CorruptData: When nobody can tell how the ledger, which says what must be there, is to be read.
        DestinationError: When the result is gone, or something else stands in its place.
    """
    # What lies there may have changed since it was opened.
    run = run.anew()
    has_ended = is_over(run.workspace)
    found = list(_books_damage(run, has_ended=has_ended))
    found += _metadata_damage(run) if has_ended else ()
    if any(each.place == LEDGER for each in found):
        # Without it nothing else can be told; once it is mended, the rest is looked at.
        return tuple(found)
    found += _ledger_damage(run)
    batches: list[Batch] = []
    for place, numbers in _places(run, found):
        batches += [Batch(place, tuple(numbers[at : at + BATCH])) for at in range(0, len(numbers), BATCH)]
    for damages in (executor or Local()).move(partial(check_batch, run), batches):
        found += damages
    return tuple(sorted(found, key=lambda each: (each.place, -1 if each.number is None else each.number)))


def is_over(workspace: Workspace) -> bool:
    """Tell whether the run of a workspace has published its result; where its record is lost, the result tells.

    Raises:
        BadPlan: When record and plan are lost.
    """
    if workspace.staging.exists():
        return False
    if has_record(workspace):
        return bool(read_record(workspace)["published"])
    return workspace.ledger.exists() and made_by(workspace.target) == workspace.plan_of_run().fingerprint


def _books_damage(run: Run, *, has_ended: bool) -> Iterator[Damage]:
    if run.workspace.lacks_plan:
        yield Damage(PLAN, None, f"{run.workspace.plan.name} is missing or cut; its copy stands in for it")
    if (has_ended or run.workspace.record.exists()) and not has_record(run.workspace):
        yield Damage(RECORD, None, f"{run.workspace.record.name} is missing, cut or garbled")
    yield from array_damage(run, is_over=has_ended)


def _ledger_damage(run: Run) -> Iterator[Damage]:
    """Yield the records that cannot be read: of the tiles of a unit, or of some write units."""
    ledger = run.ledger
    for name, place in (("tiles", UNITS), ("blocks", BLOCKS), ("curve", CURVES), ("seam", SEAMS)):
        counts = ledger.chunk_counts(name)
        for chunk in ledger.damaged(name):
            yield Damage(place, int(np.ravel_multi_index(chunk, counts)), f"its records of {name} cannot be read")


def _metadata_damage(run: Run) -> Iterator[Damage]:
    yield from _root_damage(run)
    if kept_metadata(run.workspace) is not None:
        for place, why in changed_metadata(run.workspace).items():
            yield Damage(place, None, why)
    else:
        yield from _told_otherwise(run)


def _told_otherwise(run: Run) -> Iterator[Damage]:
    """Yield what differs of a result whose metadata nobody kept: version 0.1 made it."""
    root = run.workspace.published
    finest = {part.path: (run.result_grid.shape5, part.layer) for part in run.parts}
    rungs = (rung for rung in coarser_levels(run, root) if isinstance(rung, PyramidLevel))
    yield from level_damage(
        run.plan, root, {**finest, **{rung.level.path: (rung.level.shape, rung.layer) for rung in rungs}}
    )
    for group in groups_of(run.plan.layers_beside):
        if not attributes_of(root / group):
            yield Damage(ROOT, None, f"the metadata of {group} are missing or cannot be read")
    about = attributes_of(run.workspace.target).get("ilcore")
    if not isinstance(about, Mapping) or not has_record(run.workspace):
        return
    if about.get("verdict") != (wanted := read_record(run.workspace)["verdict"]):
        yield Damage(ROOT, None, f"the verdict is {about.get('verdict')}, the record of the run says {wanted}")
        return
    try:
        made, source = open_volume(str(run.workspace.target)), run.face
    except BadVolume as error:
        yield Damage(ROOT, None, str(error))
        return
    names = ("scale", "units", "shape", "dtype")
    other = [name for name in names if getattr(made, name) != getattr(source, name)]
    if other:
        yield Damage(ROOT, None, f"{other[0]} is {getattr(made, other[0])}, must be {getattr(source, other[0])}")


def _root_damage(run: Run) -> Iterator[Damage]:
    if not run.workspace.target.exists():
        raise DestinationError(f"the result was wanted at {run.workspace.target}; it is gone; restore it again")
    if made_by(run.workspace.target) == run.plan.fingerprint:
        return
    if kept_metadata(run.workspace) is None and not attributes_of(run.workspace.target):
        yield Damage(ROOT, None, "the metadata of the image are missing or cannot be read")
    if attributes_of(run.workspace.target):
        raise DestinationError(
            f"the result of plan {run.plan.fingerprint[:8]} was wanted at {run.workspace.target}; something else "
            "stands there now; move it away, and restore again"
        )


def _places(run: Run, found: list[Damage]) -> Iterator[tuple[str, list[int]]]:
    """Yield what is to be checked; metadata that cannot be read are found here."""
    ledger, changed = run.ledger, {each.place for each in found if each.number is None}
    if not is_over(run.workspace):
        if SCRATCH not in changed:
            yield TILES, [int(n) for n in np.flatnonzero(ledger.read("status"))]
        for part in run.parts:
            if part.path not in changed:
                yield part.path, [int(n) for n in np.flatnonzero(part.of_all(ledger.read("assembled")))]
        return
    root, finest = run.workspace.published, {part.path: part for part in run.parts}
    kinds = {path: (run.result_grid.shape5, part.dtype(run.plan)) for path, part in finest.items()}
    kinds |= {rung.level.path: (rung.level.shape, _type_of(rung, run.plan)) for rung in coarser_levels(run, root)}
    for path, kind in ((path, kind) for path, kind in kinds.items() if path not in changed):
        target = _opened(f"{root}/{path}")
        if target is None or (target.shape, target.dtype) != kind:
            found.append(Damage(path, None, "the metadata of the level are missing, or are not what was written"))
        else:
            # What was written where the record of it is lost, nobody can tell here.
            is_known = np.ones(target.count, bool)
            if path in finest:
                is_known = finest[path].of_all(ledger.read("assembled")) != 0
            yield path, [int(n) for n in np.flatnonzero(is_known)]


def _type_of(rung: PyramidLevel | MaskLevel, plan: RestorationPlan) -> str:
    if isinstance(rung, MaskLevel):
        return "uint8"
    return plan.source.dtype if rung.layer is None else rung.layer.dtype


def _opened(path: str) -> WriteTarget | None:
    try:
        return open_target(path)
    except (DestinationError, BadInput):
        return None
    except Exception as error:
        _refuse_to_guess(error)
        return None


def check_batch(run: Run, batch: Batch) -> list[Damage]:
    """Return what is wrong with some neighbouring write units or tiles."""
    if batch.place == TILES:
        return list(_tile_damage(run, batch.numbers))
    root = run.workspace.published if is_over(run.workspace) else run.workspace.staging
    for part in run.parts:
        if batch.place == part.path:
            return list(_block_damage(run, part, part.target(root), batch.numbers))
    rung = next(each for each in coarser_levels(run, root) if each.level.path == batch.place)
    return list(_level_damage(rung, batch.numbers))


def _tile_damage(run: Run, numbers: Iterable[int]) -> Iterator[Damage]:
    grid, scratch, ledger = run.result_grid, run.scratch, run.ledger
    for number in numbers:
        tile = grid.tile([int(at) for at in np.unravel_index(number, grid.grid_shape)])
        try:
            scratch.read(tile, ledger.digest_of(tile))
        except CorruptData as error:
            yield Damage(TILES, number, str(error), words(tile.core))


def _block_damage(run: Run, part: Part, target: WriteTarget, numbers: Iterable[int]) -> Iterator[Damage]:
    digests = part.of_all(run.ledger.read("block_digest"))
    for number in numbers:
        held, why = _held(target, number)
        if held is not None and digest_of(held) != digests[number]:
            why = "other voxels than were written, or none"
        if why:
            yield Damage(part.path, number, why, words(target.block(number)))


def _level_damage(rung: PyramidLevel | MaskLevel, numbers: Iterable[int]) -> Iterator[Damage]:
    target = rung.target
    for number in numbers:
        held, why = _held(target, number)
        if held is not None:
            why = level_trouble(rung, number, held)
        if why:
            yield Damage(rung.level.path, number, why, words(target.block(number)))


def level_trouble(rung: PyramidLevel | MaskLevel, number: int, held: Any) -> str:
    """Return what is wrong with a write unit of a coarser level; nothing where it is the mean of the level below."""
    try:
        wanted = rung.wanted(number)
    except DestinationError:
        return "made of a level that is damaged"
    except Exception as error:
        _refuse_to_guess(error)
        return "made of voxels that are damaged"
    is_same = np.array_equal(held, wanted, equal_nan=wanted.dtype.kind == "f")
    return "" if is_same else "not the mean of the level below"


def _held(target: WriteTarget, number: int) -> tuple[Any, str]:
    """Return the voxels of a write unit, or why they cannot be had."""
    try:
        return target.read(target.block(number)), ""
    except Exception as error:
        _refuse_to_guess(error)
        return None, f"cannot be decoded ({str(error).partition('.')[0] or type(error).__name__})"


def _refuse_to_guess(error: Exception) -> None:
    """A store that does not answer is no damage."""
    if isinstance(error, MemoryError | OSError | ILError):
        raise error
    if (told := trouble(error)) is not None:
        raise told from error
