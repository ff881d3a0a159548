"""The quality tables of the README: the shipped denoiser on photographs, the default choice on real microscopy.

    python -m tests.bench.quality photographs DATA    BSD68 at noise 15, 25, 50
    python -m tests.bench.quality microscopy DATA     real fluorescence fields with ground truth
    python -m tests.bench.quality scenes DATA         satellite scenes with 2 % noise, the default choice
    python -m tests.bench.quality applied DATA        the shipped models as they are, satellite scenes too
    add --bm3d for BM3D's own columns (extra `bm3d`), --quick for the first image of each kind

Noise is numpy's default_rng(seed = position of the file), neither clipped nor rounded. PSNR has peak 1 and is taken
on the result clipped to [0, 1]. Nothing is selected with the truth.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import tifffile
import torch
from numpy.typing import NDArray
from skimage.io import imread

from ilcore import fit
from ilcore.adapting.shipped import Course, Net
from ilcore.adapting.weights import CONDITIONED, PHOTOS, SHIPPED, load_denoiser, load_weights
from ilcore.degradations.estimate import preflight
from ilcore.formats.open import open_volume
from ilcore.grammar.arrays import Streams
from ilcore.grammar.problem import Problem
from ilcore.grammar.region import whole
from ilcore.methods.catalogue import METHODS
from ilcore.planning.make import plan_restoration
from ilcore.qa.truth import affine_fit, psnr
from ilcore.running.local import carry_out
from ilcore.running.workspace import Workspace

Image = NDArray[np.float32]
#: BSD68 at noise 15, 25, 50 as printed in the DnCNN and KAIR READMEs (all 68 images).
PUBLISHED = {"BM3D": (31.07, 28.57, 25.62), "DnCNN": (31.73, 29.23, 26.23)}


def denoise(noisy: Image, weights: Path = SHIPPED) -> Image:
    """Return an image through a pretrained denoiser, nothing learnt."""
    network, start = load_denoiser(weights)
    entry = METHODS["adapted"].with_network(network)
    problem = Problem(observed=torch.from_numpy(noisy.astype(np.float32))[None, None])
    return fit.predict(entry.method, problem, start, Streams.of(0, "bench", [(0,)]))[0, 0].numpy()


def conditioned(noisy: Image, noise_std: float) -> Image:
    """Return an image through the denoiser that is told the noise."""
    net = Net(Course(conditioned=True, depth=15))
    net.load_state_dict(load_weights(CONDITIONED))
    rows, columns = noisy.shape
    even = torch.from_numpy(np.pad(noisy, ((0, rows % 2), (0, columns % 2)), mode="edge").astype(np.float32))[
        None, None
    ]
    with torch.no_grad():
        return net(even, torch.full_like(even, noise_std))[0, 0, :rows, :columns].numpy()


def bm3d_of(noisy: Image, noise_std: float) -> Image:
    """Return BM3D's result, its own implementation at its default settings."""
    import bm3d

    return bm3d.bm3d(noisy.astype(np.float64), noise_std).astype(np.float32)


def unit(path: Path) -> Image:
    """Read an 8-bit image as [0, 1]."""
    return imread(path).astype(np.float32) / 255


def score(clean: Image, result: Image) -> float:
    """Return the PSNR of a clipped result."""
    return float(psnr(clean, np.clip(result, 0, 1), peak=1.0))


def photographs(data: Path, *, quick: bool, with_bm3d: bool) -> Iterator[str]:
    """Yield the lines of the BSD68 table."""
    paths = sorted((data / "natural/bsd68").glob("*.png"))[: 1 if quick else None]
    methods: dict[str, Callable[[Image, float], Image]] = {
        "conditioned_denoiser, told the noise": conditioned,
        **{path.stem: lambda y, _, path=path: denoise(y, path) for path in (SHIPPED, PHOTOS)},
    }
    if with_bm3d:
        methods["BM3D, told the noise"] = bm3d_of
    yield f"| method, mean PSNR of {len(paths)} images | 15 | 25 | 50 |"
    yield "| --- | --- | --- | --- |"
    for name, method in methods.items():
        means = [
            np.mean([_photograph(path, n, level, method) for n, path in enumerate(paths)]) for level in (15, 25, 50)
        ]
        yield f"| {name}, measured | " + " | ".join(f"{value:.2f}" for value in means) + " |"
    for name, values in PUBLISHED.items():
        yield f"| {name}, published (all 68) | " + " | ".join(f"{value:.2f}" for value in values) + " |"


def _photograph(path: Path, seed: int, level: float, method: Callable[[Image, float], Image]) -> float:
    clean = unit(path)
    noisy = clean + np.random.default_rng(seed).normal(0, level / 255, clean.shape).astype(np.float32)
    return score(clean, method(noisy, level / 255))


def microscopy(data: Path, *, quick: bool, with_bm3d: bool) -> Iterator[str]:
    """Yield the lines of the table of real fields: input, BM3D, pretrained alone, the default choice of the plan."""
    yield "| field | noisy | BM3D | pretrained | default choice | chosen | seconds |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    rows = []
    for name, noisy, clean, affine in _fields(data, quick=quick):
        fitted = (lambda image, clean=clean: affine_fit(image, clean)) if affine else (lambda image: image)
        began = time.perf_counter()
        result, chosen = restored(noisy)
        seconds = time.perf_counter() - began
        others = [bm3d_of(noisy, _level(noisy)) if with_bm3d else None, denoise(noisy)]
        values = [score(clean, fitted(image)) if image is not None else np.nan for image in (noisy, *others, result)]
        rows.append(values)
        yield f"| {name} | " + " | ".join(f"{value:.2f}" for value in values) + f" | {chosen} | {seconds:.0f} |"
    yield "| **mean** | " + " | ".join(f"**{value:.2f}**" for value in np.mean(rows, 0)) + " | | |"


