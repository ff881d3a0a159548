"""How the noise grows with the signal: var(y | x) = gain * (x - offset) + read_std**2, from one image.

The finest diagonal detail holds the noise, the 7x7 mean the signal. Pixels are sorted into bins by signal, the
flattest quarter of each bin gives its variance, and a robust line through the bins gives gain and read noise.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ilcore.degradations.levels import mad_std
from ilcore.degradations.planes import Plane, Values
from ilcore.degradations.wavelets import diagonal_detail, far_from_untrusted, local_level, steepness
from ilcore.grammar.problem import Noise

#: Signal bins of equal population.
_BINS = 30
#: Share of the pixels of a bin that counts as flat.
_FLAT_SHARE = 0.25
#: A bin needs this many flat pixels.
_FEWEST = 64
#: Details beyond this many robust deviations are structure; what normal noise has there is given back by a factor.
_CUT = 3.0
#: Weight of bins above the line: texture only ever adds variance.
_ABOVE = 0.4
#: A line that rises by less than this share of the mean variance over the range of the signal is called flat.
_FLAT = 0.2


@dataclass(frozen=True)
class Details:
    """Noise, signal and flatness of pooled pixels.

    Shape:
        detail [n], level [n], slope [n].
    """

    detail: Values
    level: Values
    slope: Values

    @classmethod
    def of(cls, planes: Sequence[Plane], details: Sequence[Values]) -> "Details":
        """Pool the trusted pixels of several planes."""
        parts = [_pixels(plane, detail) for plane, detail in zip(planes, details, strict=True)]
        pooled = [np.concatenate([part[i] for part in parts]) if parts else np.zeros(0) for i in range(3)]
        return cls(*pooled)

    def flattest(self, share: float) -> Values:
        """Return the detail where the signal is flattest."""
        return self.detail[self.slope <= np.quantile(self.slope, share)] if self.slope.size else self.detail


def fit_poisson_gaussian(image: Values) -> Noise:
    """Return gain, read noise and offset of one image.

    Args:
        image: One plane [y, x], all finite, clipped values left out beforehand by the caller.

    Reference:
        Foi, Trimeche, Katkovnik & Egiazarian, "Practical Poissonian-Gaussian noise modeling and fitting for
        single-image raw-data", TIP 2008; this is a simpler variant without the likelihood of clipped values.
    """
    plane = Plane(image, np.ones(image.shape, bool))
    return fit_line(Details.of([plane], [diagonal_detail(image)]))


def fit_line(pixels: Details) -> Noise:
    """Fit the noise line to pooled pixels; purely Gaussian where the variance does not rise with the signal."""
    level, variance = variance_by_level(pixels)
    return noise_through(level, variance) or Noise(read_std=mad_std(pixels.flattest(0.3)))


def noise_through(level: Values, variance: Values) -> Noise | None:
    """Fit a robust line to variances at signal levels; None where it does not rise.

    Shape:
        level [bin] ascending, variance [bin].
    """
    if len(level) < 3 or variance.max(initial=0) <= 0 or np.ptp(level) == 0:
        return None
    slope, intercept = _robust_line(level, variance)
    if slope * float(np.ptp(level)) < _FLAT * float(variance.mean()):
        return None
    return _as_noise(slope, intercept, level, variance)


def variance_by_level(pixels: Details) -> tuple[Values, Values]:
    """Return mean signal and noise variance of each signal bin."""
    bins = [_bin(pixels, chosen) for chosen in np.array_split(np.argsort(pixels.level, kind="stable"), _BINS)]
    filled = np.array([pair for pair in bins if pair is not None]).reshape(-1, 2)
    return filled[:, 0], filled[:, 1]


def _bin(pixels: Details, chosen: np.ndarray[tuple[int], np.dtype[np.intp]]) -> tuple[float, float] | None:
    slope = pixels.slope[chosen]
    flat = chosen[slope <= np.quantile(slope, _FLAT_SHARE)] if len(chosen) else chosen
    if len(flat) < _FEWEST:
        return None
    return float(pixels.level[flat].mean()), _trimmed_variance(pixels.detail[flat])


def _trimmed_variance(detail: Values) -> float:
    """Return the variance with outliers pulled in: noise of few counts has heavy tails, edges have heavier ones."""
    limit = _CUT * mad_std(detail)
    if limit == 0:
        return float((detail**2).mean())
    return float((np.minimum(np.abs(detail), limit) ** 2).mean()) / _kept_variance(_CUT)


def _kept_variance(cut: float) -> float:
    """Return E[min(|z|, cut)^2] of a standard normal z."""
    tail = math.erfc(cut / math.sqrt(2))
    density = math.exp(-(cut**2) / 2) / math.sqrt(2 * math.pi)
    return (1 - tail) - 2 * cut * density + cut**2 * tail


def _robust_line(level: Values, variance: Values) -> tuple[float, float]:
    """Fit variance = slope * level + intercept with relative weights; what lies above counts less."""
    scale = np.maximum(variance, 1e-3 * variance.max())
    above = np.ones_like(level)
    for _ in range(20):
        weight = above / scale
        slope, intercept = _weighted_line(level, variance, weight**2)
        fitted = slope * level + intercept
        scale = np.maximum(fitted, 0.1 * np.maximum(variance, 1e-3 * variance.max()))
        above = np.where(variance > fitted, math.sqrt(_ABOVE), 1.0)
    return slope, intercept


def _weighted_line(x: Values, y: Values, weight: Values) -> tuple[float, float]:
    """Return slope and intercept of the weighted least-squares line; a level line where x does not vary."""
    mean_x, mean_y = np.average(x, weights=weight), np.average(y, weights=weight)
    run = float((weight * (x - mean_x) ** 2).sum())
    slope = float((weight * (x - mean_x) * (y - mean_y)).sum()) / run if run > 0 else 0.0
    return slope, float(mean_y - slope * mean_x)


def _as_noise(slope: float, intercept: float, level: Values, variance: Values) -> Noise:
    """Name the line in gain, offset and read noise, so that no signal has a variance of zero.

    The line alone does not fix the offset. It is zero where that makes sense, else the darkest level seen.
    """
    dark = float(level[0])
    if intercept >= 0 and dark >= 0:
        return Noise(gain=slope, read_std=math.sqrt(intercept), offset=0.0)
    at_dark = max(slope * dark + intercept, 0.5 * float(variance[0]))
    return Noise(gain=slope, read_std=math.sqrt(at_dark), offset=dark)


def _pixels(plane: Plane, detail: Values) -> tuple[Values, Values, Values]:
    kept = far_from_untrusted(plane)
    level = local_level(plane.values)
    return detail[kept], level[kept], steepness(level)[kept]
