"""Classical denoisers that nobody tells the noise level: the level that predicts hidden pixels best is taken.

J-invariant calibration, for a denoiser g with one parameter:
    for every level s of a grid, for some phases of the grid of hidden pixels:
        replace the hidden pixels by the mean of their neighbours, denoise with g(s), compare with what was hidden
    return g(s*) of the untouched image, s* with the least mean squared difference
Where the noise of neighbours is independent, that difference is the error plus a constant: its minimiser is the best s.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice, product
from typing import final

import numpy as np
from numpy.typing import NDArray

from ilcore.grammar.arrays import Streams, Weights
from ilcore.grammar.problem import Noise, Problem
from ilcore.grammar.recipe import DirectMethod
from ilcore.grammar.step_context import Restoration
from ilcore.methods.classical import (
    BAYES,
    BUADES,
    ROF,
    Classical,
    Image,
    NonLocalMeans,
    TotalVariation,
    Wavelet,
    baseline,
    each_channel,
)
from ilcore.methods.entry import Entry


@final
@dataclass(frozen=True, kw_only=True)
class Calibrated(DirectMethod):
    """A classical denoiser at the level that predicts hidden pixels best: nobody needs to know the noise.

    Args:
        inner: The denoiser.
        lowest: Least level tried, in normalised units.
        highest: Largest.
        levels: How many are tried, equal ratios apart.
        stride: One pixel in stride^axes is hidden at a time.
        phases: Grids of hidden pixels that are looked at.

    Reference:
        Batson & Royer, "Noise2Self: blind denoising by self-supervision", ICML 2019, section 3.1.
    """

    inner: Classical
    lowest: float = 0.01
    highest: float = 0.5
    levels: int = 13
    stride: int = 3
    phases: int = 2

    def own_complaints(self, problem: Problem) -> Iterator[str]:
        known = replace(problem, noise=problem.noise or (Noise(),) * problem.channels)
        yield from self.inner.own_complaints(known)
        if not (0 < self.lowest <= self.highest and self.levels >= 1 and self.stride >= 2 and self.phases >= 1):
            yield f"{self} needs 0 < lowest <= highest, levels >= 1, stride >= 2 and phases >= 1"

    def halo(self, space: int) -> tuple[int, ...]:
        return self.inner.halo(space)

    def restore(self, problem: Problem, streams: Streams, *, start: Weights | None = None) -> Restoration:
        return each_channel(problem, lambda image, trusted, _: self._best(image, trusted), "calibrated")

    def level(self, image: Image, trusted: NDArray[np.bool_]) -> float:
        """Return the level whose result predicts hidden pixels of one channel best."""
        levels = np.geomspace(self.lowest, self.highest, self.levels)
        return float(levels[int(np.argmin([self._loss(image, trusted, level) for level in levels]))])

    def _best(self, image: Image, trusted: NDArray[np.bool_]) -> Image:
        return self.inner.channel(image, self.level(image, trusted))

    def _loss(self, image: Image, trusted: NDArray[np.bool_], level: float) -> float:
        around, losses = _mean_of_neighbours(image), []
        for place in islice(_grids(image.shape, self.stride), self.phases):
            hidden = np.zeros(image.shape, bool)
            hidden[place] = True
            guessed = self.inner.channel(np.where(hidden, around, image), level)
            losses.append(np.square(guessed - image)[hidden & trusted])
        measured = np.concatenate(losses)
        return float(measured.mean()) if measured.size else 0.0


def _mean_of_neighbours(image: Image) -> Image:
    from scipy import ndimage

    cross = ndimage.generate_binary_structure(image.ndim, 1).astype(float)
    cross[(1,) * image.ndim] = 0
    return np.asarray(ndimage.convolve(image, cross / cross.sum(), mode="mirror"))


def _grids(shape: tuple[int, ...], stride: int) -> Iterator[tuple[slice, ...]]:
    """Yield the grids of hidden pixels, far apart first, each with at least one pixel of `shape`."""
    steps = [min(stride, n) for n in shape]
    phases = list(product(*(range(step) for step in steps)))
    for number in np.random.default_rng(0).permutation(len(phases)):
        yield tuple(slice(start, None, step) for start, step in zip(phases[number], steps, strict=True))


_SELF = "Batson & Royer, Noise2Self, ICML 2019"


def _calibrated(name: str, inner: Classical, what: str, reference: str, beside: int = 1500) -> Entry:
    return baseline(
        f"{name}_j", Calibrated(inner=inner), f"{what} at the level that predicts hidden pixels best.",
        f"{reference}; {_SELF}", "A baseline where the level of white noise is not known.", frozenset(),
        beside=beside,
    )  # fmt: skip


ENTRIES = (
    _calibrated("nlm", NonLocalMeans(), "Non-local means", BUADES),
    _calibrated("tv", TotalVariation(), "Total variation", ROF, beside=6500),
    _calibrated("wavelet", Wavelet(), "BayesShrink", BAYES, beside=12_000),
)
