"""Whole numbers that are counted photons: their variance is their mean, whatever else is in the picture.

At a few counts the fine detail of an image has no normal distribution, and estimators that rely on it find nothing.
"""

from collections.abc import Sequence

import numpy as np

from ilcore.degradations.planes import Values
from ilcore.grammar.problem import Noise

#: The noise of counts.
COUNTED = Noise(gain=1.0)
#: Side of a block, how many are needed, the mean beyond which other estimators do, and the share of calm blocks.
_SIDE, _FEWEST, _MOST, _CALM = 6, 40, 12.0, 0.25
#: Variance over mean of the calm blocks of counts; being the calmest, they are a little calmer than the rest.
_RATIO = (0.72, 1.15)


def are_counts(planes: Sequence[Values]) -> bool:
    """Tell whether low values have the variance of counts, in the calmer blocks of every stretch of brightness."""
    values = [plane[np.isfinite(plane)] for plane in planes]
    pooled = np.concatenate(values) if values else np.zeros(0)
    if pooled.size == 0 or pooled.min() < 0 or not 0 < pooled.mean() <= _MOST:
        return False
    found = [_blocks(plane) for plane in planes]
    mean, variance = (np.concatenate([each[part] for each in found]) for part in (0, 1))
    lit = mean > 0.1
    if lit.sum() < _FEWEST:
        return False
    order = np.argsort(mean[lit])
    ratio = (variance[lit] / mean[lit])[order]
    calm = [float(np.quantile(stretch, _CALM)) for stretch in np.array_split(ratio, 4)]
    # Structure adds to the variance and takes nothing from it.
    return min(calm) >= _RATIO[0] and sum(each <= _RATIO[1] for each in calm) >= 2


def _blocks(plane: Values) -> tuple[Values, Values]:
    """Return mean and variance of the blocks of a plane that are data throughout."""
    height, width = (length // _SIDE for length in plane.shape)
    cut = plane[: height * _SIDE, : width * _SIDE].reshape(height, _SIDE, width, _SIDE).swapaxes(1, 2)
    blocks = cut.reshape(-1, _SIDE * _SIDE)
    blocks = blocks[np.isfinite(blocks).all(1)]
    return blocks.mean(1), blocks.var(1, ddof=1)
