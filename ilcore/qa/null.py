"""What a restoration makes of nothing: noise on one level, of which the level alone may be left.

    noise on a level ─> method ─> less the level ─┬─ all of it ────────── null noise    0: flat, 1: nothing done
                                                  ├─ its coarse part ──── null worms    blobs, worms, grain of a filter
                                                  ├─ largest lump ─────── null lump     an object that was invented
                                                  └─ mean, less the one before ─ null bias

There is nothing to be found in it, so whatever has a shape was invented or left. None of the numbers asks how the
method works, and all are measured against the very noise that went in: chance in the draw takes little part.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ilcore.grammar.problem import Noise
from ilcore.qa.verdict import NULL_LIMITS

Values: TypeAlias = NDArray[Any]

#: Width in pixels of the smoothing that tells grain of several pixels from single ones.
_COARSE = 1.0
#: What that smoothing leaves of the deviation of white noise.
_WHITE = 1 / (2 * np.sqrt(np.pi) * _COARSE)
#: Share of the deviation it should have that noise is taken to have at least.
_LEAST = 0.5


def law_of(noise: Noise) -> str:
    """Return which limits hold for what is left of such noise."""
    if noise.correlation in ("row", "column"):
        return "lines"
    if noise.correlation == "isotropic":
        return "isotropic"
    return "counts" if noise.gain > 0 else "white"


def null_numbers(seen: Values, restored: Values, levels: Values, stds: Values) -> dict[str, float]:
    """Return the findings on what a method made of fields of noise; the worst field counts.

    Args:
        seen: Noise on a level, one field a level.
        restored: What the method made of it.
        levels: The levels.
        stds: Standard deviation of the noise at each level.

    Returns:
        null noise: what is left of the deviation of the noise.
        null worms: the same of noise and image under a smoothing of one pixel.
        null lump: largest lump under that smoothing, in standard deviations of noise smoothed alike.
        null bias: change of the mean, in standard deviations of the noise of a pixel.

    Shape:
        seen, restored [field, z, y, x]; levels, stds [field].
    """
    place = (slice(None), None, None, None)
    before, after = ((values - levels[place]) / stds[place] for values in (seen, restored))
    bias = (after - before).mean((1, 2, 3))
    before, after = (values - values.mean((1, 2, 3), keepdims=True) for values in (before, after))
    coarse = _coarse(after)
    # On a level without light there may be hardly any noise: what is left then is compared with what should be there.
    std, grain = np.maximum(_rms(before), _LEAST), np.maximum(_rms(_coarse(before)), _LEAST * _WHITE)
    return {
        "null noise": float((_rms(after) / std).max()),
        "null worms": float((_rms(coarse) / grain).max()),
        "null lump": float((np.abs(coarse).max((1, 2, 3)) / grain).max()),
        "null bias": float(bias[np.abs(bias).argmax()]),
    }


def worst_channel(found: Sequence[tuple[str, Mapping[str, float]]]) -> dict[str, tuple[float, str]]:
    """Return, of each check, the number that is worst against the limits of its law, and that law.

    Args:
        found: Law and numbers of each channel.
    """
    worst = {}
    for check in NULL_LIMITS["white"]:
        numbers = [(numbers[check], law) for law, numbers in found]
        worst[check] = max(numbers, key=lambda each: abs(each[0]) / NULL_LIMITS[each[1]][check].passes[1])
    return worst


def _coarse(values: Values) -> Values:
    smoothed: Values = ndimage.gaussian_filter(values, (0, 0, _COARSE, _COARSE), mode="reflect")
    return smoothed


def _rms(values: Values) -> Values:
    root: Values = np.sqrt((values**2).mean((1, 2, 3)))
    return root
