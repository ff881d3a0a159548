"""What may get lost of a run under way, and what of it has to be done again for that.

metadata of ledger, scratch, or of the result in the making   follow from the plan: written again
scratch itself      the tiles that meet write units which are not assembled yet
the result in the making   all its write units are assembled again
"""

import json
import logging
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ilcore.grammar.errors import CorruptData
from ilcore.grammar.layers import Layer
from ilcore.grammar.region import Five, Region
from ilcore.planning.plan import RestorationPlan
from ilcore.running.damage import LEDGER, SCRATCH, Damage
from ilcore.running.ledger import Ledger
from ilcore.running.metadata import NAMES, difference
from ilcore.running.parts import result_array, units_in
from ilcore.running.run import Run
from ilcore.running.scratch import Scratch
from ilcore.running.tile_record import RECORD
from ilcore.stores.places import is_there, read_bytes, read_text, write_text
from ilcore.stores.store import Place
from ilcore.tiling.grid import Index, TileGrid

_logger = logging.getLogger(__name__)

#: What of the metadata of an array decides its voxels is all but this.
_TELLS_ONLY = "attributes"
#: The arrays of a ledger, and itself.
_PARTS = ("", "tiles", "curve", "seam", "blocks")
_STAGED = "staging"


def take_up(run: Run) -> None:
    """Write again what of a run that goes on follows from its plan, and note as still to be done what was lost.

    It is noted first and made anew only then: a kill in between loses nothing more.
    """
    gone = [part for part in run.parts if not is_there(run.workspace.staging / part.path)]
    is_scratch_gone = not is_there(run.workspace.scratch)
    mend_arrays(run, skipped=[*(part.path for part in gone), *([SCRATCH] if is_scratch_gone else [])])
    ledger = run.ledger
    for part in gone:
        _logger.warning("%s of the result in the making of %s is gone: it is assembled again",
                        part.path, run.workspace.target)  # fmt: skip
        count = len(part.of_all(ledger.read("assembled")))
        ledger.reopen_blocks(part.numbers(range(count)))
        result_array(run.plan, str(run.workspace.staging / part.path), run.result_grid.shape5, part.layer)
    if is_scratch_gone:
        target = run.result
        opened = units_in(run.parts, ledger.open_blocks())
        units = units_touching(run.result_grid, (target.block(unit) for unit in opened))
        _logger.warning("the scratch of %s is gone: %d units are restored again", run.workspace.target, len(units))
        for index in units:
            ledger.reopen(run.grid.unit_of(index))


def units_touching(grid: TileGrid, regions: Iterable[Region]) -> list[Index]:
    """Return the places of the units of work whose tiles meet some regions."""
    found = set[Index]()
    for region in regions:
        for tile in grid.touching(region):
            t, z, y, x = (at // length for at, length in zip(tile.index, (1, *grid.unit), strict=True))
            found.add((t, z, y, x))
    return sorted(found)


def array_damage(run: Run, *, is_over: bool) -> Iterator[Damage]:
    """Yield what is wrong with the metadata of a run's ledger, scratch, and result in the making.

    Raises:
        CorruptData: When nobody can tell which version made the ledger.
    """
    with tempfile.TemporaryDirectory(prefix="il-") as folder:
        for place, name, made in _made(run, Path(folder)):
            if name != LEDGER and is_over:
                continue
            why = next((why for file in made if (why := _wrong(file, made[file], _held(place / file)))), "")
            if why:
                yield Damage(name, None, f"the metadata are not what they must be: {why}")


def level_damage(
    plan: RestorationPlan, root: Place, levels: Mapping[str, tuple[Five, Layer | None]]
) -> Iterator[Damage]:  # fmt: skip
    """Yield which levels of a result have other metadata than follow from the plan, but for what only tells.

    Args:
        plan: The plan.
        root: Where the levels lie.
        levels: By path, the size of each, and the layer that it is of.
    """
    with tempfile.TemporaryDirectory(prefix="il-") as folder:
        for path, (shape, layer) in levels.items():
            result_array(plan, f"{folder}/{path}", shape, layer)
            made = _texts(Path(folder, path)).items()
            if why := next((why for file, text in made if (why := _wrong(file, text, _held(root / path / file)))), ""):
                yield Damage(path, None, f"the metadata of the level are not what was written: {why}")


def mend_arrays(run: Run, skipped: Iterable[str] = ()) -> None:
    """Write again what is missing, garbled or wrong of the metadata of what a run works with."""
    with tempfile.TemporaryDirectory(prefix="il-") as folder:
        for place, name, made in _made(run, Path(folder)):
            for file, text in made.items() if name not in skipped and (name == LEDGER or is_there(place)) else ():
                if _wrong(file, text, _held(place / file)):
                    _logger.warning("%s was lost or garbled, and is written again", place / file)
                    write_text(place / file, text)


def _made(run: Run, folder: Path) -> Iterator[tuple[Place, str, Mapping[str, str]]]:
    """Yield each array or group, what it belongs to, and the metadata files that it must have."""
    count = 0
    for each in run.parts:
        made = result_array(run.plan, str(folder / _STAGED / each.path), run.result_grid.shape5, each.layer)
        count += made.count
        yield run.workspace.staging / each.path, each.path, _texts(folder / _STAGED / each.path)
    Scratch.of(folder / SCRATCH, run.plan, run.result_grid).create()
    yield run.workspace.scratch, SCRATCH, _texts(folder / SCRATCH)
    Ledger(folder / LEDGER, run.grid).create(count, _record(run.workspace.ledger))
    for part in _PARTS:
        yield (run.workspace.ledger / part if part else run.workspace.ledger), LEDGER, _texts(folder / LEDGER / part)


def _record(ledger: Place) -> "np.dtype[Any]":
    """Return the record of a tile that a ledger was made with; where it does not say, that of today, if that fits."""
    try:
        told = json.loads(_held(ledger / "zarr.json") or "")["attributes"]["tile_record"]
        return np.dtype([(str(name), str(kind)) for name, kind in told])
    except (ValueError, KeyError, TypeError):
        pass
    try:
        length = json.loads(_held(ledger / "tiles" / "zarr.json") or "")["shape"][-1]
    except (ValueError, KeyError, TypeError, IndexError):
        length = RECORD.itemsize
    if length != RECORD.itemsize:
        raise CorruptData(
            f"a ledger that says how its records are made was wanted at {ledger}; it is damaged, and another version "
            "made it; restore again with --overwrite"
        )
    return RECORD


def _texts(made: Path) -> dict[str, str]:
    return {name: read_text(made / name) for name in NAMES if (made / name).exists()}


def _held(place: Place) -> str | None:
    try:
        return read_bytes(place).decode(errors="replace")
    except (FileNotFoundError, NotADirectoryError):
        return None


def _wrong(file: str, wanted: str, held: str | None) -> str:
    """Return what is wrong with metadata that follow from the plan; other attributes of another version are not."""
    if held is None:
        return "a file is missing"
    try:
        there, made = json.loads(held), json.loads(wanted)
        there[_TELLS_ONLY] = made[_TELLS_ONLY] = None
    except (ValueError, TypeError):
        return "a file is cut or garbled"
    return "" if file == ".zattrs" else difference(made, there)
