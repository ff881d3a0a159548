"""What a tile's residual says of its restoration, without the truth.

The residual is what was taken away: noisy minus restored. If the restoration is right it is noise and nothing else: of
the level that was measured, without structure, without a mean.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ilcore.grammar.problem import Noise

Values = NDArray[np.floating[Any]]
#: Width over which structure is looked for, in pixels: finer than cells, coarser than noise.
_COARSE = 2.0


def judge_tile(
    noisy: Values,
    restored: Values,
    trusted: NDArray[np.bool_],
    noise: Sequence[Noise],
    *,
    risk: float | None = None,
    confidence: float = 1.0,
) -> dict[str, float]:
    """Return the findings on one tile; the worst channel counts.

    Args:
        noisy: Observation, normalised.
        restored: Restoration, in the same units.
        trusted: Where the observation is data.
        noise: Noise of each channel, in the same units.
        risk: Risk that the method estimated itself, if it did.
        confidence: How far the noise estimate can be relied on, 0 to 1.

    Returns:
        residual_level: mean of residual^2 over the variance of the noise; 1 is right, below 1 noise was kept.
        residual_structure: absolute correlation of residual and restoration, both smoothed and without their means.
        residual_lag: correlation of neighbours in the residual less that of the noise as measured.
        flux_change: mean of the residual, in parts of the normalised value range; 0 is right.
        noise_std, risk, confidence, finite: handed on for the verdict.

    Shape:
        noisy, restored, trusted [channel, z, y, x].
    """
    found = [_channel(*each) for each in zip(noisy, restored, trusted, noise, strict=True) if each[2].any()]
    worst = {name: _worst(name, [one[name] for one in found]) for name in (found[0] if found else {})}
    return worst | {
        "risk": float("nan") if risk is None else risk,
        "confidence": confidence,
        "finite": float(np.isfinite(restored[trusted]).all()),
    }


def _worst(name: str, values: list[float]) -> float:
    if name == "residual_level":
        return max(values, key=lambda value: abs(np.log(max(value, 1e-9))))
    if name == "noise_std":
        return float(np.mean(values))
    return max(values, key=abs)


def _channel(noisy: Values, restored: Values, trusted: NDArray[np.bool_], noise: Noise) -> dict[str, float]:
    restored = np.nan_to_num(restored, nan=0.0, posinf=0.0, neginf=0.0)
    residual = np.where(trusted, noisy - restored, 0).astype(np.float64)
    variance = np.maximum(noise.variance(restored.astype(np.float64)), 1e-12)
    level = float((residual**2 / variance)[trusted].mean())
    return {
        "residual_level": level,
        "residual_structure": _structure(residual, restored, trusted, variance),
        "residual_lag": _lag(residual, trusted),
        "flux_change": float(residual[trusted].mean()),
        "noise_std": float(np.sqrt(variance[trusted].mean())),
    }


def _structure(residual: Values, restored: Values, trusted: NDArray[np.bool_], variance: Values) -> float:
    """Return how much of the coarse residual looks like the coarse image; pure noise gives about 0."""
    weight = np.maximum(_smooth(trusted.astype(np.float64)), 1e-6)
    coarse = _smooth(residual / np.sqrt(variance)) / weight
    centred = np.where(trusted, restored - restored[trusted].mean(), 0)
    image = _smooth(centred) / weight
    # Against the image and against its own curvature: smoothing too much removes peaks, which both show.
    return max(_correlation(coarse, image, trusted), _correlation(coarse, _smooth(image) - image, trusted))


def _smooth(values: Values) -> Values:
    return ndimage.gaussian_filter(values, (0, _COARSE, _COARSE), mode="nearest")


def _correlation(one: Values, two: Values, trusted: NDArray[np.bool_]) -> float:
    a, b = one[trusted] - one[trusted].mean(), two[trusted] - two[trusted].mean()
    scale = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return abs(float((a * b).sum()) / scale) if scale > 1e-12 else 0.0


def _lag(residual: Values, trusted: NDArray[np.bool_]) -> float:
    """Return the larger correlation of neighbours along y and x."""
    centred = np.where(trusted, residual - residual[trusted].mean(), 0)
    power = max(float((centred**2).mean()), 1e-12)
    lags = [float((centred.take(range(1, n), axis) * centred.take(range(n - 1), axis)).mean()) / power
            for axis, n in ((1, residual.shape[1]), (2, residual.shape[2])) if n > 1]  # fmt: skip
    return max(lags, key=abs, default=0.0)
