"""Assembling: write units of a result, its image and its layers, from the tiles in scratch."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ilcore.grammar.errors import CorruptData
from ilcore.grammar.layers import KEPT, MEASURED, Layer
from ilcore.grammar.region import Region, intersect, size, slices
from ilcore.running.finer import OnResult
from ilcore.running.ledger import Ledger
from ilcore.running.parts import Part
from ilcore.running.run import Run
from ilcore.running.scratch import Scratch
from ilcore.stores.concurrent import map_concurrently
from ilcore.tiling.assemble import blend, cast, clipped_count, heaviest
from ilcore.tiling.grid import Tile


def block_of(run: Run, part: Part, region: Region) -> tuple[NDArray[Any], int]:
    """Return a region of the image or of a layer from the tiles in scratch, and how many values were clipped.

    Raises:
        CorruptData: When a tile is not what its worker wrote.
    """
    source, valid = OnResult.of(run).stored(region)
    blended, kept = _blended(run, part, region)
    if run.plan.task != "inpaint":
        kept |= ~valid
    if part.layer is not None:
        return _of_layer(part.layer, blended, kept, valid), 0
    wanted = np.where(kept, 0, blended)
    values, clipped = cast(wanted, np.dtype(run.plan.source.dtype))
    if clipped:
        clipped = clipped_count(wanted, source, run.plan.source.dtype)
    # What is data stays data: no new value may be one that means "no data".
    return np.where(kept, source, run.source.validity.kept_valid(values, wanted)), clipped


def _of_layer(
    layer: Layer, blended: NDArray[Any], kept: NDArray[np.bool_], valid: NDArray[np.bool_]
) -> NDArray[Any]:  # fmt: skip
    """Return what a layer says of a region: where the source is kept, tiles have nothing to say."""
    instead = np.where(valid, MEASURED, KEPT) if layer.labels else layer.fill
    return np.where(kept, instead, blended).astype(layer.dtype)


def _blended(run: Run, part: Part, region: Region) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return a part blended in a region, and where the source is kept: no tile restored it, or one says so."""
    grid, scratch, ledger = run.result_grid, run.scratch, run.ledger
    restored, keeps_source = np.zeros(size(region), bool), np.zeros(size(region), bool)

    def pieces() -> Iterator[tuple[Tile, NDArray[Any]]]:
        tiles = grid.touching(region)
        standing = ledger.standing_of(tiles)
        digests = [digest for digest, _ in standing]
        read = map_concurrently(lambda of: _piece(scratch, ledger, *of), zip(tiles, digests, strict=True), scratch.path)
        for tile, (_, is_raw), piece in zip(tiles, standing, read, strict=True):
            shared = intersect(region, tile.keep)
            here = slices(shared, [start for start, _ in region])
            absent = np.isnan(scratch.part(piece, 0))
            keeps_source[here] |= absent[slices(shared, [start for start, _ in tile.keep])]
            # What stands raw on a finer grid is made too: by its aim, and not the source.
            restored[here] |= run.plan.is_finer or not is_raw
            content = scratch.part(piece, part.at)
            yield tile, np.where(absent, 0, content) if part.layer is None else content

    together = heaviest if part.layer is not None and part.layer.blending == "heaviest" else blend
    return together(region, pieces(), grid), keeps_source | ~restored


def _piece(scratch: Scratch, ledger: Ledger, tile: Tile, digest: int) -> NDArray[Any]:
    try:
        return scratch.piece(tile, digest)
    except CorruptData:
        # Not done after all: whoever goes on with the run restores it again.
        ledger.reopen(ledger.grid.unit_of([at // u for at, u in zip(tile.index, (1, *ledger.grid.unit), strict=True)]))
        raise
