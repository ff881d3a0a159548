"""The classical denoisers, under the same interface: what every learnt method has to beat.

    nlm, tv, wavelet, bm3d         told the noise level, at the median grey level of each channel
    nlm_j, tv_j, wavelet_j         told nothing: the level that predicts hidden pixels best is taken (Noise2Self)

J-invariant calibration, for a denoiser g with one parameter:
    for every level s of a grid, for some phases of the grid of hidden pixels:
        replace the hidden pixels by the mean of their neighbours, denoise with g(s), compare with what was hidden
    return g(s*) of the untouched image, s* with the least mean squared difference
Where the noise of neighbours is independent, that difference is the error plus a constant: its minimiser is the best s.
"""

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from itertools import islice, product
from typing import Any, TypeAlias, final

import numpy as np
import pywt
import torch
from numpy.typing import NDArray
from scipy import ndimage
from skimage.restoration import denoise_nl_means, denoise_tv_chambolle, denoise_wavelet

from ilcore.grammar.arrays import Streams, Tiles
from ilcore.grammar.problem import Noise, Problem
from ilcore.grammar.recipe import ByHand
from ilcore.grammar.trial import Restoration
from ilcore.methods.entry import Entry

Image: TypeAlias = NDArray[Any]
#: A level of 0 would be a division by 0 in some of the libraries; in normalised units this is nothing.
_LEAST = 1e-4


class Classical(ByHand):
    """A denoiser of one channel that is told the noise level and learns nothing."""

    #: True where z is treated plane by plane.
    by_plane = False

    @abstractmethod
    def denoised(self, image: Image, noise_std: float) -> Image:
        """Return one channel without noise.

        Shape:
            image [y, x] or, unless `by_plane`, [z, y, x] -> the same.
        """

    def complaints(self, problem: Problem) -> Iterator[str]:
        if problem.noise is None:
            yield f"{self} needs the noise level; estimate it, pass noise_std, or take the calibrated variant"

    def halo(self, space: int) -> tuple[int, ...]:
        return (0 if self.by_plane else 4, 16, 16)[-space:]

    def restore(self, problem: Problem, streams: Streams) -> Restoration:
        noise = problem.noise or (Noise(),) * problem.channels
        return _each_channel(problem, lambda image, _, number: self._leveled(image, noise[number]), "one pass")

    def channel(self, image: Image, noise_std: float) -> Image:
        """Return one channel without noise, plane by plane where the method knows planes only."""
        if image.ndim == 3 and self.by_plane:
            return np.stack([self.denoised(plane, noise_std) for plane in image])
        return self.denoised(image, noise_std)

    def _leveled(self, image: Image, noise: Noise) -> Image:
        return self.channel(image, max(noise.std_at(float(np.median(image))), _LEAST))


@final
@dataclass(frozen=True, kw_only=True)
class NonLocalMeans(Classical):
    """Mean of all pixels near by, weighted by how alike their patches are; plane by plane.

    Args:
        patch: Side of a patch.
        reach: How far alike patches are looked for.
        strength: Decay of the weights, in units of the noise level.

    Reference:
        Buades, Coll & Morel, "A non-local algorithm for image denoising", CVPR 2005.
    """

    patch: int = 5
    reach: int = 6
    strength: float = 0.6

    by_plane = True

    def denoised(self, image: Image, noise_std: float) -> Image:
        # A plane of one row or column is no plane to scikit-image.
        wide = _at_least(image, 2)
        smooth = denoise_nl_means(
            wide, patch_size=self.patch, patch_distance=self.reach, h=self.strength * noise_std, sigma=noise_std
        )
        return np.asarray(smooth[tuple(map(slice, image.shape))])

    def halo(self, space: int) -> tuple[int, ...]:
        near = self.reach + self.patch // 2
        return (0, near, near)[-space:]


@final
@dataclass(frozen=True, kw_only=True)
class TotalVariation(Classical):
    """The image of least total variation that is near the observation; stacks as a whole.

    Args:
        strength: Weight of the variation, in units of the noise level.
        iterations: Of Chambolle's projection, at most.

    Reference:
        Rudin, Osher & Fatemi, Physica D 1992; Chambolle, "An algorithm for total variation minimization", JMIV 2004.
    """

    strength: float = 0.65
    iterations: int = 200

    def denoised(self, image: Image, noise_std: float) -> Image:
        weight = self.strength * noise_std
        return np.asarray(denoise_tv_chambolle(image, weight=weight, eps=1e-5, max_num_iter=self.iterations))


