"""From restored tiles to the voxels of the result."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ilcore.grammar.errors import TilingError
from ilcore.grammar.region import Region, blocks, intersect, size, slices
from ilcore.tiling.grid import Tile, TileGrid
from ilcore.tiling.windows import window

__all__ = ["blend", "blocks", "cast", "heaviest"]


def blend(region: Region, pieces: Iterable[tuple[Tile, NDArray[Any]]], grid: TileGrid) -> NDArray[np.float64]:
    """Blend restored tiles into one region of the result.

    Pieces are taken one after the other, so a generator keeps memory at one region and one tile.

    Args:
        region: What to assemble; the tiles that touch it (`grid.touching(region)`) must all be among the pieces.
        pieces: Tiles, each with its kept region [t, c, z, y, x].
        grid: The grid.

    Shape:
        [t, c, z, y, x] of the region.

    Raises:
        TilingError: A tile is missing or comes twice, or a piece has not the shape of its kept region.
    """
    total = np.zeros(size(region))
    for here, weight, part in _weighted(region, pieces, grid):
        total[here] += weight * part
    return total


def heaviest(region: Region, pieces: Iterable[tuple[Tile, NDArray[Any]]], grid: TileGrid) -> NDArray[Any]:
    """Return at each voxel of a region what the tile with the greatest weight says: nothing in between.

    Where two weigh the same, the first in the order of the grid speaks. Arguments, shape and errors as for `blend`.
    """
    found, most = np.zeros(size(region)), np.zeros(size(region))
    for here, weight, part in _weighted(region, pieces, grid):
        is_more = weight > most[here]
        found[here] = np.where(is_more, part, found[here])
        most[here] = np.where(is_more, weight, most[here])
    return found


def _weighted(
    region: Region, pieces: Iterable[tuple[Tile, NDArray[Any]]], grid: TileGrid
) -> Iterator[tuple[tuple[slice, ...], NDArray[np.float64], NDArray[Any]]]:
    """Yield where each tile lies in a region, its weights there, and what it holds there."""
    missing = {tile.index for tile in grid.touching(region)}
    for tile, piece in pieces:
        if tile.index not in missing:
            raise TilingError(f"each tile that touches the region was wanted once, got tile {tile.index} besides")
        missing.remove(tile.index)
        if piece.shape != size(tile.keep):
            raise TilingError(
                f"tile {tile.index} keeps {size(tile.keep)} (t, c, z, y, x), got a piece of {piece.shape}"
            )
        shared = intersect(region, tile.keep)
        inner = slices(shared, [start for start, _ in tile.keep])
        yield slices(shared, [start for start, _ in region]), window(tile, grid, inner), piece[inner]
    if missing:
        raise TilingError(f"all tiles that touch the region were wanted, not got: {sorted(missing)}")


def cast(array: NDArray[Any], dtype: DTypeLike) -> tuple[NDArray[Any], int]:
    """Turn restored values into the type of the result.

    Whole-number types round to the nearest value (half to even) and clip to their range; NaN has no place there,
    becomes 0 and counts as clipped. Floating types are converted as they are; only a finite value beyond the range of
    a narrower type is clipped.

    Returns:
        The array, and how many values were clipped.
    """
    target = np.dtype(dtype)
    if target.kind == "f":
        return _to_float(array, target)
    if array.dtype.kind in "iu":
        return _clip_whole(array, target)
    low, high = _float_range(target)
    rounded = np.rint(array.astype(np.float64))
    outside = ~((rounded >= low) & (rounded <= high))
    kept = np.clip(np.nan_to_num(rounded, nan=0.0, posinf=high, neginf=low), low, high)
    return kept.astype(target), int(outside.sum())


def clipped_count(wanted: NDArray[Any], source: NDArray[Any], dtype: DTypeLike) -> int:
    """Return how many values the type of the result cannot hold, of those that it held in the source.

    A value that was at the limit of the type before, and comes out beyond it, loses nothing by staying there.
    """
    values, clipped = cast(wanted, dtype)
    if not clipped or np.dtype(dtype).kind not in "iu":
        return clipped
    return int(((np.rint(wanted) != values) & (values != source)).sum())


def _clip_whole(array: NDArray[Any], target: np.dtype[Any]) -> tuple[NDArray[Any], int]:
    info, own = np.iinfo(target), np.iinfo(array.dtype)
    low, high = max(int(info.min), int(own.min)), min(int(info.max), int(own.max))
    kept = np.clip(array, array.dtype.type(low), array.dtype.type(high))
    return kept.astype(target), int((kept != array).sum())


def _to_float(array: NDArray[Any], target: np.dtype[Any]) -> tuple[NDArray[Any], int]:
    if array.dtype.kind != "f" or array.dtype.itemsize <= target.itemsize:
        return array.astype(target), 0
    limit = float(np.finfo(target).max)
    outside = np.isfinite(array) & (np.abs(array) > limit)
    return np.where(outside, np.sign(array) * limit, array).astype(target), int(outside.sum())


def _float_range(target: np.dtype[Any]) -> tuple[float, float]:
    """Largest range whose ends survive the way from float64 to the type: 2**63 - 1 does not exist in float64."""
    info = np.iinfo(target)
    high = float(info.max)
    if int(high) > info.max:
        high = float(np.nextafter(high, 0))
    return float(info.min), high
