"""Residuals in units of the noise at each pixel.

Noise of counts is strongest where the picture is bright: in grey levels an innocent residual is a faint copy of the
picture, and only in units of the noise that is expected at each pixel does it look, and count, like noise alone.
"""

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ilcore.grammar.problem import Noise

Values: TypeAlias = NDArray[Any]

#: Least share of the mean variance that any pixel is taken to have.
_LEAST_SHARE = 0.02


def variance_at(picture: Values, noise: Noise, known: NDArray[np.bool_], least_std: float = 0.0) -> NDArray[np.float64]:
    """Return the variance of the noise at every pixel of a restored picture, never nearly zero.

    A restoration a little below the dark level would make the variance vanish; the mean over the picture does not.

    Args:
        picture: Restored values, finite.
        noise: Its law, in the same units.
        known: Where there is data; the mean is taken there.
        least_std: Standard deviation below which nothing counts as noise, in the same units.

    Shape:
        picture, known [*any] -> the same.
    """
    variance = np.asarray(noise.variance(picture), np.float64)
    mean = float(variance[known].mean()) if known.any() else 0.0
    return np.maximum(variance, max(_LEAST_SHARE * mean, least_std**2))


def std_of_mean(count: float, lag: float) -> float:
    """Return the standard deviation of the mean of neighbours along a line, in terms of that of one of them.

    Args:
        count: How many; what lies between two whole numbers is interpolated.
        lag: Correlation of next neighbours. Those k apart are taken to be correlated by lag^(k^2), as in white noise
            through a Gaussian filter.
    """
    whole = max(1, int(count))
    low, high = (_variance_of_mean(number, lag) for number in (whole, whole + 1))
    return float(np.sqrt(low + (max(count, 1.0) - whole) * (high - low)))


def _variance_of_mean(count: int, lag: float) -> float:
    apart = np.arange(1, count)
    alike = np.clip(lag, 0.0, 0.99) ** (apart**2.0)
    return float(1 + 2 * ((1 - apart / count) * alike).sum()) / count
