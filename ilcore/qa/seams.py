"""Seams: does the picture change faster across tile borders than beside them?

  tile       │   next tile
─┬─┬─┬─┬─┬─┬─┼─┬─┬─┬─┬─┬─┬─
 s s s s s s B s s s s s s      squared steps between neighbouring planes: B across the border, s beside it
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ilcore.grammar.region import Region, clip, region_of
from ilcore.tiling.grid import Tile, TileGrid

#: Returns a region of an image, [t, c, z, y, x].
Read: TypeAlias = Callable[[Region], NDArray[Any]]
#: Steps up to so many voxels from the border are looked at.
_REACH = 6
#: Where the source itself steps this much more across the border than beside it, an edge of the scene lies there.
_OWN_EDGE = 3.0


def seam_score(read: Read, tile: Tile, grid: TileGrid, source: Read | None = None) -> float:
    """Return the gradient energy across a tile's borders over that just inside them; about 1 without seams.

    An edge of the scene that lies along a border is no seam: it is in the source too, where a seam is not. Such borders
    are left out, since nothing can be told of them.

    Args:
        read: How to read the result.
        tile: The tile; only its borders with the next tile along z, y and x are measured, so each border counts once.
        grid: The grid.
        source: How to read the noisy source in the same units, or None to take every step as the result's own.

    Returns:
        The largest ratio of the three axes; NaN where there is no border to tell anything of.
    """
    bands = [_Band.of(tile, grid, axis) for axis in (2, 3, 4)]
    ratios = [_ratio(read, source, band) for band in bands if band is not None]
    return max((ratio for ratio in ratios if np.isfinite(ratio)), default=float("nan"))


@dataclass(frozen=True)
class _Band:
    """The voxels on both sides of one border."""

    region: Region
    axis: int
    across: int

    @classmethod
    def of(cls, tile: Tile, grid: TileGrid, axis: int) -> "_Band | None":
        if tile.index[axis - 1] + 1 >= grid.grid_shape[axis - 1]:
            return None
        border = tile.core[axis][1]
        spans = list(tile.core)
        spans[axis] = (border - _REACH, border + _REACH)
        region = clip(region_of(spans), grid.shape5)
        return cls(region, axis, border - 1 - region[axis][0])

    def steps(self, read: Read) -> NDArray[np.float64]:
        """Return the squared steps, [step along the axis, place]."""
        values = read(self.region).astype(np.float64)
        steps = np.square(np.diff(values, axis=self.axis))
        return np.moveaxis(steps, self.axis, 0).reshape(steps.shape[self.axis], -1)


def _ratio(read: Read, source: Read | None, band: _Band) -> float:
    floor = _floor(read, band)
    if source is not None and _across(band.steps(source), band.across, floor) > _OWN_EDGE:
        return float("nan")
    return _across(band.steps(read), band.across, floor)


def _across(steps: NDArray[np.float64], across: int, floor: float) -> float:
    energy = np.array([_energy(line) for line in steps])
    beside = np.delete(energy, across)
    return float((energy[across] + floor) / (beside.mean() + floor)) if beside.size else float("nan")


def _energy(line: NDArray[np.float64]) -> float:
    """Return the median of a line of squared steps: edges of the picture meet a part of a border, a seam all of it."""
    known = line[np.isfinite(line)]
    return float(np.median(known)) if known.size else 0.0


def _floor(read: Read, band: _Band) -> float:
    """Return the energy below which steps are rounding: two rounding errors for whole numbers."""
    values = read(band.region)
    if values.dtype.kind in "iu":
        return 1 / 6
    largest = float(np.nanmax(np.abs(values), initial=0.0, where=np.isfinite(values)))
    return max((1e-6 * largest) ** 2, 1e-30)
