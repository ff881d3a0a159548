"""The finest diagonal detail of an image: almost only noise, if the noise is white."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ilcore.degradations.planes import Plane, Trust, Values

#: Daubechies, "Orthonormal bases of compactly supported wavelets", 1988: low-pass filter with four vanishing moments.
DB4 = np.array(
    [
        0.23037781330885523, 0.7148465705525415, 0.6308807679295904, -0.02798376941698385,
        -0.18703481171888114, 0.030841381835986965, 0.032883011666982945, -0.010597401784997278,
    ]
)  # fmt: skip

#: The matching high-pass filter.
DB4_HIGH = DB4[::-1] * np.array([1.0, -1.0] * 4)


def diagonal_detail(values: Values) -> Values:
    """Filter high-pass along both axes without decimation; white noise keeps its standard deviation."""
    return _along(_along(values, DB4_HIGH, 0), DB4_HIGH, 1)


def finest_details(values: Values) -> tuple[Values, Values, Values]:
    """Return the three finest bands: high in y, high in x, high in both."""
    low, high = _along(values, DB4, 0), _along(values, DB4_HIGH, 0)
    return _along(high, DB4, 1), _along(low, DB4_HIGH, 1), _along(high, DB4_HIGH, 1)


def local_level(values: Values) -> Values:
    """Return the mean of 7x7 pixels around each."""
    return np.asarray(ndimage.uniform_filter(values, 7))


def steepness(level: Values) -> Values:
    """Return the length of the gradient of a smoothed image."""
    slopes = [np.gradient(level, axis=axis) if level.shape[axis] > 1 else np.zeros_like(level) for axis in (0, 1)]
    return np.asarray(np.hypot(*slopes))


def far_from_untrusted(plane: Plane) -> Trust:
    """Return where neither the filter nor the local level touches an untrusted value."""
    if plane.trusted.all():
        return plane.trusted
    return np.asarray(~ndimage.maximum_filter(~plane.trusted, 9))


def _along(values: Values, taps: NDArray[np.float64], axis: int) -> Values:
    return np.asarray(ndimage.convolve1d(values, taps, axis=axis, mode="reflect"))
