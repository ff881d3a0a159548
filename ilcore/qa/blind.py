"""What a tile's residual says of its restoration, without the truth.

The residual is what was taken away: noisy minus restored. If the restoration is right it is noise and nothing else: of
the level that was measured, with no lump that noise cannot explain, no trace of the picture, and no mean.

    residual ─┬─ energy against noise ───────────────── residual_level       1 is right; 0: nothing done; >1: too much
              ├─ smoothed, against smoothed noise ───── residual_structure   removed or invented objects, in noise std
              ├─ slope on the picture ───────────────── contrast_loss        0.2: structures a fifth too faint
              ├─ slope on the picture's gradient ────── shift                the picture moved, in voxels
              ├─ neighbours against the noise's own ─── residual_lag
              ├─ outer over inner values ────────────── residual_tails       1 is right; it rests on no level of noise
              └─ mean ───────────────────────────────── flux_change

Energy is compared with that of the noise of the same pixels, and the mean is light that was lost or found; the others
are in units of the noise at each pixel: where it grows with the signal, bright parts would otherwise drown dark ones.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ilcore.grammar.problem import Noise
from ilcore.qa.likeness import inside_limits, is_normal, lagged, likeness
from ilcore.qa.standardised import variance_at
from ilcore.qa.verdict import FAINT

Values: TypeAlias = NDArray[Any]
#: Correlation of the noise with itself one voxel further along y, x and the diagonal.
Lags: TypeAlias = tuple[float, float, float]

#: Widths (pixels) of the smoothing under which lumps are looked for: a small cell, a large one. Finer ones were tried
#: and do not tell: every good denoiser leaves a few pixels of a sharp edge in its residual, up to 12 noise std.
_LUMPS = (3.0, 5.0)
#: Width under which contrast is compared: the noise kept by a denoiser looks like lost contrast at finer ones.
_COARSE = 2.0
#: What a noise estimate may be wrong by, as a factor of the standard deviation; a residual within that is believed.
_TOLERANCE = 1.25
#: Squared gradient in terms of the noise variance below which a picture is flat: kept noise has as much.
_FLAT = 0.02
#: Noise below this part of the value range is rounding, not noise.
_LEAST_STD = 0.002
#: Slopes count only beyond so many standard errors.
_SURE = 5.0
#: A lump of less than 7.5 times this part of the value range is not seen either.
_FAINT_LUMP = 0.001
#: Residuals with less than this part of the noise's energy are nobody's work.
_UNTOUCHED = 0.02


def judge_tile(
    noisy: Values,
    restored: Values,
    trusted: NDArray[np.bool_],
    noise: Sequence[Noise],
    *,
    risk: float | None = None,
    confidence: float = 1.0,
    lags: Sequence[Lags] | None = None,
) -> dict[str, float]:
    """Return the findings on one tile; the worst channel counts.

    Args:
        noisy: Observation, normalised.
        restored: Restoration, in the same units.
        trusted: Where the observation is data.
        noise: Noise of each channel, in the same units.
        risk: Risk that the method estimated itself, if it did.
        confidence: How far the noise estimate can be relied on, 0 to 1.
        lags: Correlation of the noise of neighbours, per channel, as preflight found it. Where it is not given,
            correlated noise (by its `correlation`) is taken to be as correlated as the residual.

    Returns:
        residual_level: mean of residual^2 over the mean variance of the noise, both with FAINT^2 added so that data
            without noise have a level too; 1 is right, below 1 noise was kept.
        residual_structure: largest lump of the smoothed residual, in standard deviations of equally smoothed noise.
        residual_lag: correlation of neighbours in the residual less that of the noise; above 0 structure was removed,
            far below it, where the noise is white, a fine pattern.
        residual_tails: spread of the outer over that of the inner values; 1 for noise, more where edges were removed,
            less where a pattern of few values was.
        contrast_loss: share by which the residual still follows the picture, counted only where it is significant.
        shift: displacement of the picture along its worst axis, voxels, counted only where it is significant.
        flux_change: mean of the residual, in parts of the normalised value range; 0 is right.
        untouched: 1 where visible white noise was left as it was, else 0. Correlated noise is never held against a
            restoration in this way: its estimate may hold texture.
        noise_std, risk, confidence, finite: handed on for the verdict.

    Shape:
        noisy, restored, trusted [channel, z, y, x].

    Reference:
        The level is the discrepancy principle: Morozov, "On the solution of functional equations by the method of
        regularization", Soviet Math. Dokl. 1966. Lumps are a matched filter against noise of known variance.
    """
    given: Sequence[Lags | None] = lags or [None] * len(noise)
    channels = [
        _Channel.of(*each) for each in zip(noisy, restored, trusted, noise, given, strict=True) if each[2].any()
    ]
    worst = _worst([_findings(channel) for channel in channels])
    return worst | {
        "risk": float("nan") if risk is None else risk,
        "confidence": confidence,
        "finite": float(np.isfinite(restored[trusted]).all()),
    }


@dataclass(frozen=True)
class _Channel:
    """Residual, picture, weight and noise variance of one channel, [z, y, x]; zero where nothing is known."""

    residual: Values
    picture: Values
    weight: Values
    variance: Values
    lags: tuple[float, float]
    is_white: bool
    uncut: NDArray[np.bool_]
    is_normal: bool

    @classmethod
    def of(
        cls, noisy: Values, restored: Values, trusted: NDArray[np.bool_], noise: Noise, lags: Lags | None
    ) -> "_Channel":
        picture = np.nan_to_num(restored.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
        residual = np.where(trusted, noisy - picture, 0.0)
        weight = trusted.astype(np.float64)
        variance = variance_at(picture, noise, trusted, _LEAST_STD) * weight
        around = _noise_lags(noise, lags, residual, variance)
        uncut, normal = inside_limits(noisy, trusted, noise), is_normal(noise, float(np.median(picture[trusted])))
        return cls(residual, picture, weight, variance, around, noise.correlation == "white", uncut, normal)


def _noise_lags(noise: Noise, lags: Lags | None, residual: Values, variance: Values) -> tuple[float, float]:
    # What looks like structure has a level, at most, but no correlation that is known.
    if noise.correlation in ("white", "unknown"):
        return 0.0, 0.0
    found = lags[:2] if lags is not None else _neighbours(residual, variance)
    down, across = (float(np.clip(lag, 0.0, 0.9)) for lag in found)
    return down, across


def _findings(channel: _Channel) -> dict[str, float]:
    count = channel.weight.sum()
    found = _neighbours(channel.residual, channel.variance)
    like = likeness(channel.residual, np.sqrt(channel.variance), channel.uncut)
    # At the limits of a detector, and in frames of black, the noise is cut off.
    level = channel.uncut if channel.uncut.sum() > 0.1 * count else channel.weight > 0
    power, variance = float((channel.residual[level] ** 2).mean()), float(channel.variance[level].mean())
    # Where nothing that anybody sees was taken away, or noise has no normal distribution, there are no tails.
    asked = max(FAINT**2, _UNTOUCHED * variance) if channel.is_normal else np.inf
    seen = channel.is_white and variance > FAINT**2
    return {
        "residual_level": (power + FAINT**2) / (variance + FAINT**2),
        "residual_structure": _lump(channel),
        "residual_lag": _beyond(found, channel.lags),
        "residual_tails": like.tails if like and power > asked else float("nan"),
        "contrast_loss": _contrast_loss(channel),
        "shift": _shift(channel),
        "flux_change": float(channel.residual.sum() / count),
        "untouched": float(seen and power < _UNTOUCHED * variance),
        "noise_std": float(np.sqrt(variance)),
    }


def _beyond(found: tuple[float, float], lags: tuple[float, float]) -> float:
    """Return the correlation beyond that of the noise: either way of white noise, of which nothing may be a pattern.

    Of correlated noise a part may stay; what was taken away is less alike then.
    """
    beyond = [a - b for a, b in zip(found, lags, strict=True)]
    return max(beyond, key=abs) if lags == (0.0, 0.0) else max(beyond)


def _worst(found: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the worst of each finding over the channels; mean of the noise."""
    if not found:
        return {}
    worst = {name: max((one[name] for one in found), key=abs) for name in found[0]}
    tails = [one["residual_tails"] for one in found if np.isfinite(one["residual_tails"])]
    # Where nothing was taken away, or too little is seen of it, nobody asks.
    worst.pop("residual_tails")
    if tails:
        worst["residual_tails"] = max(tails, key=lambda each: abs(np.log(max(each, 1e-9))))
    levels = [one["residual_level"] for one in found]
    worst["residual_level"] = max(levels, key=lambda level: abs(np.log(max(level, 1e-9))))
    worst["noise_std"] = float(np.mean([one["noise_std"] for one in found]))
    return worst


