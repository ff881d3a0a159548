"""Seams: does the picture change faster across tile borders than beside them?"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ilcore.grammar.region import Region, clip
from ilcore.tiling.grid import Tile, TileGrid

#: Returns a region of the result, [t, c, z, y, x].
Read = Callable[[Region], NDArray[Any]]
#: Differences are compared with those up to so many voxels inside the border.
_INSIDE = 4


def seam_score(read: Read, tile: Tile, grid: TileGrid) -> float:
    """Return the gradient energy across a tile's inner borders over that just inside them; about 1 without seams.

    Args:
        read: How to read the result.
        tile: The tile; only its borders with the next tile along z, y and x are measured: each border counts once.
        grid: The grid.

    Returns:
        The largest ratio of the three axes; NaN for tiles without such a border, or flat ones.
    """
    ratios = [_ratio(read, tile, grid, axis) for axis in range(3)]
    known = [ratio for ratio in ratios if np.isfinite(ratio)]
    return max(known, default=float("nan"))


def _ratio(read: Read, tile: Tile, grid: TileGrid, axis: int) -> float:
    if tile.index[axis + 1] + 1 >= grid.grid_shape[axis + 1]:
        return float("nan")
    border = tile.core[axis + 2][1]
    span = list(tile.core)
    span[axis + 2] = (border - _INSIDE - 1, border + _INSIDE + 1)
    region = clip(tuple(span), grid.shape5)  # type: ignore[arg-type]
    values = read(region).astype(np.float64)
    steps = np.square(np.diff(values, axis=axis + 2))
    energy = np.nanmean(np.moveaxis(steps, axis + 2, 0).reshape(steps.shape[axis + 2], -1), axis=1)
    across = border - 1 - region[axis + 2][0]
    beside = np.delete(energy, across)
    typical = float(np.nanmedian(beside)) if beside.size else 0.0
    return float(energy[across] / typical) if typical > 0 else float("nan")
