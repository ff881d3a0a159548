"""The noise of flat places, by detail that had no say in choosing them.

The finest wavelet bands of white noise are independent of each other where the transform is orthonormal. So the coarse
band says where nothing changes, and the diagonal one, there, says how strong the noise is: without the bias of places
that were chosen because they look calm. The two other bands are witnesses: fine texture and correlated noise show in
them first.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ilcore.degradations.planes import Trust, Values
from ilcore.degradations.wavelets import DB4, DB4_HIGH
from ilcore.grammar.problem import Noise

#: Width of the smoothing before the slope is taken, and over which its square is averaged, in coarse pixels.
_SMOOTH, _AROUND = 1.5, 2.0
#: Standard deviation of a slope of smoothed white noise of unit variance, in both directions together, halved as the
#: coarse band is; and how much more than its square is still flat.
_NOISE_SLOPE, _FLAT = 0.0627, 1.3
#: Sides of the smallest plane in which anything can be flat.
_LEAST = 24


@dataclass(frozen=True)
class FlatDetail:
    """Sums over the flat places of some planes, in units of the expected variance.

    Args:
        places: How many there are.
        diagonal, rows, columns: Means of the squared detail: high along both axes, along x only, along y only.
        fourth: Mean of its fourth power, all three bands.
    """

    places: int = 0
    diagonal: float = float("nan")
    rows: float = float("nan")
    columns: float = float("nan")
    fourth: float = float("nan")


def flat_detail(planes: Iterable[tuple[Values, Trust]], noise: Noise) -> FlatDetail:
    """Return what the flat places of planes say of a noise law.

    Args:
        planes: Values and where they are data, [y, x] each.
        noise: The law, in the units of the values.

    Reference:
        Donoho & Johnstone, "Ideal spatial adaptation by wavelet shrinkage", Biometrika 1994 (level from the finest
        diagonal band).
    """
    squares = [_squares(values, trusted, noise) for values, trusted in planes if min(values.shape) >= _LEAST]
    found = np.concatenate(squares, 1) if squares else np.zeros((3, 0))
    if not found.shape[1]:
        return FlatDetail()
    diagonal, rows, columns = found.mean(1).tolist()
    return FlatDetail(found.shape[1], diagonal, rows, columns, float((found**2).mean()))


def _squares(values: Values, trusted: Trust, noise: Noise) -> NDArray[np.float64]:
    """Return the squared detail of the flat places of one plane over the variance there, [band, place]."""
    low, high = _halved(values, DB4, 0), _halved(values, DB4_HIGH, 0)
    coarse = ndimage.gaussian_filter(_halved(low, DB4, 1) / 2, _SMOOTH)
    variance = np.asarray(noise.variance(coarse), np.float64)
    square = np.square(np.gradient(coarse)).sum(0) / np.maximum(variance, 1e-12)
    flat = (ndimage.gaussian_filter(square, _AROUND) < _FLAT * _NOISE_SLOPE**2) & (variance > 0)
    flat &= _far_from_holes(trusted)
    bands = _halved(high, DB4_HIGH, 1), _halved(low, DB4_HIGH, 1), _halved(high, DB4, 1)
    return np.stack([band[flat] ** 2 / variance[flat] for band in bands])


def _halved(values: Values, taps: NDArray[np.float64], axis: int) -> Values:
    """Filter along an axis and keep every second value, none of which touches a border."""
    filtered = ndimage.correlate1d(values, taps, axis=axis)
    return np.asarray(filtered[4:-4:2] if axis == 0 else filtered[:, 4:-4:2])


def _far_from_holes(trusted: Trust) -> Trust:
    far = trusted if trusted.all() else ~ndimage.maximum_filter(~trusted, 25)
    return np.asarray(far[4:-4:2, 4:-4:2])
