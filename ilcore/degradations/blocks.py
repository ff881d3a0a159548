"""Noise in smooth blocks: level and correlation, the only estimate that survives blurred noise.

An image is cut into 16x16 blocks, a plane is fitted to each and subtracted; in the blocks of lowest variance what is
left is noise. Products of the residual with its shifted self give the correlation of neighbours.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ilcore.degradations.planes import Plane, Values
from ilcore.degradations.wavelets import diagonal_detail

#: Block side in pixels.
SIDE = 16
#: A block may hold this share of untrusted values.
_UNTRUSTED_ALLOWED = 0.05
#: Texture that leaks into smooth blocks has about this ratio of its first to its third lag (natural images).
_LEAK = 4.0
#: Above this share of low frequencies the leak of texture cannot be told from blur, and is not subtracted.
_LEAK_SHARE = 0.65
#: First lag of texture alone, in smooth blocks (natural images).
_TEXTURE_LAG = 0.9
#: Blur that gives neighbours the correlation r takes about this times r from the diagonal detail, for each axis.
_BLUR_LOSS = 1.25
#: Signal bins for the level of correlated noise, and the share of their blocks that counts as calm.
_BINS = 12
_CALM = 0.2
#: Degrees of freedom of a block without its plane.
_FREEDOM = SIDE * SIDE - 3
#: Below this share of the largest value a deviation is rounding of 64-bit numbers.
_ROUNDING = 1e-10

Blocks: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class SmoothBlocks:
    """What the smoothest blocks say.

    Args:
        std: Noise standard deviation in these blocks.
        lag_y: Correlation of vertical neighbours.
        lag_x: Correlation of horizontal neighbours.
        lag_diag: Correlation of diagonal neighbours.
        tail_y: Correlation at a vertical distance of three.
        tail_x: Correlation at a horizontal distance of three.
        whiteness: Variance of the diagonal detail over the variance of the residual; 1 for white noise.
        count: How many blocks were used.
        skewness: Third moment of the residual over its deviation, block by block; 0 for normal noise.
        kurtosis: Fourth moment, likewise; 3 for normal noise.
    """

    std: float
    lag_y: float
    lag_x: float
    lag_diag: float
    tail_y: float
    tail_x: float
    whiteness: float
    count: int
    skewness: float = 0.0
    kurtosis: float = 3.0

    @property
    def leak(self) -> float:
        """Return the part of the first lags that is texture rather than noise.

        Two signs of texture: it falls off slowly with distance in every direction (long tails along one axis only are
        stripes and stay), and it adds low frequencies without taking high ones from the noise, as blur does.
        """
        return max(self._leak_by_tails(), self._leak_by_whiteness())

    def _leak_by_tails(self) -> float:
        if self.whiteness < 1 - _LEAK_SHARE:
            return 0.0
        return _LEAK * max(0.0, min(self.tail_y, self.tail_x))

    def _leak_by_whiteness(self) -> float:
        """Interpolate between what texture and what blur of these lags would do to the whiteness."""
        shared = min(self.lag_y, self.lag_x)
        if shared <= 0:
            return 0.0
        if_texture = 1 - shared / _TEXTURE_LAG
        if_blur = max(1 - _BLUR_LOSS * self.lag_y, 0.0) * max(1 - _BLUR_LOSS * self.lag_x, 0.0)
        share = (self.whiteness - if_blur) / max(if_texture - if_blur, 1e-3)
        return shared * min(max(share, 0.0), 1.0)

    @property
    def noise_lags(self) -> tuple[float, float, float]:
        """Return the lags y, x, diagonal without the leak of texture, which never makes a positive lag negative."""
        lags = (self.lag_y, self.lag_x, self.lag_diag)
        y, x, diagonal = (max(lag - self.leak, min(lag, 0.0)) for lag in lags)
        return y, x, diagonal

    @property
    def spread(self) -> float:
        """Return the relative standard deviation of the variance of one block of pure noise like this."""
        lag_y, lag_x, _ = self.noise_lags
        alike = (1 + 2 * lag_y**2 + 10 * self.tail_y**2) * (1 + 2 * lag_x**2 + 10 * self.tail_x**2)
        return min(math.sqrt(2 * alike / _FREEDOM), 0.6)


def smooth_block(image: Values, share: float = 0.2) -> SmoothBlocks | None:
    """Return level and correlation of the noise of one image from its smoothest blocks.

    Args:
        image: One plane [y, x], all finite.
        share: Part of the blocks that counts as smooth.
    """
    plane = Plane(image, np.ones(image.shape, bool))
    return smooth_blocks([plane], [diagonal_detail(image)], share=share)


def smooth_blocks(
    planes: Sequence[Plane], details: Sequence[Values], share: float = 0.1, fewest: int = 8
) -> SmoothBlocks | None:
    """Pool the smoothest blocks of several planes.

    Args:
        planes: Planes of one channel.
        details: Diagonal detail of each plane.
        share: Part of the blocks that counts as smooth.
        fewest: Blocks needed; with fewer the answer is None.
    """
    blocks, fine = _pooled(planes, details)
    if len(blocks) < fewest:
        return None
    residual = without_plane(blocks)
    variance = _variance(residual)
    # Blocks that are planes to the last bit were computed, not measured; like constant ones they tell of no noise.
    is_measured = variance > (_ROUNDING * np.abs(blocks).max((1, 2))) ** 2
    if is_measured.sum() < fewest:
        return None
    residual, variance, fine = residual[is_measured], variance[is_measured], fine[is_measured]
    chosen = np.argsort(variance, kind="stable")[: max(fewest, round(share * len(variance)))]
    return _described(residual[chosen], variance[chosen], fine[chosen])


def variance_by_block_level(
    planes: Sequence[Plane], details: Sequence[Values], smooth: SmoothBlocks
) -> tuple[Values, Values]:
    """Return mean signal and noise variance of bins of blocks, for noise that is correlated.

    Args:
        planes: Planes of one channel.
        details: Diagonal detail of each plane.
        smooth: What `smooth_blocks` said of the same planes.
    """
    blocks, _ = _pooled(planes, details)
    level, variance = blocks.mean((1, 2)), _variance(without_plane(blocks))
    bins = np.array_split(np.argsort(level, kind="stable"), max(1, min(_BINS, len(blocks) // 16)))
    calmest = [chosen[variance[chosen] <= np.quantile(variance[chosen], _CALM)] for chosen in bins]
    # The calmest fifth of equal blocks is calm by chance: a normal variable below its 20 % quantile averages -1.4.
    by_chance = 1 - 1.4 * smooth.spread
    pairs = [(level[chosen].mean(), variance[chosen].mean() / by_chance) for chosen in calmest]
    return np.array([pair[0] for pair in pairs]), np.array([pair[1] for pair in pairs])


def _pooled(planes: Sequence[Plane], details: Sequence[Values]) -> tuple[Blocks, Blocks]:
    """Return the blocks of all planes that are trusted and vary, and the same blocks of the detail."""
    stride = SIDE if sum(plane.values.size for plane in planes) > 256 * SIDE * SIDE else SIDE // 2
    pairs = [_cut_plane(plane, detail, stride) for plane, detail in zip(planes, details, strict=True)]
    if not pairs:
        return np.zeros((0, SIDE, SIDE)), np.zeros((0, SIDE, SIDE))
    blocks, fine = np.concatenate([pair[0] for pair in pairs]), np.concatenate([pair[1] for pair in pairs])
    alive = np.ptp(blocks, axis=(1, 2)) > 0
    return blocks[alive], fine[alive]


def _variance(residual: Blocks) -> Values:
    return np.asarray((residual**2).sum((1, 2)) / _FREEDOM)


def _described(residual: Blocks, variance: Values, fine: Blocks) -> SmoothBlocks:
    power = float((residual**2).mean())
    whiteness = float((fine**2).mean()) / float(variance.mean())
    return SmoothBlocks(
        std=math.sqrt(float(np.median(variance))),
        lag_y=_lag(residual, 1, 0) / power,
        lag_x=_lag(residual, 0, 1) / power,
        lag_diag=_lag(residual, 1, 1) / power,
        tail_y=_lag(residual, 3, 0) / power,
        tail_x=_lag(residual, 0, 3) / power,
        whiteness=whiteness,
        count=len(residual),
        skewness=_moment(residual, 3),
        kurtosis=_moment(residual, 4),
    )


def _moment(residual: Blocks, order: int) -> float:
    """Return a moment of the residual, each block by its own deviation: how bright or strong it is does not count."""
    inner = residual[:, 1:-1, 1:-1]
    scaled = inner / np.sqrt((inner**2).mean((1, 2), keepdims=True) + np.finfo(float).tiny)
    return float((scaled**order).mean())


def without_plane(blocks: Blocks) -> Blocks:
    """Subtract the least-squares plane from every block, [n, side, side]."""
    side = blocks.shape[-1]
    across = np.arange(side) - (side - 1) / 2
    scale = float((across**2).sum()) * side
    centred = blocks - blocks.mean((1, 2), keepdims=True)
    down = (centred * across[:, None]).sum((1, 2)) / scale
    right = (centred * across).sum((1, 2)) / scale
    return np.asarray(centred - down[:, None, None] * across[:, None] - right[:, None, None] * across)


def cut(values: NDArray[np.generic], stride: int = SIDE) -> NDArray[np.generic]:
    """Return the whole blocks of a plane, [n, side, side], a view's copy in reading order."""
    if min(values.shape) < SIDE:
        return np.zeros((0, SIDE, SIDE), values.dtype)
    windows = np.lib.stride_tricks.sliding_window_view(values, (SIDE, SIDE))[::stride, ::stride]
    return windows.reshape(-1, SIDE, SIDE)


def _cut_plane(plane: Plane, detail: Values, stride: int) -> tuple[Blocks, Blocks]:
    """Return the trusted blocks of a plane and of its detail."""
    blocks = cut(plane.values, stride).astype(np.float64)
    fine = cut(detail, stride).astype(np.float64)
    kept = cut(~plane.trusted, stride).astype(np.float64).mean((1, 2)) <= _UNTRUSTED_ALLOWED
    return blocks[kept], fine[kept]


def _lag(residual: Blocks, down: int, right: int) -> float:
    side = residual.shape[-1]
    return float((residual[:, down:, right:] * residual[:, : side - down, : side - right]).mean())
