"""The classical denoisers, under the same interface: what every learnt method has to beat.

nlm, tv, wavelet, bm3d are told the noise level, at the median grey level of each channel; `calibrated` needs no level.
The libraries that do the work are imported when they work: a GPU node without them knows the catalogue all the same.
"""

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from itertools import product
from typing import Any, TypeAlias, final

import numpy as np
import torch
from numpy.typing import NDArray

from ilcore.grammar.arrays import Streams, Tiles, Weights
from ilcore.grammar.problem import Noise, Problem
from ilcore.grammar.recipe import DirectMethod
from ilcore.grammar.step_context import Restoration
from ilcore.grammar.stop_reason import StopReason
from ilcore.methods.entry import Entry

Image: TypeAlias = NDArray[Any]
#: A level of 0 would be a division by 0 in some of the libraries; in normalised units this is nothing.
_LEAST = 1e-4


class Classical(DirectMethod):
    """A denoiser of one channel that is told the noise level and learns nothing."""

    #: True where z is treated plane by plane.
    by_plane = False

    @abstractmethod
    def denoised(self, image: Image, noise_std: float) -> Image:
        """Return one channel without noise.

        Shape:
            image [y, x] or, unless `by_plane`, [z, y, x] -> the same.
        """

    def own_complaints(self, problem: Problem) -> Iterator[str]:
        if problem.noise is None:
            yield f"{self} needs the noise level; estimate it, pass noise_std, or take the calibrated variant"

    def halo(self, space: int) -> tuple[int, ...]:
        return (0 if self.by_plane else 4, 16, 16)[-space:]

    def restore(self, problem: Problem, streams: Streams, *, start: Weights | None = None) -> Restoration:
        noise = problem.noise or (Noise(),) * problem.channels
        return each_channel(problem, lambda image, _, number: self._leveled(image, noise[number]), "one pass")

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
        from skimage.restoration import denoise_nl_means

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
        from skimage.restoration import denoise_tv_chambolle

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
        import pywt
        from skimage.restoration import denoise_wavelet

        levels = min(4, pywt.dwtn_max_level([n for n in image.shape if n > 1] or [1], self.wavelet))
        if levels < 1:
            return image
        shrink = partial(
            denoise_wavelet, sigma=self.strength * noise_std, wavelet=self.wavelet, wavelet_levels=levels,
            method="BayesShrink", mode="soft",
        )  # fmt: skip
        return _mean_over_shifts(shrink, image, self.shifts)

    def own_complaints(self, problem: Problem) -> Iterator[str]:
        import pywt

        yield from super().own_complaints(problem)
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

    def own_complaints(self, problem: Problem) -> Iterator[str]:
        yield from super().own_complaints(problem)
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


def nearest_data(seen: NDArray[np.float32], trusted: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return an image [*space] in which every hole has the value of the nearest voxel that is data."""
    if trusted.all() or not trusted.any():
        return seen
    from scipy import ndimage

    place = ndimage.distance_transform_edt(~trusted, return_distances=False, return_indices=True)
    return seen[tuple(place)]


def each_channel(problem: Problem, work: Any, words: str) -> Restoration:
    """Return every channel of every tile through `work(image, trusted, number of the channel)`; `words` say how."""
    tiles = problem.observed.detach().cpu().numpy()
    trusted = problem.weight.cpu().numpy() > 0
    image = np.stack([_tile(tile, mask, work) for tile, mask in zip(tiles, trusted, strict=True)])
    steps, ended = (0,) * len(tiles), (StopReason.applied(words),) * len(tiles)
    return Restoration(image=_like(image, problem.observed), steps=steps, stopped=ended)


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


_TOLD = frozenset({"noise"})
BUADES = "Buades, Coll & Morel, A non-local algorithm for image denoising, CVPR 2005"
ROF = "Rudin, Osher & Fatemi, Physica D 1992; Chambolle, JMIV 2004"
BAYES = "Chang, Yu & Vetterli, Adaptive wavelet thresholding (BayesShrink), TIP 2000"
_DABOV = "Dabov, Foi, Katkovnik & Egiazarian, TIP 2007; Mäkinen, Azzari & Foi, TIP 2020"


def baseline(
    name: str, method: DirectMethod, summary: str, reference: str, when: str, needs: frozenset[str] = _TOLD,
    cost: int = 1, beside: int = 1500,
) -> Entry:  # fmt: skip
    """Return the entry of a method that learns nothing."""
    return Entry(
        name=name, method=method, summary=summary, reference=reference, when=when, needs=needs, cost=cost,
        question=f"None: nothing is learnt{'' if needs else ', one level is chosen by predicting hidden pixels'}.",
        scopes=frozenset({"tile"}), beside=beside,
    )  # fmt: skip


ENTRIES = (
    baseline("nlm", NonLocalMeans(), "Non-local means: alike patches are averaged.", BUADES,
           "A baseline; repeated structure, moderate white noise. The fallback of last resort."),
    baseline("tv", TotalVariation(), "Total variation: flat areas with sharp edges.", ROF,
           "A baseline; piecewise constant images. Textures are flattened.", beside=6500),
    baseline("wavelet", Wavelet(), "BayesShrink on wavelets, averaged over shifts.", BAYES,
           "A baseline; the quickest of all, stacks as a whole.", beside=12_000),
    baseline("bm3d", Bm3d(), "BM3D, the yardstick of classical denoising (optional extra `bm3d`).", _DABOV,
           "A yardstick for measurements; white noise of known level. Its licence forbids commercial use.", cost=2),
)  # fmt: skip
