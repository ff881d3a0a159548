"""Bleeding: does what was taken from one channel look like another?

Where a share s of channel b leaks into a restored channel a, the residual of a holds -s times b.
"""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ilcore.qa.photometry import Light, beyond

Values: TypeAlias = NDArray[Any]

#: Smoothing (pixels) under which channels are compared: of sharp edges every denoiser leaves something.
_COARSE = 2.0
#: Variance of a channel, beyond what the others explain of it, below which it cannot be told from them: standard
#: deviation in parts of the value range.
_OWN = 0.02


def bleeding(lights: Sequence[Light]) -> float | None:
    """Return the largest share of one channel that was put into another (above 0) or taken out of it (below 0).

    Args:
        lights: One for each channel.

    Returns:
        The share beyond its error; None where there are no two channels that differ.
    """
    known = np.logical_and.reduce([light.weight > 0 for light in lights])
    if len(lights) < 2 or known.sum() < 400:
        return None
    pictures = np.stack([_smooth(light.picture)[known] for light in lights])
    pictures -= pictures.mean(axis=1, keepdims=True)
    gram = pictures @ pictures.T / pictures.shape[1]
    # What of each channel no combination of the others explains; a trifle more, so that equal ones can be inverted.
    trifle = max(1e-9 * float(np.trace(gram)), 1e-12) * np.eye(len(gram))
    own = 1 / np.diag(np.linalg.inv(gram + trifle))
    found = [share for number, light in enumerate(lights) for share in _shares(number, light, pictures, own, known)]
    return max(found, key=abs) if found else None


def _shares(number: int, light: Light, pictures: Values, own: Values, known: NDArray[np.bool_]) -> list[float]:
    """Return the share of every other channel in what was taken from one."""
    taken = _smooth(light.taken)[known]
    slopes, *_ = np.linalg.lstsq(pictures.T, taken - taken.mean(), rcond=1e-9)
    noise = light.inflation**2 * float(light.variance[known].mean()) / (4 * np.pi * _COARSE**2)
    count = max(taken.size / (4 * np.pi * _COARSE**2), 1)
    errors = np.sqrt(noise / (count * own))
    others = (n for n in range(len(own)) if n != number and own[n] > _OWN**2)
    return [beyond(-float(slopes[n]), float(errors[n])) for n in others]


def _smooth(values: Values) -> Values:
    return np.asarray(ndimage.gaussian_filter(values.astype(np.float64), (0, _COARSE, _COARSE), truncate=3.0))
