"""A second witness beside the noise estimate: what is taken for noise must look like it, and not exceed its floor.

Texture and noise that neighbours share look alike to estimators of levels: both vary everywhere and correlate. Two
things tell them apart that rest on no level:

    shape    noise is normally distributed, in the calmest blocks too; the ridges and shadows of a texture are not
    floor    white noise is in every direction that patches can vary in, so no direction varies less than it does

Calmest blocks of 120 generated cases and 60 real fields: correlated noise had a kurtosis of 2.6 to 3.2 (3.45 once),
brick, grass, gravel, checkerboards, clean photographs and bands of satellites 3.5 and more, or 2.1 and less
(`python -m tests.bench.witness`).
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ilcore.degradations.blocks import SmoothBlocks
from ilcore.degradations.levels import pca_level_of
from ilcore.degradations.planes import Plane, Values
from ilcore.grammar.problem import Noise

#: Kurtosis and skewness of normal noise, with what a few dozen blocks may miss them by.
_KURTOSIS, _SKEWNESS = (2.4, 3.4), 0.5
#: A level above the floor by this factor is not believed.
_ABOVE_FLOOR = 1.25
#: Patches that the floor is measured on, their side and how many are needed.
_PATCHES, _SIDE, _FEWEST = 40_000, 8, 400


def is_like_noise(blocks: SmoothBlocks) -> bool:
    """Tell whether what varies in the calmest blocks is normally distributed."""
    return _KURTOSIS[0] <= blocks.kurtosis <= _KURTOSIS[1] and abs(blocks.skewness) <= _SKEWNESS


def white_floor(planes: Sequence[Plane]) -> float | None:
    """Return the most that the standard deviation of white noise can be; None where there are too few patches.

    Reference:
        Chen, Zhu & Heng, "An efficient statistical method for image noise level estimation", ICCV 2015.
    """
    pixels = sum(plane.values.size for plane in planes)
    stride = max(3, int(np.sqrt(pixels / _PATCHES)))
    found = [_patches(plane, stride) for plane in planes if min(plane.values.shape) >= _SIDE]
    patches = np.concatenate(found) if found else np.zeros((0, _SIDE**2))
    return pca_level_of(patches) if len(patches) >= _FEWEST else None


def below_floor(noise: Noise, level: Values, floor: float | None) -> Noise:
    """Return the noise, weaker by as much as its mean over the levels exceeds the floor.

    Args:
        noise: As the fine detail has it.
        level: Signal at many pixels.
        floor: The most that white noise can be.
    """
    mean = float(np.mean(noise.gain * np.maximum(level - noise.offset, 0) + noise.read_std**2)) if level.size else 0.0
    if floor is None or mean <= (_ABOVE_FLOOR * floor) ** 2:
        return noise
    share = floor**2 / mean
    return replace(noise, gain=noise.gain * share, read_std=noise.read_std * float(np.sqrt(share)))


def _patches(plane: Plane, stride: int) -> Values:
    """Return the patches of a plane that are data throughout, [patch, pixel]."""
    windows = np.lib.stride_tricks.sliding_window_view(plane.values, (_SIDE, _SIDE))[::stride, ::stride]
    patches = np.asarray(windows.reshape(-1, _SIDE**2))
    if plane.trusted.all():
        return patches
    trusted = np.lib.stride_tricks.sliding_window_view(plane.trusted, (_SIDE, _SIDE))[::stride, ::stride]
    return patches[trusted.reshape(-1, _SIDE**2).all(1)]
