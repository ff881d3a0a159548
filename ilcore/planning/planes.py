"""Brightness of single planes: movies bleach, stacks grow dark with depth.

One normalisation for the whole volume makes a frame of half the light look like one of half the contrast. Where the
user asks for it, each plane is divided by its own brightness before a method sees it, and multiplied by it afterwards:

    seen = (stored - low) / (high - low) / brightness[channel][plane]

Noise is divided with it. Brightness is the mean above `low` at places that are the same in all planes, over the median
plane's.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ilcore.grammar.errors import BadInput
from ilcore.grammar.region import Region, region_of
from ilcore.planning.depth import PLANE
from ilcore.planning.known import data_of
from ilcore.planning.plan import ChannelPlan, PlanesPlan
from ilcore.volumes.volume import Volume

#: Places measured in each plane, and their largest side.
_PLACES, _SIDE = 4, 256
#: Brightness is looked for between these: a plane without light has none to be divided by.
_LEAST, _MOST = 0.1, 10.0


def plane_brightness(volume: Volume, channels: Sequence[ChannelPlan], axis: Literal["t", "z"]) -> PlanesPlan:
    """Measure the brightness of every plane along t or z.

    Raises:
        BadInput: When there is but one.
        CorruptData: When the volume cannot be read.
    """
    along = {"t": 0, "z": 2}[axis]
    if volume.shape[along] < 2:
        raise BadInput(f"per-plane statistics want more than one {PLANE[axis]}, got {volume.shape} (t c z y x)")
    measured = np.array([_brightness(volume, channels, along, plane) for plane in range(volume.shape[along])])
    return PlanesPlan(axis=axis, brightness=tuple(_relative(channel) for channel in measured.T))


def _brightness(volume: Volume, channels: Sequence[ChannelPlan], along: int, plane: int) -> list[float]:
    blocks = [volume.known(region) for region in _places(volume, along, plane)]
    values = [np.concatenate([data_of(block[:, n]) for block in blocks]) for n in range(len(channels))]
    return [
        float(one.mean()) - channel.low if one.size else np.nan for one, channel in zip(values, channels, strict=True)
    ]


def _places(volume: Volume, along: int, plane: int) -> list[Region]:
    """Return places of one plane, the same in all, spread over the other axes."""
    extent = [1, volume.shape[1], 1, *(min(n, _SIDE) for n in volume.shape[3:])]
    room = [n - m for n, m in zip(volume.shape, extent, strict=True)]
    shares = (np.arange(_PLACES) + 0.5) / _PLACES
    regions: list[Region] = []
    for number, share in enumerate(shares):
        # A Latin square: each place has its own stretch of each axis.
        places = [share, 0.0, shares[(number + 1) % _PLACES], shares[(number + 2) % _PLACES], share]
        starts = [int(place * free) for place, free in zip(places, room, strict=True)]
        starts[along] = plane
        region = region_of([(a, a + n) for a, n in zip(starts, extent, strict=True)])
        if region not in regions:
            regions.append(region)
    return regions


def _relative(measured: NDArray[np.float64]) -> tuple[float, ...]:
    """Return brightness over that of the median plane; 1 where there is nothing to compare."""
    known = measured[np.isfinite(measured)]
    usual = float(np.median(known)) if known.size else 0.0
    if usual <= 0:
        return (1.0,) * len(measured)
    relative = np.clip(np.nan_to_num(measured / usual, nan=1.0), _LEAST, _MOST)
    return tuple(float(f"{value:.4g}") for value in relative)


def words_of(planes: PlanesPlan) -> str:
    """Say in half a sentence what was measured."""
    values = [value for channel in planes.brightness for value in channel]
    span = f"{min(values):.2f} to {max(values):.2f} of the median"
    return f"each {PLANE[planes.axis]} is divided by its own brightness, {span}"