def _lump(channel: _Channel) -> float:
    """Return the largest lump in standard deviations of noise smoothed alike.

    The square of a Gaussian of width s is a Gaussian of width s / sqrt(2) times 1 / (4 pi s^2): that gives the variance
    of smoothed noise at every pixel, next to borders and holes too.
    """
    largest = 0.0
    for width in _LUMPS:
        lump = _smooth(channel.residual, width)
        spread = _smooth(channel.variance, width / np.sqrt(2)) / (4 * np.pi * width**2)
        spread = spread * _inflation(channel.lags[0], width) * _inflation(channel.lags[1], width) + _FAINT_LUMP**2
        known = _smooth(channel.weight, width) > 0.2
        largest = max(largest, float(np.max(np.abs(lump[known]) / np.sqrt(spread[known]), initial=0.0)))
    return largest / _excuse(channel)


def _excuse(channel: _Channel) -> float:
    """Return by how much the noise may have been underestimated, judged by the residual's median level."""
    inside = channel.weight > 0
    ratio = np.abs(channel.residual[inside]) / np.sqrt(channel.variance[inside])
    return float(np.clip(np.median(ratio) / 0.6745, 1.0, _TOLERANCE))


def _inflation(lag: float, width: float) -> float:
    """Return how much more variance correlated noise keeps than white noise under smoothing along one axis.

    For noise blurred by a Gaussian of width w neighbours correlate by exp(-1 / (4 w^2)).
    """
    if lag < 0.02:
        return 1.0
    square = -1.0 / (4.0 * np.log(lag))
    return float(np.sqrt((1 + 4 * np.pi * square) * width**2 / (width**2 + square)))


