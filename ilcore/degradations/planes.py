"""What the estimators look at: 2-D planes, each with a mask of the values that are measurements.

NaN, inf, the missing value     no measurement
pile-up at the top              saturated: the noise is cut off, so its variance is too small
pile-up at the bottom           cut off at zero, or outside the scan
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Values: TypeAlias = NDArray[np.float64]
Trust: TypeAlias = NDArray[np.bool_]

#: A value that holds this many times the pixels of its neighbours in the histogram is a pile-up.
_PILE = 3.0
#: Side of the least area that is padding when nothing but the floor is in it.
_AREA = 17
#: A pile-up of fewer pixels than this is chance.
_FEWEST = 8


@dataclass(frozen=True)
class Plane:
    """One 2-D picture of one channel; untrusted values are filled with their surroundings.

    Shape:
        values [y, x], trusted [y, x].
    """

    values: Values
    trusted: Trust


@dataclass(frozen=True)
class Limits:
    """Values at which a detector or a file format cuts off; None where nothing piles up."""

    floor: float | None = None
    ceiling: float | None = None

    def inside(self, values: Values) -> Trust:
        """Return where a value is strictly between the limits."""
        low = -np.inf if self.floor is None else self.floor
        high = np.inf if self.ceiling is None else self.ceiling
        return np.asarray((values > low) & (values < high))


def planes_of(samples: Sequence[NDArray[Any]], channel: int, budget: int) -> list[Values]:
    """Cut samples into 2-D planes of one channel, evenly thinned to at most about `budget` pixels.

    A plane larger than the budget is cropped around its centre.

    Args:
        samples: Arrays [C, y, x] or [C, z, y, x].
        channel: Which channel.
        budget: Pixels to look at, over all planes.
    """
    side = math.isqrt(budget)
    planes = [_cropped(plane, side) for sample in samples for plane in _slices(np.asarray(sample)[channel])]
    pixels = sum(plane.size for plane in planes)
    wanted = max(1, round(len(planes) * min(1.0, budget / max(pixels, 1))))
    chosen = np.unique(np.linspace(0, max(len(planes) - 1, 0), wanted).round().astype(int))
    return [np.asarray(planes[index], np.float64) for index in chosen if planes]


def trusted_plane(values: Values, missing: float | None, limits: Limits) -> Plane:
    """Return the plane with everything that is no measurement masked and filled."""
    measured = is_measured(values, missing)
    trusted = measured & limits.inside(np.where(measured, values, 0))
    return Plane(_filled(values, trusted), trusted)


def is_measured(values: Values, missing: float | None) -> Trust:
    """Return where a value is finite and not the missing value."""
    finite = np.isfinite(values)
    return finite if missing is None else finite & (values != missing)


def limits_of(values: Values, dtype: np.dtype[Any]) -> Limits:
    """Find the values at which measurements pile up.

    Args:
        values: Measurements of one channel, any shape, all finite.
        dtype: Type of the source; its extremes count as limits of integer data.
    """
    if values.size == 0:
        return Limits()
    levels, counts = np.unique(values, return_counts=True)
    if len(levels) < 3:
        return Limits()
    return Limits(floor=_pile(levels, counts, dtype, top=False), ceiling=_pile(levels, counts, dtype, top=True))


def _pile(levels: Values, counts: NDArray[np.intp], dtype: np.dtype[Any], *, top: bool) -> float | None:
    """Return the extreme level if it is a pile-up or the end of an integer type."""
    step = -1 if top else 1
    extreme, beside = float(levels[::step][0]), counts[::step][1:6]
    if counts[::step][0] >= max(_FEWEST, _PILE * beside.mean()):
        return extreme
    if dtype.kind in "ui" and extreme == (np.iinfo(dtype).max if top else np.iinfo(dtype).min):
        return extreme
    return None


def without_padding(values: Values, floor: float) -> Values:
    """Return a plane with NaN in every area of `_AREA` x `_AREA` pixels that holds nothing but the floor.

    Photons that are counted seldom leave such an area empty, unless there are next to none.
    """
    blank = ~ndimage.maximum_filter(values != floor, _AREA, mode="nearest")
    return np.where(ndimage.maximum_filter(blank, _AREA, mode="nearest"), np.nan, values)


def _slices(volume: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Yield [y, x] planes of [y, x] or [z, y, x]."""
    yield from volume.reshape(-1, *volume.shape[-2:])


def _cropped(plane: NDArray[Any], side: int) -> NDArray[Any]:
    """Return the plane, or its centre where it has more than side * side pixels."""
    if plane.size <= side * side:
        return plane
    height, width = plane.shape
    rows = min(height, max(side, side * side // width))
    columns = side * side // rows
    top, left = (height - rows) // 2, (width - columns) // 2
    return plane[top : top + rows, left : left + columns]


def _filled(values: Values, trusted: Trust) -> Values:
    """Replace untrusted values by the mean of the trusted ones around them, or of all."""
    if trusted.all():
        return values
    known = np.where(trusted, values, 0.0)
    everywhere = known.sum() / max(int(trusted.sum()), 1)
    near = ndimage.uniform_filter(trusted.astype(np.float64), 9)
    around = ndimage.uniform_filter(known - everywhere * trusted, 9) / np.maximum(near, 1e-9) + everywhere
    return np.where(trusted, values, np.where(near > 1e-6, around, everywhere))
