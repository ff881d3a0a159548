"""Stripes: offsets that whole columns, or whole rows, of a plane share, as detectors of line scanners leave them.

    differences of neighbouring columns ── median in four bands of rows ── alike in bands far apart? white? ── stripes
                                        └─ median of all rows ── summed up ── Wiener filter ── refined ── offsets

Stripes are offsets that are the same from top to bottom, and that say nothing of the next column's. Lines of a scene
end somewhere, or alternate, or are few among many columns without any; where there is doubt there are no stripes.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.fft import dct, idct

Values: TypeAlias = NDArray[np.float64]
Direction: TypeAlias = Literal["column", "row"]

#: Fewer rows or columns tell nothing; planes looked at, at most.
_FEWEST, _PLANES = 48, 24
#: Bands of rows, and the pairs of them that no short line of a scene joins.
_BANDS, _APART = 4, ((0, 2), (0, 3), (1, 3))
#: Share of the differences that bands far apart have in common, at least.
_ALIKE = 0.25
#: Likeness of differences of white offsets one column away is -0.5, farther away 0.
_NEXT, _FARTHER, _REACH = -0.22, 0.45, 8
#: Kurtosis of the differences: of few lines it is tens, of two values 1.
_KURTOSIS = (2.1, 8.0)
#: Neighbouring frequencies that the Wiener filter takes together; median of a squared normal variable.
_TOGETHER, _MEDIAN = 9, 0.4549
#: Columns of the median that offsets are refined by, and how often.
_AROUND, _ROUNDS = 9, 6


@dataclass(frozen=True)
class Signs:
    """What differences of neighbouring columns say of stripes.

    Args:
        alike: Correlation between bands of rows far apart; the least of all pairs.
        next_one: Correlation of the differences one column away.
        farther: The largest correlation two to eight columns away, without its sign.
        kurtosis: Of the differences.
    """

    alike: float
    next_one: float
    farther: float
    kurtosis: float

    @property
    def are_stripes(self) -> bool:
        """Tell whether all signs are those of offsets that every column has of its own."""
        return (
            self.alike >= _ALIKE
            and self.next_one <= _NEXT
            and self.farther <= _FARTHER
            and _KURTOSIS[0] <= self.kurtosis <= _KURTOSIS[1]
        )


def direction_of(planes: Sequence[Values]) -> Direction | None:
    """Return what shares its offsets, columns or rows; None where no stripes are seen in most of the planes.

    Shape:
        planes [y, x] each; NaN where they are no data.
    """
    chosen = planes[:: max(1, -(-len(planes) // _PLANES))]
    for direction in ("column", "row"):
        seen = [signs for plane in chosen if (signs := signs_of(plane, direction)) is not None]
        if seen and 3 * sum(signs.are_stripes for signs in seen) >= 2 * len(seen):
            return direction
    return None


def signs_of(plane: Values, direction: Direction) -> Signs | None:
    """Return what a plane says of stripes; None where it is too small, or nothing differs.

    Shape:
        plane [y, x]; NaN where it is no data.
    """
    upright = plane if direction == "column" else plane.T
    if min(upright.shape) < _FEWEST:
        return None
    steps = np.stack([_steps(band) for band in np.array_split(upright, _BANDS)])
    steps -= steps.mean(1, keepdims=True)
    common = steps @ steps.T / steps.shape[1]
    own = float(np.trace(common)) / _BANDS
    profile = steps.mean(0)
    power = float((profile**2).mean())
    if own <= 0 or power <= 0:
        return None
    lags = [float((profile[lag:] * profile[:-lag]).mean()) / power for lag in range(1, _REACH + 1)]
    return Signs(
        alike=min(float(common[pair]) for pair in _APART) / own,
        next_one=lags[0],
        farther=max(map(abs, lags[1:])),
        kurtosis=float((profile**4).mean()) / power**2,
    )


def offsets_of(plane: Values, direction: Direction) -> Values:
    """Return the offsets of columns, [1, x], or of rows, [y, 1]; their mean is 0.

    Slow changes from column to column are left to the scene: the Wiener filter keeps of each frequency what stripes of
    one strength, that of the high frequencies, can have there.

    Shape:
        plane [y, x]; NaN where it is no data.
    """
    upright = plane if direction == "column" else plane.T
    offsets = _filtered(np.concatenate([[0.0], np.cumsum(_steps(upright))]))
    known = np.isfinite(upright)
    filled = upright if known.all() else np.where(known, upright, np.median(upright[known]) if known.any() else 0.0)
    for _ in range(_ROUNDS):
        left = filled - offsets
        beyond = left - ndimage.median_filter(left, (1, _AROUND), mode="nearest")
        offsets = offsets + _median(beyond if known.all() else np.where(known, beyond, np.nan))
    offsets = offsets - offsets.mean()
    return offsets[None, :] if direction == "column" else offsets[:, None]


def without_stripes(sample: NDArray[np.generic], direction: Direction) -> Values:
    """Return a sample without the offsets of its planes.

    Shape:
        sample [..., y, x]; NaN where it is no data.
    """
    values = sample.astype(np.float64)
    flat = values.reshape(-1, *values.shape[-2:])
    return np.stack([plane - offsets_of(plane, direction) for plane in flat]).reshape(values.shape)


def _steps(plane: Values) -> Values:
    """Return the median difference of each two neighbouring columns, [x - 1]."""
    return _median(np.diff(plane, axis=1))


def _median(values: Values) -> Values:
    """Return the median of each column; 0 where there is no data."""
    if np.isfinite(values).all():
        return np.asarray(np.median(values, 0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.nan_to_num(np.nanmedian(values, 0))


def _filtered(profile: Values) -> Values:
    """Return what of a profile can be white offsets, without its mean and slope."""
    if len(profile) < 2 * _TOGETHER:
        return np.zeros_like(profile)
    along = np.arange(len(profile), dtype=np.float64)
    waves = dct(profile - np.polyval(np.polyfit(along, profile, 1), along), norm="ortho")
    power = waves**2
    white = float(np.median(power[len(power) // 2 :])) / _MEDIAN
    near = ndimage.uniform_filter1d(power[1:], _TOGETHER, mode="nearest")
    waves[0] = 0.0
    waves[1:] *= np.minimum(1.0, white / np.maximum(near, np.finfo(np.float64).tiny))
    return np.asarray(idct(waves, norm="ortho"))
