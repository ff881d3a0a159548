"""What planning knows of the channels of a volume or an array; nothing here opens anything."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ilcore.degradations.estimate import ChannelReport, Preflight
from ilcore.grammar.problem import Noise
from ilcore.grammar.region import Region, region_of

#: Places that preflight looks at, and their largest side.
_LOOKS, _SIDE, _DEPTH = 24, 256, 4


class Channel(Protocol):
    """Normalisation and noise of one channel: `low` and `high` become 0 and 1, and `noise` is told in such units."""

    @property
    def low(self) -> float: ...
    @property
    def high(self) -> float: ...
    @property
    def is_flat(self) -> bool: ...
    @property
    def noise(self) -> Noise: ...


def believed(found: Preflight, noise_std: float | None) -> Preflight:
    """Return what was found, with the noise level that the user knows.

    Only correlation that was measured speaks against white noise then.
    """
    if noise_std is None:
        return found
    std = float(noise_std)

    def known(report: ChannelReport) -> ChannelReport:
        verdict = "white" if report.verdict == "unknown" else report.verdict
        noise = replace(report.noise, gain=0.0, read_std=std, correlation=verdict)
        return replace(report, noise=noise, verdict=verdict, confidence=1.0, level=std)

    return Preflight(channels=tuple(known(report) for report in found.channels))


def live_channels(found: Preflight, channels: Sequence[Channel]) -> Preflight:
    """Return what was found of the channels that hold something; a dark channel says nothing of the noise."""
    pairs = zip(found.channels, channels, strict=True)
    return Preflight(channels=tuple(report for report, channel in pairs if not channel.is_flat))


def data_of(values: NDArray[Any]) -> NDArray[np.float64]:
    """Return the values that are data, one after the other; the others are NaN."""
    flat = values.astype(np.float64).ravel()
    return flat[np.isfinite(flat)]


def range_of(values: NDArray[np.float64]) -> tuple[float, float, float, float]:
    """Return the least value, what becomes 0, what becomes 1, and the largest value."""
    if values.size == 0:
        return 0.0, 0.0, 1.0, 0.0
    floor, low, high, ceiling = (float(v) for v in np.percentile(values, (0, 0.1, 99.9, 100)))
    if high <= low:
        # Nearly everything has one value, as where a few beads lie on black: the rest gives the scale.
        low, high = floor, ceiling
    return floor, low, high if high > low else low + 1.0, ceiling


def places(shape: Sequence[int], seed: int, count: int = _LOOKS) -> list[Region]:
    """Return places spread over [t, c, z, y, x]: one in each of `count` stretches of it, at random within."""
    rng = np.random.default_rng((seed, 11))
    extent = [1, shape[1], *(min(n, m) for n, m in zip(shape[2:], (_DEPTH, _SIDE, _SIDE), strict=True))]
    room = [n - m for n, m in zip(shape, extent, strict=True)]
    if not any(room):
        return [region_of([(0, n) for n in shape])]
    regions: list[Region] = []
    for number in range(count):
        # A golden-ratio sequence on each axis covers the volume more evenly than independent draws.
        shares = [(rng.random() / count + number * step) % 1 for step in (0.7549, 0.0, 0.5698, 0.8192, 0.6711)]
        starts = [round(share * free) for share, free in zip(shares, room, strict=True)]
        region = region_of([(a, a + n) for a, n in zip(starts, extent, strict=True)])
        if region not in regions:
            regions.append(region)
    return regions
