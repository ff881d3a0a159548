"""One image of the benchmark: its file or its scene, its noise, its truth."""

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.io import imread

from ilcore.adapting.scenes import scene
from ilcore.grammar.errors import BadInput

Image = NDArray[np.float32]
#: Side of generated scenes; planes that are taken of a stack.
_SIDE, _PLANES = 128, 16


@dataclass(frozen=True, kw_only=True)
class Law:
    """Noise that is added to a clean image.

    Args:
        std: Standard deviation of the part that is everywhere the same.
        gain: Grey levels per count of the Poisson part; 0 for none.
        blur: Width in pixels by which the constant part is smeared, its level kept.
    """

    std: float = 0.0
    gain: float = 0.0
    blur: float = 0.0

    def add(self, clean: Image, seed: int) -> Image:
        """Return a noisy copy; the same seed gives the same noise."""
        rng = np.random.default_rng(seed)
        light = np.maximum(clean, 0).astype(np.float64)
        image = self.gain * rng.poisson(light / self.gain) if self.gain else clean.astype(np.float64)
        grain = rng.normal(0, 1, clean.shape)
        if self.blur:
            axes = tuple(range(clean.ndim))[-2:]
            grain = ndimage.gaussian_filter(grain, self.blur, axes=axes, mode="wrap")
            grain /= grain.std()
        return np.asarray(image + self.std * grain, np.float32)

    @property
    def known_std(self) -> float | None:
        """Return the level that a method may be told: None unless the noise is white and everywhere the same."""
        return self.std if not self.gain and not self.blur else None


@dataclass(frozen=True, kw_only=True)
class Case:
    """One problem with its truth, in units where the truth has peak 1.

    Args:
        noisy: [*space] or [channel, *space].
        truth: The same shape.
        noise_std: The level, where methods are told it.
        companions: Other noisy images of the same acquisition; a model of the volume may learn from them.
    """

    noisy: Image
    truth: Image
    noise_std: float | None
    companions: tuple[Image, ...] = ()


@dataclass(frozen=True, kw_only=True)
class BenchmarkImage:
    """One image of a set, not yet read: small, and the same in every process.

    Args:
        set: Name of its set.
        name: Its own name.
        seed: Position in the set; noise and scene are drawn from it.
        truth: File; None for a generated scene.
        noisy: File, where the noise is real.
        companions: Files of other exposures of the same field.
        law: Noise that is added, where it is not real.
        space: 2 or 3 axes of space.
        is_fitted: True where the result is brought to the scale of the truth before it is measured.
    """

    set: str
    name: str
    seed: int
    truth: Path | None = None
    noisy: Path | None = None
    companions: tuple[Path, ...] = ()
    law: Law | None = None
    space: int = 2
    is_fitted: bool = False

    def identity(self) -> dict[str, Any]:
        """Return what makes this problem the one it is, wherever its files lie."""
        files = [path for path in (self.truth, self.noisy, *self.companions) if path is not None]
        return {
            "set": self.set, "name": self.name, "seed": self.seed, "law": repr(self.law), "space": self.space,
            "is_fitted": self.is_fitted, "files": [_digest(path) for path in files],
        }  # fmt: skip

    def load(self, crop: int | None = None) -> Case:
        """Read or generate the images.

        Args:
            crop: Side of a cut from the middle, on every axis of space; None for all of it.

        Raises:
            BadInput: When a file cannot be read, or the noisy image and its truth differ in shape.
        """
        truth = read(self.truth, self.space) if self.truth else _generated(self.seed, self.space)
        peak = 255.0 if truth.dtype == np.uint8 else 1.0 if self.truth is None else float(truth.max()) or 1.0
        # Noise is added before the cut, so that a cut is a part of the whole problem.
        truth = _scaled(truth, peak)
        noisy = self._seen(self.noisy, peak) if self.noisy else (self.law or Law()).add(truth, self.seed)
        if noisy.shape != truth.shape:
            raise BadInput(
                f"a noisy image and its truth must have one shape, got {noisy.shape} and {truth.shape} "
                f"for {self.name} of {self.set}; check the pairs"
            )
        others = tuple(self._cut(self._seen(path, peak), crop) for path in self.companions)
        return Case(
            noisy=self._cut(noisy, crop), truth=self._cut(truth, crop), companions=others,
            noise_std=self.law.known_std if self.law else None,
        )  # fmt: skip

    def _seen(self, path: Path, peak: float) -> Image:
        return _scaled(read(path, self.space), peak)

    def _cut(self, image: Image, crop: int | None) -> Image:
        if crop is None:
            return image
        first = image.ndim - self.space
        starts = [max(0, (n - crop) // 2) for n in image.shape[first:]]
        cut = tuple(slice(start, start + crop) for start in starts)
        return np.ascontiguousarray(image[(slice(None),) * first + cut])


def read(path: Path, space: int = 2) -> NDArray[Any]:
    """Read an image as it is stored.

    Shape:
        [y, x], [channel, y, x] for colour, or the 16 middle planes of a stack [z, y, x] where space is 3.

    Raises:
        BadInput: When there is no such image.
    """
    try:
        values = np.load(path, allow_pickle=False) if path.suffix == ".npy" else imread(path)
    except (OSError, ValueError) as error:
        raise BadInput(f"an image must be readable, got {path}: {error}; check the file") from error
    if space == 3:
        first = max(0, (len(values) - _PLANES) // 2)
        return np.asarray(values[first : first + _PLANES])
    if values.ndim == 3 and values.shape[-1] in (3, 4):
        return np.moveaxis(values[..., :3], -1, 0)
    return np.asarray(values)


@lru_cache(maxsize=4096)
def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _scaled(values: NDArray[Any], peak: float) -> Image:
    return np.ascontiguousarray(values.astype(np.float32) / np.float32(peak))


def _generated(seed: int, space: int) -> Image:
    plane = scene(seed, _SIDE)
    if space == 2:
        return plane
    # Planes that change slowly: a blend from one scene to another.
    other, steps = scene(seed + 1, _SIDE), np.linspace(0, 1, _PLANES, dtype=np.float32)
    return np.stack([(1 - step) * plane + step * other for step in steps])