@final
@dataclass(frozen=True, kw_only=True)
class Wavelet(Classical):
    """Soft thresholds on wavelet coefficients, one for each band, averaged over shifts of the grid; stacks as a whole.

    Args:
        wavelet: As PyWavelets names it.
        shifts: Shifts of the grid on y and x over which results are averaged.
        strength: Noise level that the thresholds assume, in units of the true one.

    Reference:
        Chang, Yu & Vetterli, "Adaptive wavelet thresholding (BayesShrink)", TIP 2000; Coifman & Donoho, 1995 (shifts).
    """

    wavelet: str = "sym4"
    shifts: int = 3
    strength: float = 1.0

    def denoised(self, image: Image, noise_std: float) -> Image:
        levels = min(4, pywt.dwtn_max_level([n for n in image.shape if n > 1] or [1], self.wavelet))
        if levels < 1:
            return image
        shrink = partial(
            denoise_wavelet, sigma=self.strength * noise_std, wavelet=self.wavelet, wavelet_levels=levels,
            method="BayesShrink", mode="soft",
        )  # fmt: skip
        return _mean_over_shifts(shrink, image, self.shifts)

    def complaints(self, problem: Problem) -> Iterator[str]:
        yield from super().complaints(problem)
        if self.wavelet not in pywt.wavelist(kind="discrete") or self.shifts < 1:
            yield f"{self} needs a discrete wavelet of PyWavelets, such as sym4 or db2, and shifts >= 1"


@final
@dataclass(frozen=True, kw_only=True)
class Bm3d(Classical):
    """Groups of alike blocks, shrunk together in a transform domain; plane by plane, by its authors' own program.

    Args:
        strength: Noise level that it is told, in units of the true one.

    Reference:
        Dabov, Foi, Katkovnik & Egiazarian, "Image denoising by sparse 3-D transform-domain collaborative filtering",
        TIP 2007; Mäkinen, Azzari & Foi, TIP 2020.
    """

    strength: float = 1.0

    by_plane = True

    def complaints(self, problem: Problem) -> Iterator[str]:
        yield from super().complaints(problem)
        if find_spec("bm3d") is None:
            yield "bm3d needs a package that is not installed; pip install 'ilcore[bm3d]' (its licence: research only)"

    def denoised(self, image: Image, noise_std: float) -> Image:
        import bm3d

        # Its blocks are 8 wide.
        wide = _at_least(image, 16).astype(np.float64)
        profile = bm3d.BM3DProfile()
        # Several threads add up in any order, and no two results are the same.
        profile.num_threads = 1
        result = np.asarray(bm3d.bm3d(wide, self.strength * noise_std, profile))
        return result[tuple(map(slice, image.shape))]


@final
@dataclass(frozen=True, kw_only=True)
class Calibrated(ByHand):
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

    def complaints(self, problem: Problem) -> Iterator[str]:
        known = replace(problem, noise=problem.noise or (Noise(),) * problem.channels)
        yield from self.inner.complaints(known)
        if not (0 < self.lowest <= self.highest and self.levels >= 1 and self.stride >= 2 and self.phases >= 1):
            yield f"{self} needs 0 < lowest <= highest, levels >= 1, stride >= 2 and phases >= 1"

    def halo(self, space: int) -> tuple[int, ...]:
        return self.inner.halo(space)

    def restore(self, problem: Problem, streams: Streams) -> Restoration:
        return _each_channel(problem, lambda image, trusted, _: self._best(image, trusted), "calibrated")

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


