"""Where a volume is looked at before it is restored."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ilcore.grammar.errors import BadVolume
from ilcore.grammar.region import Region, region_of
from ilcore.volumes.validity import data_in
from ilcore.volumes.volume import Volume

#: Places that preflight looks at, and their largest side.
_LOOKS, _SIDE, _DEPTH = 24, 256, 4


def sampled(volume: Volume, seed: int, *, is_any: bool = False) -> list[NDArray[Any]]:
    """Return samples [channel, z, y, x] of a volume, some of which hold something; NaN where they are no data.

    Args:
        volume: The volume.
        seed: Of the places.
        is_any: Whether a volume will do that holds nothing.

    Raises:
        BadVolume: When the whole volume holds nothing but missing values and one other.
        CorruptData: When it cannot be read.
    """
    samples = [volume.known(region)[0] for region in looks(volume, seed)]
    if is_any or any(_varies(sample) for sample in samples):
        return samples
    # A scan that is nearly empty is read until something is found.
    frames = (frame for region, block in volume.stream() for frame in data_in(block, volume.valid(region, block)))
    found = next((frame for frame in frames if _varies(frame)), None)
    if found is not None:
        return [*samples, found]
    values = np.concatenate([data_of(sample) for sample in samples])
    held = _words(values)
    raise BadVolume(f"a volume with something in it was wanted, {volume.uri} holds {held}; there is nothing to restore")


def looks(volume: Volume, seed: int, count: int = _LOOKS) -> list[Region]:
    """Return places spread over a volume: one in each of `count` stretches of it, at random within."""
    rng = np.random.default_rng((seed, 11))
    extent = [1, volume.shape[1], *(min(n, m) for n, m in zip(volume.shape[2:], (_DEPTH, _SIDE, _SIDE), strict=True))]
    room = [n - m for n, m in zip(volume.shape, extent, strict=True)]
    if not any(room):
        return [region_of([(0, n) for n in volume.shape])]
    regions: list[Region] = []
    for number in range(count):
        # A golden-ratio sequence on each axis covers the volume more evenly than independent draws.
        places = [(rng.random() / count + number * step) % 1 for step in (0.7549, 0.0, 0.5698, 0.8192, 0.6711)]
        starts = [round(place * free) for place, free in zip(places, room, strict=True)]
        region = region_of([(a, a + n) for a, n in zip(starts, extent, strict=True)])
        if region not in regions:
            regions.append(region)
    return regions


def data_of(values: NDArray[Any]) -> NDArray[np.float64]:
    """Return the values that are data, one after the other; the others are NaN."""
    flat = values.astype(np.float64).ravel()
    return flat[np.isfinite(flat)]


def _words(values: NDArray[np.float64]) -> str:
    if values.size == 0:
        return "only missing values"
    is_one = values.min() == values.max()
    return f"only the value {values[0]:g}" if is_one else "only one value in each channel of each frame"


def _varies(sample: NDArray[Any]) -> bool:
    channels = (data_of(channel) for channel in sample)
    return any(data.size and data.min() < data.max() for data in channels)
