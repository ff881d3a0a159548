"""Read everything back and compare it with what was written.

published   root metadata ─> every write unit of level 0 against its digest in the ledger
                          ─> every write unit of a coarser level against the mean of the level below
under way   every restored tile in scratch, and every assembled write unit, against its digest
"""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeVar

import numpy as np

from ilcore.grammar.errors import BadInput, CorruptData, DestinationError, ILError
from ilcore.grammar.region import words
from ilcore.restoring.damage import ROOT, TILES, Damage
from ilcore.restoring.ledger import Ledger
from ilcore.restoring.plan import RestorationPlan
from ilcore.restoring.scratch import Scratch, digest_of
from ilcore.restoring.stages import coarser_levels, made_by, result_levels
from ilcore.restoring.workspace import Workspace
from ilcore.volumes.destination import attributes_of
from ilcore.volumes.masks import MaskRung
from ilcore.volumes.pyramid import Rung
from ilcore.volumes.stores import trouble
from ilcore.volumes.write import WriteTarget, open_target

#: Write units or tiles that are checked in one go.
BATCH = 16

Item = TypeVar("Item")
Report = TypeVar("Report")


class Spread(Protocol):
    """Does something with each item, here or on workers, in any order."""

    def __call__(self, function: Callable[[Item], Report], items: Iterable[Item], /) -> Iterator[Report]:
        """Yield what the function returns for each item."""
        ...


@dataclass(frozen=True)
class Batch:
    """Neighbouring write units of one place, or tiles."""

    place: str
    numbers: tuple[int, ...]


def verify(plan: RestorationPlan, workspace: Workspace, spread: Spread = map) -> tuple[Damage, ...]:
    """Compare what is stored of a run or of its result with what was written; nothing is changed.

    Args:
        plan: The plan of the run.
        workspace: Its folder; the caller holds the lock.
        spread: How work is spread.

    Raises:
        CorruptData: When the ledger itself, which says what must be there, cannot be read.
        DestinationError: When the result is gone, or something else stands in its place.
    """
    found = list(_root_damage(plan, workspace)) if is_over(workspace) else []
    batches: list[Batch] = []
    for place, numbers in _places(plan, workspace, found):
        batches += [Batch(place, tuple(numbers[at : at + BATCH])) for at in range(0, len(numbers), BATCH)]
    for damages in spread(partial(check_batch, plan, workspace), batches):
        found += damages
    return tuple(sorted(found, key=lambda each: (each.place, -1 if each.number is None else each.number)))


def is_over(workspace: Workspace) -> bool:
    """Tell whether the run of a workspace has published its result."""
    if not workspace.record.exists() or workspace.staging.exists():
        return False
    return bool(json.loads(workspace.record.read_text())["published"])


def _root_damage(plan: RestorationPlan, workspace: Workspace) -> Iterator[Damage]:
    if not workspace.target.exists():
        raise DestinationError(f"the result was wanted at {workspace.target}; it is gone; restore it again")
    if made_by(workspace.target) == plan.fingerprint:
        return
    if attributes_of(workspace.target):
        raise DestinationError(
            f"the result of plan {plan.fingerprint[:8]} was wanted at {workspace.target}; something else stands "
            "there now; move it away, and restore again"
        )
    yield Damage(ROOT, None, "the metadata of the image are missing or cannot be read")


def _places(plan: RestorationPlan, workspace: Workspace, found: list[Damage]) -> Iterator[tuple[str, list[int]]]:
    """Yield what is to be checked; metadata that cannot be read are found here."""
    ledger = Ledger(workspace.ledger, plan.tile_grid)
    if not is_over(workspace):
        yield TILES, [int(n) for n in np.flatnonzero(ledger.read("status"))]
        yield "0", [int(n) for n in np.flatnonzero(ledger.read("assembled"))]
        return
    root = result_levels(workspace)
    kinds = {"0": (plan.source.shape, plan.source.dtype)}
    for rung in coarser_levels(plan, root):
        kinds[rung.level.path] = (rung.level.shape, "uint8" if isinstance(rung, MaskRung) else plan.source.dtype)
    for path, kind in kinds.items():
        target = _opened(f"{root}/{path}")
        if target is None or (target.shape, target.dtype) != kind:
            found.append(Damage(path, None, "the metadata of the level are missing, or are not what was written"))
        else:
            yield path, list(range(target.count))


def _opened(path: str) -> WriteTarget | None:
    try:
        return open_target(path)
    except (DestinationError, BadInput):
        return None
    except Exception as error:
        _refuse_to_guess(error)
        return None


def check_batch(plan: RestorationPlan, workspace: Workspace, batch: Batch) -> list[Damage]:
    """Return what is wrong with some neighbouring write units or tiles."""
    if batch.place == TILES:
        return list(_tile_damage(plan, workspace, batch.numbers))
    root = result_levels(workspace) if is_over(workspace) else workspace.staging
    if batch.place == "0":
        return list(_block_damage(plan, workspace, open_target(f"{root}/0"), batch.numbers))
    rung = next(each for each in coarser_levels(plan, root) if each.level.path == batch.place)
    return list(_level_damage(rung, batch.numbers))


def _tile_damage(plan: RestorationPlan, workspace: Workspace, numbers: Iterable[int]) -> Iterator[Damage]:
    grid, scratch = plan.tile_grid, Scratch.of(workspace.scratch, plan)
    ledger = Ledger(workspace.ledger, grid)
    for number in numbers:
        tile = grid.tile([int(at) for at in np.unravel_index(number, grid.grid_shape)])
        try:
            scratch.read(tile, ledger.digest_of(tile))
        except CorruptData as error:
            yield Damage(TILES, number, str(error), words(tile.core))


def _block_damage(
    plan: RestorationPlan, workspace: Workspace, target: WriteTarget, numbers: Iterable[int]
) -> Iterator[Damage]:
    digests = Ledger(workspace.ledger, plan.tile_grid).read("block_digest")
    for number in numbers:
        held, why = _held(target, number)
        if held is not None and digest_of(held) != digests[number]:
            why = "other voxels than were written, or none"
        if why:
            yield Damage("0", number, why, words(target.block(number)))


def _level_damage(rung: Rung | MaskRung, numbers: Iterable[int]) -> Iterator[Damage]:
    target = rung.target
    for number in numbers:
        held, why = _held(target, number)
        if held is not None:
            why = level_trouble(rung, number, held)
        if why:
            yield Damage(rung.level.path, number, why, words(target.block(number)))


def level_trouble(rung: Rung | MaskRung, number: int, held: Any) -> str:
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
