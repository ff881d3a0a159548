"""Blending weights that sum to one wherever the tiles of a grid meet."""

import numpy as np
from numpy.typing import NDArray

from ilcore.grammar.region import Span
from ilcore.tiling.grid import Tile, TileGrid


def window(tile: Tile, grid: TileGrid, part: tuple[slice, ...] = (slice(None),) * 5) -> NDArray[np.float64]:
    """Return the weight of a tile at each voxel that it keeps, or at a part of them.

    A raised cosine leads from 0 to 1 over the 2 * overlap voxels around each border with a neighbour; at the edge of
    the volume the weight stays 1. The weights of all tiles sum to one at every voxel: overlaps are at most half a core,
    so the ramps of two borders never meet, and on one ramp the two sides are w and 1 - w by construction.

    Args:
        tile: A tile of the grid.
        grid: The grid.
        part: The part of the kept region, t c z y x.

    Shape:
        [t, 1, z, y, x], that part; broadcasts over c.
    """
    weights = np.ones((1, 1, 1, 1, 1))
    for axis, at, along, tiles in zip((0, 2, 3, 4), tile.index, grid.cuts, grid.grid_shape, strict=True):
        line = _line(tile.keep[axis], tile.core[axis], along.overlap, (at > 0, at < tiles - 1))[part[axis]]
        shape = [1, 1, 1, 1, 1]
        shape[axis] = line.size
        weights = weights * line.reshape(shape)
    return weights


def _line(keep: Span, core: Span, overlap: int, neighbours: tuple[bool, bool]) -> NDArray[np.float64]:
    places = np.arange(*keep)
    line = np.ones(places.size)
    if neighbours[0]:
        line *= _rise(places, core[0], overlap)
    if neighbours[1]:
        line *= 1 - _rise(places, core[1], overlap)
    return line


def _rise(places: NDArray[np.int_], border: int, overlap: int) -> NDArray[np.float64]:
    """Weight of the tile to the right of a border; a step where nothing overlaps."""
    if overlap == 0:
        return (places >= border).astype(np.float64)
    along = np.clip((places + 0.5 - (border - overlap)) / (2 * overlap), 0, 1)
    return 0.5 - 0.5 * np.cos(np.pi * along)