def nearest_data(seen: NDArray[np.float32], trusted: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return an image [*space] in which every hole has the value of the nearest voxel that is data."""
    if trusted.all() or not trusted.any():
        return seen
    place = ndimage.distance_transform_edt(~trusted, return_distances=False, return_indices=True)
    return seen[tuple(place)]


def _each_channel(problem: Problem, work: Any, reason: str) -> Restoration:
    """Return every channel of every tile through `work(image, trusted, number of the channel)`."""
    tiles = problem.observed.detach().cpu().numpy()
    trusted = problem.weight.cpu().numpy() > 0
    image = np.stack([_tile(tile, mask, work) for tile, mask in zip(tiles, trusted, strict=True)])
    count = len(tiles)
    return Restoration(image=_like(image, problem.observed), steps=(0,) * count, stopped=(reason,) * count)


def _tile(tile: Image, trusted: NDArray[np.bool_], work: Any) -> Image:
    if not np.isfinite(tile).all():
        return tile
    pairs = zip(tile, trusted, strict=True)
    return np.stack([work(nearest_data(image, mask), mask, number) for number, (image, mask) in enumerate(pairs)])


def _like(image: Image, tiles: Tiles) -> Tiles:
    return torch.from_numpy(image.astype(np.float32)).to(tiles.device)


def _at_least(image: Image, side: int) -> Image:
    return np.pad(image, [(0, max(0, side - n)) for n in image.shape], "symmetric" if side > 2 else "edge")


def _mean_over_shifts(work: Any, image: Image, shifts: int) -> Image:
    total = np.zeros(image.shape)
    inside = tuple(slice(None) for _ in image.shape[:-2])
    for y, x in product(range(shifts), repeat=2):
        margins = [(0, 0)] * (image.ndim - 2) + [(y, 0), (x, 0)]
        total += work(np.pad(image, margins, "symmetric"))[(*inside, slice(y, None), slice(x, None))]
    return total / shifts**2


def _mean_of_neighbours(image: Image) -> Image:
    cross = ndimage.generate_binary_structure(image.ndim, 1).astype(float)
    cross[(1,) * image.ndim] = 0
    return np.asarray(ndimage.convolve(image, cross / cross.sum(), mode="mirror"))


def _grids(shape: tuple[int, ...], stride: int) -> Iterator[tuple[slice, ...]]:
    """Yield the grids of hidden pixels, far apart first, each with at least one pixel of `shape`."""
    steps = [min(stride, n) for n in shape]
    phases = list(product(*(range(step) for step in steps)))
    for number in np.random.default_rng(0).permutation(len(phases)):
        yield tuple(slice(start, None, step) for start, step in zip(phases[number], steps, strict=True))


_TOLD = frozenset({"noise"})
_BUADES = "Buades, Coll & Morel, A non-local algorithm for image denoising, CVPR 2005"
_ROF = "Rudin, Osher & Fatemi, Physica D 1992; Chambolle, JMIV 2004"
_BAYES = "Chang, Yu & Vetterli, Adaptive wavelet thresholding (BayesShrink), TIP 2000"
_DABOV = "Dabov, Foi, Katkovnik & Egiazarian, TIP 2007; Mäkinen, Azzari & Foi, TIP 2020"
_SELF = "Batson & Royer, Noise2Self, ICML 2019"


def _entry(
    name: str, method: ByHand, summary: str, reference: str, when: str, needs: frozenset[str] = _TOLD, cost: int = 1
) -> Entry:
    return Entry(
        name=name, method=method, summary=summary, reference=reference, when=when, needs=needs, cost=cost,
        question=f"None: nothing is learnt{'' if needs else ', one level is chosen by predicting hidden pixels'}.",
        scopes=frozenset({"tile"}),
    )  # fmt: skip


def _calibrated(name: str, inner: Classical, what: str, reference: str) -> Entry:
    return _entry(
        f"{name}_j", Calibrated(inner=inner), f"{what} at the level that predicts hidden pixels best.",
        f"{reference}; {_SELF}", "A baseline where the level of white noise is not known.", frozenset(),
    )  # fmt: skip


ENTRIES = (
    _entry("nlm", NonLocalMeans(), "Non-local means: alike patches are averaged.", _BUADES,
           "A baseline; repeated structure, moderate white noise. The fallback of last resort."),
    _entry("tv", TotalVariation(), "Total variation: flat areas with sharp edges.", _ROF,
           "A baseline; piecewise constant images. Textures are flattened."),
    _entry("wavelet", Wavelet(), "BayesShrink on wavelets, averaged over shifts.", _BAYES,
           "A baseline; the quickest of all, stacks as a whole."),
    _entry("bm3d", Bm3d(), "BM3D, the yardstick of classical denoising (optional extra `bm3d`).", _DABOV,
           "A yardstick for measurements; white noise of known level. Its licence forbids commercial use.", cost=2),
    _calibrated("nlm", NonLocalMeans(), "Non-local means", _BUADES),
    _calibrated("tv", TotalVariation(), "Total variation", _ROF),
    _calibrated("wavelet", Wavelet(), "BayesShrink", _BAYES),
)  # fmt: skip
