"""Seams: does the picture change faster across tile borders than beside them?

  tile       │   next tile
─┬─┬─┬─┬─┬─┬─┼─┬─┬─┬─┬─┬─┬─
 s s s s s s B s s s s s s      squared steps between neighbouring planes: B across the border, s beside it

A part of B that the noisy source shows too is an edge of the scene and no seam; it is taken off first.
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
#: Steps below this part of the steps that noise makes are seen by nobody.
_FAINT = 0.03
#: Steps below this part of the range of values around a border are seen by nobody either.
_TRIFLE = 1e-3
#: What the source shows counts beyond so many standard errors.
_SURE = 2.0
#: Places that step by more than this times the typical place are edges that cross the border.
_TYPICAL = 2.0


def seam_score(read: Read, tile: Tile, grid: TileGrid, source: Read | None = None) -> float:
    """Return the gradient energy across a tile's borders over that just inside them; at most about 1 without seams.

    Args:
        read: How to read the result.
        tile: The tile; only its borders with the next tile along t, z, y and x are measured, so each border counts
            once. Along time only where tiles hold several frames: else frames have nothing to do with each other.
        grid: The grid.
        source: How to read the noisy source in the same units, or None to take every step as a seam.

    Returns:
        The largest ratio of the axes; NaN where there is no border to tell anything of.
    """
    axes = (0, 2, 3, 4) if grid.time.core > 1 else (2, 3, 4)
    bands = [_Band.of(tile, grid, axis) for axis in axes]
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
        place = max(axis - 1, 0)
        if tile.index[place] + 1 >= grid.grid_shape[place]:
            return None
        border = tile.core[axis][1]
        spans = list(tile.core)
        spans[axis] = (border - _REACH, border + _REACH)
        region = clip(region_of(spans), grid.shape5)
        return cls(region, axis, border - 1 - region[axis][0])

    def steps(self, read: Read) -> NDArray[np.float64]:
        """Return the steps, [step along the axis, place]."""
        steps = np.diff(read(self.region).astype(np.float64), axis=self.axis)
        return np.moveaxis(steps, self.axis, 0).reshape(steps.shape[self.axis], -1)


def _ratio(read: Read, source: Read | None, band: _Band) -> float:
    steps, floor = band.steps(read), _floor(read, band)
    across, beside = steps[band.across], np.delete(steps, band.across, 0)
    if not beside.size:
        return float("nan")
    if source is not None:
        shown = band.steps(source)
        std = _std(np.delete(shown, band.across, 0))
        across = across * _own_share(across, shown[band.across], std)
        floor += (_FAINT * std) ** 2
    return (_energy(across) + floor) / (float(np.mean([_energy(line) for line in beside])) + floor)


def _own_share(steps: NDArray[np.float64], shown: NDArray[np.float64], std: float) -> float:
    """Return which share of the steps across a border is the result's own: 0 for an edge of the scene, 1 for a seam.

    The slope of the source's steps on the result's is 1 for an edge and 0 for a seam; it counts where it is sure.
    """
    typical = np.isfinite(steps) & np.isfinite(shown)
    typical &= np.abs(np.where(typical, steps, 0)) <= _TYPICAL * np.sqrt(_energy(steps))
    power = float((steps[typical] ** 2).sum())
    if power == 0:
        return 1.0
    slope, doubt = float((steps[typical] * shown[typical]).sum()) / power, _SURE * std / np.sqrt(power)
    return float(np.clip(1 - slope - doubt, 0, 1)) if slope > doubt else 1.0


def _energy(line: NDArray[np.float64]) -> float:
    """Return the median of a line's squared steps: edges of the picture meet a part of a border, a seam all of it."""
    known = line[np.isfinite(line)]
    return float(np.median(known**2)) if known.size else 0.0


def _std(steps: NDArray[np.float64]) -> float:
    """Return the standard deviation of steps, from their median: edges are no noise."""
    return float(np.sqrt(_energy(steps))) / 0.6745


def _floor(read: Read, band: _Band) -> float:
    """Return the energy below which steps are rounding, for whole numbers, or a trifle beside what else there is."""
    values = read(band.region)
    if values.dtype.kind in "iu":
        return 1 / 6
    known = values[np.isfinite(values)].astype(np.float64)
    if not known.size:
        return 1e-30
    return max((1e-6 * float(np.abs(known).max())) ** 2, (_TRIFLE * float(np.ptp(known))) ** 2, 1e-30)