def _contrast_loss(channel: _Channel) -> float:
    """Return the slope of the coarse residual on the coarse picture, less what kept noise alone can make of it.

    Every pixel weighs what its noise allows, as in generalised least squares.
    """
    inside = channel.weight > 0
    norm = np.maximum(_smooth(channel.weight, _COARSE), 1e-6)
    centre = channel.picture[inside].mean()
    picture = (_smooth(channel.weight * (channel.picture - centre), _COARSE) / norm)[inside]
    residual = (_smooth(channel.residual, _COARSE) / norm)[inside]
    weight = 1 / (_smooth(channel.variance, _COARSE) / norm)[inside]
    noise = picture.size / weight.sum() / (4 * np.pi * _COARSE**2)
    noise *= _inflation(channel.lags[0], _COARSE) * _inflation(channel.lags[1], _COARSE)
    weight /= weight.sum()
    picture, residual = picture - weight @ picture, residual - weight @ residual
    covariance, power = float(weight @ (residual * picture)), float(weight @ picture**2)
    # A share k of noise kept gives k (1 - k), at most a quarter of the noise.
    sure = noise / 4 + _SURE * np.sqrt(noise * power / max(picture.size / (4 * np.pi * _COARSE**2), 1))
    excess = np.sign(covariance) * max(abs(covariance) - sure, 0.0)
    return float(excess / max(power, 1e-12))


def _shift(channel: _Channel) -> float:
    """Return the displacement that the residual shows: if the picture moved by d, the residual holds d * gradient."""
    moved = [0.0]
    inflation = _inflation(channel.lags[0], 4.0) * _inflation(channel.lags[1], 4.0)
    for axis in range(3):
        if channel.picture.shape[axis] < 3:
            continue
        gradient = np.gradient(channel.picture, axis=axis)
        weight = np.divide(channel.weight, channel.variance, out=np.zeros_like(gradient), where=channel.variance > 0)
        energy = float((weight * gradient**2).sum())
        slope = abs(float((weight * gradient * channel.residual).sum()))
        doubt = _SURE * _excuse(channel) * np.sqrt(energy * inflation)
        moved.append(max(slope - doubt, 0.0) / (energy + _FLAT * float(channel.weight.sum()) + 1e-12))
    return max(moved)


def _neighbours(residual: Values, variance: Values) -> tuple[float, float]:
    """Return the correlation of neighbours along y and x, every pixel in units of its own noise."""
    inside = variance > 0
    std, count = np.sqrt(np.where(inside, variance, 1.0)), max(int(inside.sum()), 1)
    centred = (residual - residual.sum() / count) / std * inside
    # Rounding errors may be as alike as they please.
    power = float((centred**2 + inside * (_LEAST_STD / std) ** 2).sum()) / count
    return lagged(centred, inside, (1, 0)) / power, lagged(centred, inside, (0, 1)) / power


def _smooth(values: Values, width: float) -> Values:
    smoothed: Values = ndimage.gaussian_filter(values, (0, width, width), mode="constant", truncate=3.0)
    return smoothed
