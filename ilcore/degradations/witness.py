"""A second witness beside the noise estimate: what is taken for noise must look like it, and not exceed its floor.

Texture and noise that neighbours share look alike to estimators of levels: both vary everywhere and correlate. Three
things tell them apart that rest on no level:

    shape    noise is normally distributed, in the calmest blocks too; the ridges and shadows of a texture are not
    floor    white noise is in every direction that patches can vary in, so no direction varies less than it does, and
             where half of them vary alike, that is white noise
    blocks   steps at every eighth pixel are left by JPEG; what neighbours share is then the coder's doing

What each of them says of labelled images is shown by `python -m tests.bench.witness`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ilcore.degradations.blocks import SmoothBlocks
from ilcore.degradations.levels import level_of, patch_eigenvalues
from ilcore.degradations.planes import Plane, Values
from ilcore.grammar.problem import Noise

#: Kurtosis and skewness of normal noise, with what a few dozen blocks may miss them by.
_KURTOSIS, _SKEWNESS = (2.4, 3.4), 0.5
#: Blocks of JPEG, and from how many deviations on their steps stand out.
_BLOCK, _GRID = 8, 8.0
#: A level above the floor by this factor is not believed.
_ABOVE_FLOOR = 1.25
#: The middle eigenvalue over the least but one: 1.3 to 1.4 for white noise, 2.1 to 3 for grass and gravel, 4.8 and more
#: for noise that neighbours share; of fewer patches it tells nothing.
_FLAT, _FEWEST_FOR_FLATNESS = 1.6, 2500
#: Patches that the floor is measured on, their side and how many are needed.
_PATCHES, _SIDE, _FEWEST = 40_000, 8, 400


def is_like_noise(blocks: SmoothBlocks) -> bool:
    """Tell whether what varies in the calmest blocks is normally distributed."""
    return _KURTOSIS[0] <= blocks.kurtosis <= _KURTOSIS[1] and abs(blocks.skewness) <= _SKEWNESS


@dataclass(frozen=True)
class Floor:
    """What patches say of white noise, whatever lies below it.

    Args:
        level: The most that its standard deviation can be.
        flatness: The middle eigenvalue of their covariance over the least but one; none where patches are too few.
    """

    level: float
    flatness: float | None = None

    @property
    def is_flat(self) -> bool:
        """Tell whether half of all directions vary alike: that is white noise, and `level` is its level.

        Texture, and noise that neighbours share, vary less and less from one direction to the next.
        """
        return self.flatness is not None and self.flatness < _FLAT


def floor_of(planes: Sequence[Plane]) -> Floor | None:
    """Return the floor of some planes; None where there are too few patches.

    Reference:
        Chen, Zhu & Heng, "An efficient statistical method for image noise level estimation", ICCV 2015.
    """
    patches = _pooled_patches(planes)
    if len(patches) < _FEWEST:
        return None
    eigenvalues = patch_eigenvalues(patches)
    level = level_of(eigenvalues)
    if len(patches) < _FEWEST_FOR_FLATNESS:
        return Floor(level)
    return Floor(level, float(eigenvalues[len(eigenvalues) // 2] / max(eigenvalues[1], np.finfo(float).tiny)))


def below_floor(noise: Noise, level: Values, floor: Floor | None) -> Noise:
    """Return the noise, weaker by as much as its mean over the levels exceeds the floor.

    Args:
        noise: As the fine detail has it.
        level: Signal at many pixels.
        floor: What white noise can be at most.
    """
    mean = float(np.mean(noise.gain * np.maximum(level - noise.offset, 0) + noise.read_std**2)) if level.size else 0.0
    if floor is None or mean <= (_ABOVE_FLOOR * floor.level) ** 2:
        return noise
    share = floor.level**2 / mean
    return replace(noise, gain=noise.gain * share, read_std=noise.read_std * float(np.sqrt(share)))


def _pooled_patches(planes: Sequence[Plane]) -> Values:
    pixels = sum(plane.values.size for plane in planes)
    stride = max(3, int(np.sqrt(pixels / _PATCHES)))
    found = [_patches(plane, stride) for plane in planes if min(plane.values.shape) >= _SIDE]
    return np.concatenate(found) if found else np.zeros((0, _SIDE**2))


def _patches(plane: Plane, stride: int) -> Values:
    """Return the patches of a plane that are data throughout, [patch, pixel]."""
    windows = np.lib.stride_tricks.sliding_window_view(plane.values, (_SIDE, _SIDE))[::stride, ::stride]
    patches = np.asarray(windows.reshape(-1, _SIDE**2))
    if plane.trusted.all():
        return patches
    trusted = np.lib.stride_tricks.sliding_window_view(plane.trusted, (_SIDE, _SIDE))[::stride, ::stride]
    return patches[trusted.reshape(-1, _SIDE**2).all(1)]


def has_block_grid(planes: Sequence[Plane]) -> bool:
    """Tell whether steps repeat every eighth pixel along both axes, as blocks of JPEG leave them.

    What neighbours share is then what the coder left of them.
    """
    return grid_strength(planes) > _GRID


def grid_strength(planes: Sequence[Plane]) -> float:
    """Return how far steps at every eighth pixel stand out, in deviations, along the axis where they do so less."""
    steps = [[_grid_steps(each) for each in (plane.values, plane.values.T)] for plane in planes]
    return float(np.median(steps, axis=0).min()) if steps else 0.0


def _grid_steps(values: Values) -> float:
    """Return how far the steps at one phase of eight columns stand out from those at the others, in deviations."""
    step = np.abs(np.diff(values, axis=1)).mean(0)
    beside = step[1:-1] - (step[:-2] + step[2:]) / 2
    if len(beside) < 4 * _BLOCK:
        return 0.0
    phases = [beside[phase::_BLOCK] for phase in range(_BLOCK)]
    means = np.array([float(np.median(phase)) for phase in phases])
    best = int(means.argmax())
    others = np.concatenate([phase for number, phase in enumerate(phases) if number != best])
    spread = float(np.median(np.abs(others - np.median(others)))) * 1.4826 + 1e-12
    return float(means[best] - np.median(others)) / spread * float(np.sqrt(len(phases[best])))
