"""Named sets of noisy images with their truth, always the same to the last bit.

    set            images                                    noise
    set12          natural/set12/*.png                       white, 25 of 255
    bsd68          natural/bsd68/*.png                       white, 25 of 255
    bsd68_50       natural/bsd68/*.png                       white, 50 of 255
    kodak          natural/kodak/*.png, colour               white, 25 of 255
    fmd            microscopy/fmd/raw against gt             the camera's; the truth is the mean of 50 exposures
    w2s            microscopy/w2s/avg1 against avg400        the camera's; PSNR after an affine fit
    nuclei         volumes/nuclei.tif, its 16 middle planes  white, 25 of 255, in 3-D
    correlated     natural/set12/*.png                       25 of 255, neighbours alike (blurred by 1 pixel)
    poisson        natural/set12/*.png                       Poisson of 30 counts at full scale, and white, 5 of 255
    scenes         generated scenes                          white, 25 of 255
    scenes_correlated, scenes_poisson, scenes_volume         the same laws on generated scenes

Added noise is numpy's default_rng(position of the file in its set), neither clipped nor rounded. All values are in
units where the truth has peak 1: sources of 8 bits are divided by 255, others by the maximum of their truth.
"""

import hashlib
from collections.abc import Callable, Sequence
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
#: Endings of the images that a folder of the user's own may hold.
ENDINGS = (".png", ".tif", ".tiff", ".bmp", ".npy", ".jpg")
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
class Picture:
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


def gather(
    names: Sequence[str] = (),
    *,
    data: Path | None = None,
    images: Path | None = None,
    noise: float | None = None,
    limit: int | None = None,
) -> list[Picture]:
    """Return the pictures of sets.

    Args:
        names: Sets; none for all that the folders given here hold, or the generated ones if no folder is given.
        data: Root of the folders of named sets.
        images: A folder of the user's own: clean images, or two folders `noisy` and `clean` with equal file names.
        noise: Standard deviation that is added to the user's clean images, of 255.
        limit: Images of each set at most.

    Raises:
        BadInput: For an unknown set, or one whose folder is not there.
    """
    found: list[Picture] = []
    if images is not None:
        found += _own(images, noise)[:limit]
    wanted = list(names) or ([] if images and not data else _default(data))
    for name in wanted:
        if name not in SETS:
            raise BadInput(f"a set must be one of {', '.join(SETS)}; got {name!r}")
        pictures = SETS[name](data)[:limit]
        if not pictures:
            raise BadInput(
                f"set {name} needs its images below the data folder, got {data}; name the folder with --data"
            )
        found += pictures
    return found


def _default(data: Path | None) -> list[str]:
    if data is None:
        return [name for name in SETS if name.startswith("scenes")]
    there = [name for name, make in SETS.items() if not name.startswith("scenes") and make(data)]
    if not there:
        raise BadInput(
            f"the data folder must hold at least one known set, got {data}; see the list in `il bench --help`"
        )
    return there


def _own(folder: Path, noise: float | None) -> list[Picture]:
    if (folder / "noisy").is_dir() and (folder / "clean").is_dir():
        noisy, truths = _files(folder / "noisy"), {path.name: path for path in _files(folder / "clean")}
        alone = [path.name for path in noisy if path.name not in truths]
        if alone or not noisy:
            raise BadInput(f"every image of noisy/ needs one of the same name in clean/, got {alone or 'none'} alone")
        return [
            Picture(set=folder.name, name=path.stem, seed=n, noisy=path, truth=truths[path.name],
                    companions=tuple(other for other in noisy if other != path)[:8])
            for n, path in enumerate(noisy)
        ]  # fmt: skip
    if noise is None or noise <= 0:
        raise BadInput(f"a folder of clean images needs the noise to add, above 0, got {noise}; for example --noise 25")
    clean = _files(folder)
    if not clean:
        raise BadInput(f"a folder of images must hold files ending in {', '.join(ENDINGS)}, got {folder}")
    law = Law(std=noise / 255)
    return [Picture(set=folder.name, name=path.stem, seed=n, truth=path, law=law) for n, path in enumerate(clean)]


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in ENDINGS) if folder.is_dir() else []


def _clean(name: str, folder: str, law: Law) -> Callable[[Path | None], list[Picture]]:
    def pictures(data: Path | None) -> list[Picture]:
        paths = _files(data / folder) if data else []
        return [Picture(set=name, name=path.stem, seed=n, truth=path, law=law) for n, path in enumerate(paths)]

    return pictures


def _fmd(data: Path | None) -> list[Picture]:
    root = (data or Path()) / "microscopy/fmd"
    found = []
    for n, truth in enumerate(_files(root / "gt") if data else []):
        exposures = sorted((root / "raw").glob(f"{truth.stem}_?.png"))
        if exposures:
            found.append(
                Picture(set="fmd", name=truth.stem, seed=n, truth=truth, noisy=exposures[0],
                        companions=tuple(exposures[1:]))
            )  # fmt: skip
    return found


def _w2s(data: Path | None) -> list[Picture]:
    root = (data or Path()) / "microscopy/w2s"
    pairs = [(path, root / "avg1" / path.name) for path in (_files(root / "avg400") if data else [])]
    return [
        Picture(set="w2s", name=truth.stem, seed=n, truth=truth, noisy=noisy, is_fitted=True)
        for n, (truth, noisy) in enumerate(pairs)
        if noisy.exists()
    ]


def _nuclei(data: Path | None) -> list[Picture]:
    path = (data or Path()) / "volumes/nuclei.tif"
    there = data is not None and path.exists()
    return [Picture(set="nuclei", name="nuclei", seed=0, truth=path, law=WHITE, space=3)] if there else []


def _scenes(name: str, law: Law, space: int = 2) -> Callable[[Path | None], list[Picture]]:
    def pictures(_: Path | None) -> list[Picture]:
        return [
            Picture(set=name, name=f"scene{seed}", seed=_FIRST + seed, law=law, space=space) for seed in range(_SCENES)
        ]

    return pictures


def _generated(seed: int, space: int) -> Image:
    plane = scene(seed, _SIDE)
    if space == 2:
        return plane
    # Planes that change slowly: a blend from one scene to another.
    other, steps = scene(seed + 1, _SIDE), np.linspace(0, 1, _PLANES, dtype=np.float32)
    return np.stack([(1 - step) * plane + step * other for step in steps])


#: Seeds of the scenes, none of which the shipped denoiser was trained on, and how many each set has.
_FIRST, _SCENES = 900_000_000, 4
WHITE, STRONG = Law(std=25 / 255), Law(std=50 / 255)
CORRELATED, POISSON = Law(std=25 / 255, blur=1.0), Law(std=5 / 255, gain=1 / 30)

SETS: dict[str, Callable[[Path | None], list[Picture]]] = {
    "set12": _clean("set12", "natural/set12", WHITE),
    "bsd68": _clean("bsd68", "natural/bsd68", WHITE),
    "bsd68_50": _clean("bsd68_50", "natural/bsd68", STRONG),
    "kodak": _clean("kodak", "natural/kodak", WHITE),
    "fmd": _fmd,
    "w2s": _w2s,
    "nuclei": _nuclei,
    "correlated": _clean("correlated", "natural/set12", CORRELATED),
    "poisson": _clean("poisson", "natural/set12", POISSON),
    "scenes": _scenes("scenes", WHITE),
    "scenes_correlated": _scenes("scenes_correlated", CORRELATED),
    "scenes_poisson": _scenes("scenes_poisson", POISSON),
    "scenes_volume": _scenes("scenes_volume", WHITE, space=3),
}
