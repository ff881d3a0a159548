"""Whether what was taken away looks like noise; this needs no estimate of how strong the noise is.

Noise in units of its own deviation is normally distributed: tails and middle stand in one proportion. What a denoiser
takes from edges and textures has heavy tails, what it takes from a pattern of few values has none. Noise that is white
has no likeness to itself a step away, in no direction and of no sign.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ilcore.grammar.problem import Noise

Values: TypeAlias = NDArray[Any]

#: What a residual that is noise has: tails in this range, no correlation beyond this.
TAILS, LAG = (0.75, 1.35), 0.3
#: (q98 - q2) / (q75 - q25) of a normal variable.
_NORMAL = 4.1075 / 1.3490
#: Steps along y and x at which a residual is compared with itself.
_STEPS = ((0, 1), (1, 0), (1, 1), (1, -1), (0, 2), (2, 0))
#: Below this share of its usual variance the noise has vanished.
_VANISHED = 0.3
#: Up to so many counts noise is skewed and takes few values.
_FEW_COUNTS = 4.0
#: Fewer values tell nothing.
_FEWEST = 200


@dataclass(frozen=True, kw_only=True)
class Likeness:
    """How a residual compares with noise.

    Args:
        tails: Spread of the outer over that of the inner values; 1 for normal noise, 1.5 for a Laplacian, 0.3 for two
            values. A few outliers do not move it.
        lag: Correlation with itself one or two steps away, less that of the noise; the one farthest from 0. Of
            correlated noise, of which a part may stay, the largest.
    """

    tails: float
    lag: float

    def doubt(self, *, is_normal: bool = True) -> str:
        """Return why a residual like this is no noise; empty where it may be.

        Args:
            is_normal: Whether noise is normally distributed here.
        """
        if is_normal and not TAILS[0] <= self.tails <= TAILS[1]:
            return f"it is not normally distributed (tails {self.tails:.2f}, of noise 1)"
        if not -LAG <= self.lag <= LAG:
            return f"it is alike from pixel to pixel (correlation {self.lag:+.2f} beyond the noise's own)"
        return ""


def likeness(
    residual: Values, std: Values, inside: NDArray[np.bool_], lags: tuple[float, float] = (0.0, 0.0)
) -> Likeness | None:
    """Compare a residual with noise; None where too little of it is inside.

    Args:
        residual: What was taken away.
        std: Standard deviation of the noise at each value.
        inside: Where the observation is data and no limit of the detector cut it off.
        lags: Correlation of the noise of neighbours along y and x.

    Shape:
        residual, std, inside [..., y, x].
    """
    if inside.sum() < _FEWEST:
        return None
    scaled = np.divide(residual, std, out=np.zeros(residual.shape), where=inside & (std > 0))
    values = scaled[inside]
    low, first, third, high = np.quantile(values, (0.02, 0.25, 0.75, 0.98))
    centred = np.where(inside, scaled - values.mean(), 0.0)
    power = float((centred**2).sum() / inside.sum())
    if power == 0:
        return Likeness(tails=1.0, lag=0.0)
    beyond = [lagged(centred, inside, step) / power - expected for step, expected in _expected(lags)]
    tails = (high - low) / max(float(third - first), 1e-12) / _NORMAL
    lag = max(beyond, key=abs) if lags == (0.0, 0.0) else max(beyond)
    return Likeness(tails=float(tails), lag=lag)


def is_normal(noise: Noise, level: float) -> bool:
    """Tell whether noise at a level is normally distributed, nearly: that of a few counts is not."""
    counted = noise.gain * max(level - noise.offset, 0.0)
    if counted < 0.5 * float(noise.variance(level)):
        return True
    return counted > _FEW_COUNTS * noise.gain**2


def inside_limits(values: Values, valid: NDArray[np.bool_], noise: Noise) -> NDArray[np.bool_]:
    """Return where values are data and not at a limit of the detector, at which many values pile up.

    Where the noise vanishes in the dark, as that of counts does, many equal dark values are no limit.

    Shape:
        values, valid [..., y, x].
    """
    inside, share = valid.copy(), 0.003 * max(int(valid.sum()), 1)
    if not valid.any():
        return inside
    usual = float(np.mean(noise.variance(values[valid])))
    for limit in (values[valid].min(), values[valid].max()):
        at = valid & (values == limit)
        if at.sum() > share and noise.variance(float(limit)) > _VANISHED * usual:
            inside &= ~at
    return inside


def _expected(lags: tuple[float, float]) -> Iterator[tuple[tuple[int, int], float]]:
    """Yield the steps and the correlation that noise has there; of noise that is correlated, only what was measured."""
    is_white = lags == (0.0, 0.0)
    for step in _STEPS:
        if step in ((1, 0), (0, 1)):
            yield step, lags[step == (0, 1)]
        elif is_white:
            yield step, 0.0


def lagged(centred: Values, inside: NDArray[np.bool_], step: tuple[int, int]) -> float:
    """Return the mean product of values with those a step along y and x away; 0 where there are no pairs.

    Shape:
        centred, inside [..., y, x]; centred is 0 where it is not inside.
    """
    down, right = step
    ahead = (..., slice(down, None), slice(max(right, 0), centred.shape[-1] + min(right, 0)))
    height = centred.shape[-2] - down
    behind = (..., slice(0, height), slice(max(-right, 0), centred.shape[-1] - max(right, 0)))
    pairs = float((inside[ahead] & inside[behind]).sum())
    return float((centred[ahead] * centred[behind]).sum()) / pairs if pairs else 0.0
