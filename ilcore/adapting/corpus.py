"""What a denoiser is pretrained on: patches of the user's archive, or generated scenes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ilcore.adapting.scenes import scene
from ilcore.formats.open import open_volume
from ilcore.grammar.errors import BadInput
from ilcore.grammar.region import Region
from ilcore.volumes.volume import Volume

Image = NDArray[np.float32]
#: What counts as a volume inside an archive folder.
_SUFFIXES = {".zarr", ".tif", ".tiff", ".npy"}


def synthetic_corpus(count: int, seed: int) -> list[Image]:
    """Return `count` generated scenes; the same seed gives the same scenes."""
    return [scene(seed * 1_000_003 + number) for number in range(count)]


def archive_corpus(archive: Path, count: int, side: int, seed: int) -> list[Image]:
    """Return planes cut at random from every volume of an archive, scaled to [0, 1] by the percentiles of their volume.

    Volumes take turns; cuts that are empty or hold values that are not finite are drawn again, a few times.

    Args:
        archive: A volume, or a folder searched for .zarr, .tif, .tiff and .npy.
        count: Cuts in all.
        side: Height and width of a cut.
        seed: The same seed gives the same cuts.

    Raises:
        BadInput: When no volume is large enough or every cut is empty.
    """
    volumes = [volume for volume in _volumes(archive) if min(volume.shape[3:]) >= side]
    if not volumes:
        raise BadInput(f"an archive must hold volumes of at least {side} x {side} pixels, got none in {archive}")
    rng = np.random.default_rng((seed, 1))
    cuts: list[Image] = []
    for attempt in range(4 * count):
        cut = _cut(volumes[attempt % len(volumes)], side, rng)
        if cut is not None:
            cuts.append(cut)
        if len(cuts) == count:
            return cuts
    if not cuts:
        raise BadInput(f"an archive must hold images that are not constant, got only empty cuts in {archive}")
    return cuts


def _volumes(archive: Path) -> Sequence[Volume]:
    if archive.suffix in _SUFFIXES:
        return [open_volume(str(archive))]
    # A Zarr store is a folder: nothing inside one is a volume of its own.
    found = [path for path in sorted(archive.rglob("*")) if path.suffix in _SUFFIXES]
    return [open_volume(str(path)) for path in found if not any(parent in found for parent in path.parents)]


def _cut(volume: Volume, side: int, rng: np.random.Generator) -> Image | None:
    starts = [
        int(rng.integers(length - extent + 1)) for length, extent in zip(volume.shape, _extent(side), strict=True)
    ]
    region: Region = tuple((a, a + n) for a, n in zip(starts, _extent(side), strict=True))  # type: ignore[assignment]
    values = volume.known(region)[0, 0, 0].astype(np.float32)
    if not np.isfinite(values).all():
        return None
    low, high = np.percentile(values, (0.1, 99.9))
    return None if high <= low else np.clip((values - low) / (high - low), 0, 1)


def _extent(side: int) -> tuple[int, int, int, int, int]:
    return (1, 1, 1, side, side)
