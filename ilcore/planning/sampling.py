"""Where a volume is looked at before it is restored."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ilcore.grammar.errors import BadVolume
from ilcore.grammar.region import Region
from ilcore.planning.known import data_of, places
from ilcore.volumes.validity import data_in
from ilcore.volumes.volume import Volume


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


def looks(volume: Volume, seed: int) -> list[Region]:
    """Return places spread over a volume; see `places`."""
    return places(volume.shape, seed)


def _words(values: NDArray[np.float64]) -> str:
    if values.size == 0:
        return "only missing values"
    is_one = values.min() == values.max()
    return f"only the value {values[0]:g}" if is_one else "only one value in each channel of each frame"


def _varies(sample: NDArray[Any]) -> bool:
    channels = (data_of(channel) for channel in sample)
    return any(data.size and data.min() < data.max() for data in channels)