def applied(data: Path, *, quick: bool, with_bm3d: bool) -> Iterator[str]:
    """Yield the lines of the table of shipped models, applied as they are."""
    yield (
        "| image | noisy | "
        + " | ".join(path.stem for path in (SHIPPED, PHOTOS))
        + (" | BM3D |" if with_bm3d else " |")
    )
    yield "| --- | --- | --- | --- |" + (" --- |" if with_bm3d else "")
    fields = ((name, noisy, clean) for name, noisy, clean, affine in _fields(data, quick=quick) if not affine)
    for name, noisy, clean in (*fields, *_scenes(data)):
        images = [noisy, denoise(noisy), denoise(noisy, PHOTOS)]
        images += [bm3d_of(noisy, 0.02 if name in SCENES else _level(noisy))] if with_bm3d else []
        values = [
            score(clean, image) if name not in SCENES else float(psnr(clean, image, peak=1.0)) for image in images
        ]
        yield f"| {name} | " + " | ".join(f"{value:.2f}" for value in values) + " |"


def scenes(data: Path, *, quick: bool, with_bm3d: bool) -> Iterator[str]:
    """Yield the lines of the table of satellite scenes: input, BM3D told the level, the default choice of the plan."""
    yield "| scene | noisy | BM3D | default choice | chosen |"
    yield "| --- | --- | --- | --- | --- |"
    for name, noisy, clean in list(_scenes(data))[: 1 if quick else None]:
        result, chosen = restored(noisy)
        images = (noisy, bm3d_of(noisy, 0.02) if with_bm3d else None, result)
        cells = ["-" if image is None else f"{float(psnr(clean, image, peak=1.0)):.2f}" for image in images]
        yield f"| {name} | " + " | ".join(cells) + f" | {chosen} |"


#: Satellite scenes: file, band. The middle, 512 x 512, is scaled by its percentiles 0.1 and 99.9; the noise is 2 %.
SCENES = {
    "Landsat 8, band 4": ("landsat8/LC08_L1TP_224078_20200518_B4.tif", 0),
    "Sentinel-2, 10 m": ("sentinel2/S2A_MSIL1C_20170527_T33UUB_im10.tif", 0),
    "WorldView-2, pan": ("worldview2/pan.tif", 0),
}


def _scenes(data: Path) -> Iterator[tuple[str, Image, Image]]:
    for name, (file, band) in SCENES.items():
        image = tifffile.imread(data / "satellite" / file).astype(np.float64)
        image = image if image.ndim == 2 else image[band] if len(image) < 16 else image[..., band]
        rows, columns = (slice(max(0, (side - 512) // 2), max(0, (side - 512) // 2) + 512) for side in image.shape)
        low, high = np.percentile(image[rows, columns], (0.1, 99.9))
        clean = (image[rows, columns] - low) / (high - low)
        yield name, (clean + np.random.default_rng(7).normal(0, 0.02, clean.shape)).astype(np.float32), clean


def _level(noisy: Image) -> float:
    """Return the noise level at the mean grey level as preflight measures it: BM3D gets the better estimate."""
    channel = preflight([noisy[None]], np.dtype(np.float32)).channels[0]
    return channel.noise.std_at(float(noisy.mean()))


def _fields(data: Path, *, quick: bool) -> Iterator[tuple[str, Image, Image, bool]]:
    fmd, w2s = data / "microscopy/fmd", data / "microscopy/w2s"
    for path in sorted((fmd / "gt").glob("*.png"))[: 1 if quick else None]:
        yield f"FMD {path.stem}", unit(fmd / "raw" / f"{path.stem}_1.png"), unit(path), False
    for path in sorted((w2s / "avg400").glob("*.tif"))[: 1 if quick else None]:
        yield f"W2S {path.stem}", unit(w2s / "avg1" / path.name), unit(path), True


def restored(noisy: Image) -> tuple[Image, str]:
    """Return what a run with nothing but default settings makes, and what it chose."""
    with TemporaryDirectory() as folder:
        source, target = Path(folder) / "noisy.npy", Path(folder) / "restored.ome.zarr"
        np.save(source, noisy.astype(np.float32))
        plan = plan_restoration(str(source), str(target))
        verdict = carry_out(plan).verdict
        place = target if target.exists() else Workspace.of(target).staging
        volume = open_volume(str(place))
        steps = plan.overrides.get("stop.steps", "default")
        return volume.read(whole(volume.shape))[0, 0, 0], f"{plan.method}, {plan.scope}, steps {steps}: {verdict}"


TABLES = {"photographs": photographs, "microscopy": microscopy, "scenes": scenes, "applied": applied}


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=TABLES)
    parser.add_argument("data", type=Path)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--bm3d", action="store_true")
    asked = parser.parse_args()
    for line in TABLES[asked.table](asked.data, quick=asked.quick, with_bm3d=asked.bm3d):
        print(line, flush=True)


if __name__ == "__main__":
    main()
