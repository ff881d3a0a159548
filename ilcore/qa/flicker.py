"""Movies: does the brightness of frames flicker, and do frames show where things were or will be?

residual of a frame ─┬─ its mean, frame by frame ───────────────── flicker
                     └─ slope on the frames before and after ───── ghosts
"""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ilcore.qa.photometry import Light, beyond

Values: TypeAlias = NDArray[Any]

#: Side of the blocks whose means are compared: where something moves, a few of them are off, and their median is not.
_BLOCK = 16
#: Smoothing (pixels) under which frames are compared.
_COARSE = 1.5
#: Least standard deviation, in noise std, of the change between frames that can leave a ghost.
_MOVED = 0.05
#: How far the share of noise that frames keep may be off.
_DOUBT = 0.02


def movie_checks(lights: Sequence[Light]) -> dict[str, float]:
    """Return `flicker` and `ghosts` of the worst channel; nothing for less than three frames.

    Args:
        lights: One for each channel, [frame, y, x].

    Returns:
        flicker: standard deviation of the brightness that frames gained or lost, over the noise, beyond its error.
        ghosts: share of a neighbouring frame that a frame holds, beyond its error.
    """
    lights = [light for light in lights if len(light.picture) >= 3 and light.weight.any()]
    if not lights:
        return {}
    return {"flicker": max(map(flicker, lights)), "ghosts": max(map(ghosts, lights))}


def flicker(light: Light) -> float:
    """Return by how much frames became brighter or darker than each other, in noise standard deviations."""
    noise = float(np.sqrt(light.variance.sum() / light.weight.sum()))
    means, counts = _blocks(light.taken), _blocks(light.weight)
    means = np.where(counts > 0.5, means / np.maximum(counts, 0.5), np.nan)
    means = means[:, np.isfinite(means).all(axis=0)]
    if not means.size or noise <= 0:
        return 0.0
    frames = np.median(means, axis=1)
    # The median of many means errs by a quarter more than their mean.
    error = 1.25 * light.inflation * noise / np.sqrt(_BLOCK**2 * means.shape[1])
    excess = float(frames.var(ddof=1)) - error**2 * (1 + 4 * np.sqrt(2 / (len(frames) - 1)))
    return float(np.sqrt(max(excess, 0.0))) / noise


def ghosts(light: Light) -> float:
    """Return the share of the frame before or after that frames hold.

    A mean over three frames gives a third, and holds half the difference of its neighbours where things trail behind.
    """
    smooth = [ndimage.gaussian_filter(values, (0, _COARSE, _COARSE)) for values in (light.picture, light.taken)]
    picture, taken = (values.astype(np.float64) for values in smooth)
    before, now, after = picture[:-2], picture[1:-1], picture[2:]
    inside = np.minimum(light.weight[:-2], np.minimum(light.weight[1:-1], light.weight[2:])) > 0
    if not inside.any():
        return 0.0
    noise = light.inflation**2 * float(light.variance[1:-1][inside].mean()) / (4 * np.pi * _COARSE**2)
    rest = _without(taken[1:-1][inside], now[inside])
    # Of the noise, k was kept and 1 - k taken: that is in the residual, and twice in the curvature.
    kept = min(max(1 - float(np.sqrt(rest.var() / max(noise, 1e-12))), 0) + _DOUBT, 0.5)
    curvature = _without((before + after - 2 * now)[inside], now[inside])
    held = _share(-rest, curvature, noise, 2 * kept * (1 - kept) * noise)
    trailing = _share(rest, _without((after - before)[inside], now[inside]), noise, 0.0)
    return max(held, 2 * abs(trailing))


def _share(taken: Values, change: Values, noise: float, allowed: float) -> float:
    """Return the slope of what was taken away on a change between frames, beyond its error and what noise may do."""
    power, product = float((change**2).mean()), float((taken * change).mean())
    if power < _MOVED**2 * noise:
        return 0.0
    count = max(taken.size / (4 * np.pi * _COARSE**2), 1)
    slope = np.sign(product) * max(abs(product) - allowed, 0.0) / power
    return beyond(slope, float(np.sqrt(noise / (count * power))))


def _without(values: Values, other: Values) -> Values:
    """Return values less their mean and what of them follows the others."""
    values, other = values - values.mean(), other - other.mean()
    return np.asarray(values - float((values * other).mean()) / max(float((other**2).mean()), 1e-12) * other)


def _blocks(values: Values) -> Values:
    """Return the means of the blocks of each frame, [frame, block]; what is left at the edges is dropped."""
    frames, rows, columns = values.shape
    side = min(_BLOCK, rows, columns)
    cut = values[:, : rows // side * side, : columns // side * side]
    parts = cut.reshape(frames, rows // side, side, columns // side, side)
    return np.asarray(parts.mean(axis=(2, 4), dtype=np.float64).reshape(frames, -1))
