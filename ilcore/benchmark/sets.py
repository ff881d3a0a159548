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
    labelled                                  whole runs of `il restore`, see labelled.py: it stands alone

Added noise is numpy's default_rng(position of the file in its set), neither clipped nor rounded. All values are in
units where the truth has peak 1: sources of 8 bits are divided by 255, others by the maximum of their truth.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from ilcore.benchmark.images import BenchmarkImage, Law
from ilcore.grammar.errors import BadInput

#: Endings of the images that a folder of the user's own may hold.
ENDINGS = (".png", ".tif", ".tiff", ".bmp", ".npy", ".jpg")


def gather(
    names: Sequence[str] = (),
    *,
    data: Path | None = None,
    images: Path | None = None,
    noise: float | None = None,
    limit: int | None = None,
    only: Sequence[str] = (),
) -> list[BenchmarkImage]:
    """Return the pictures of sets.

    Args:
        names: Sets; none for all that the folders given here hold, or the generated ones if no folder is given.
        data: Root of the folders of named sets.
        images: A folder of the user's own: clean images, or two folders `noisy` and `clean` with equal file names.
        noise: Standard deviation that is added to the user's clean images, of 255.
        limit: Images of each set at most.
        only: Names of images; none for all.

    Raises:
        BadInput: For an unknown set, one whose folder is not there, or names that no image has.
    """
    found: list[BenchmarkImage] = []
    if images is not None:
        found += _named(_own(images, noise), only)[:limit]
    wanted = list(names) or ([] if images and not data else _default(data))
    for name in wanted:
        if name not in SETS:
            raise BadInput(f"a set must be one of {', '.join(SETS)}, or labelled alone; got {name!r}")
        pictures = SETS[name](data)
        if not pictures:
            raise BadInput(
                f"set {name} needs its images below the data folder, got {data}; name the folder with --data"
            )
        found += _named(pictures, only)[:limit]
    if only and not found:
        raise BadInput(f"--image must name an image of the sets, got {', '.join(only)}; leave it out to see all names")
    return found


def _named(pictures: list[BenchmarkImage], only: Sequence[str]) -> list[BenchmarkImage]:
    return [picture for picture in pictures if not only or picture.name in only]


def _default(data: Path | None) -> list[str]:
    if data is None:
        return [name for name in SETS if name.startswith("scenes")]
    there = [name for name, make in SETS.items() if not name.startswith("scenes") and make(data)]
    if not there:
        raise BadInput(
            f"the data folder must hold at least one known set, got {data}; see the list in `il bench --help`"
        )
    return there


def _own(folder: Path, noise: float | None) -> list[BenchmarkImage]:
    if (folder / "noisy").is_dir() and (folder / "clean").is_dir():
        noisy, truths = _files(folder / "noisy"), {path.name: path for path in _files(folder / "clean")}
        alone = [path.name for path in noisy if path.name not in truths]
        if alone or not noisy:
            raise BadInput(f"every image of noisy/ needs one of the same name in clean/, got {alone or 'none'} alone")
        return [
            BenchmarkImage(set=folder.name, name=path.stem, seed=n, noisy=path, truth=truths[path.name],
                    companions=tuple(other for other in noisy if other != path)[:8])
            for n, path in enumerate(noisy)
        ]  # fmt: skip
    if noise is None or noise <= 0:
        raise BadInput(f"a folder of clean images needs the noise to add, above 0, got {noise}; for example --noise 25")
    clean = _files(folder)
    if not clean:
        raise BadInput(f"a folder of images must hold files ending in {', '.join(ENDINGS)}, got {folder}")
    law = Law(std=noise / 255)
    return [
        BenchmarkImage(set=folder.name, name=path.stem, seed=n, truth=path, law=law) for n, path in enumerate(clean)
    ]


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in ENDINGS) if folder.is_dir() else []


def _clean(name: str, folder: str, law: Law) -> Callable[[Path | None], list[BenchmarkImage]]:
    def pictures(data: Path | None) -> list[BenchmarkImage]:
        paths = _files(data / folder) if data else []
        return [BenchmarkImage(set=name, name=path.stem, seed=n, truth=path, law=law) for n, path in enumerate(paths)]

    return pictures


def _fmd(data: Path | None) -> list[BenchmarkImage]:
    root = (data or Path()) / "microscopy/fmd"
    found = []
    for n, truth in enumerate(_files(root / "gt") if data else []):
        exposures = sorted((root / "raw").glob(f"{truth.stem}_?.png"))
        if exposures:
            found.append(
                BenchmarkImage(set="fmd", name=truth.stem, seed=n, truth=truth, noisy=exposures[0],
                        companions=tuple(exposures[1:]))
            )  # fmt: skip
    return found


def _w2s(data: Path | None) -> list[BenchmarkImage]:
    root = (data or Path()) / "microscopy/w2s"
    pairs = [(path, root / "avg1" / path.name) for path in (_files(root / "avg400") if data else [])]
    return [
        BenchmarkImage(set="w2s", name=truth.stem, seed=n, truth=truth, noisy=noisy, is_fitted=True)
        for n, (truth, noisy) in enumerate(pairs)
        if noisy.exists()
    ]


def _nuclei(data: Path | None) -> list[BenchmarkImage]:
    path = (data or Path()) / "volumes/nuclei.tif"
    there = data is not None and path.exists()
    return [BenchmarkImage(set="nuclei", name="nuclei", seed=0, truth=path, law=WHITE, space=3)] if there else []


def _scenes(name: str, law: Law, space: int = 2) -> Callable[[Path | None], list[BenchmarkImage]]:
    def pictures(_: Path | None) -> list[BenchmarkImage]:
        return [
            BenchmarkImage(set=name, name=f"scene{seed}", seed=_FIRST + seed, law=law, space=space)
            for seed in range(_SCENES)
        ]

    return pictures


#: Seeds of the scenes, none of which the shipped denoiser was trained on, and how many each set has.
_FIRST, _SCENES = 900_000_000, 4
WHITE, STRONG = Law(std=25 / 255), Law(std=50 / 255)
CORRELATED, POISSON = Law(std=25 / 255, blur=1.0), Law(std=5 / 255, gain=1 / 30)

SETS: dict[str, Callable[[Path | None], list[BenchmarkImage]]] = {
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
