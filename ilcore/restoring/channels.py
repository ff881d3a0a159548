"""What is frozen of every channel: which values become 0 and 1, and what its noise is."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ilcore.degradations.estimate import ChannelReport, Preflight
from ilcore.grammar.errors import BadVolume
from ilcore.restoring.plan import ChannelPlan
from ilcore.restoring.sampling import data_of
from ilcore.volumes.volume import Volume


def channel_plans(samples: Sequence[NDArray[Any]], found: Preflight, volume: Volume) -> tuple[ChannelPlan, ...]:
    """Freeze normalisation and noise of every channel.

    Raises:
        BadVolume: When values lie too far apart.
    """
    # A channel of which no sample holds data is dark; the others are restored all the same.
    values = [np.concatenate([data_of(sample[n]) for sample in samples]) for n in range(len(found.channels))]
    return tuple(_channel(one, report, volume.uri) for one, report in zip(values, found.channels, strict=True))


def _channel(values: NDArray[np.float64], report: ChannelReport, uri: str) -> ChannelPlan:
    low, high, floor, ceiling = _range(values, uri)
    return ChannelPlan(
        low=low,
        high=high,
        floor=floor,
        ceiling=ceiling,
        gain=_plain(report.noise.gain),
        read_std=_plain(report.noise.read_std),
        offset=_plain(report.noise.offset),
        verdict=report.verdict,
        confidence=_plain(report.confidence),
        lags=(_plain(report.lag_y), _plain(report.lag_x), _plain(report.lag_diag)),
        level=_plain(report.level),
        notes=report.notes,
    )


def _plain(value: float) -> float:
    """Round an estimate to what it is worth, so that another machine's last bits make the same plan."""
    return float(f"{value:.6g}")


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


def live_channels(found: Preflight, channels: Sequence[ChannelPlan]) -> Preflight:
    """Return what was found of the channels that hold something; a dark channel says nothing of the noise."""
    pairs = zip(found.channels, channels, strict=True)
    return Preflight(channels=tuple(report for report, channel in pairs if not channel.is_flat))


def _range(values: NDArray[np.float64], uri: str) -> tuple[float, float, float, float]:
    """Return what becomes 0, what becomes 1, the least and the largest value seen."""
    if values.size == 0:
        return 0.0, 1.0, 0.0, 0.0
    floor, low, high, ceiling = (float(v) for v in np.percentile(values, (0, 0.1, 99.9, 100)))
    if not np.isfinite(ceiling - floor):
        raise BadVolume(f"values that differ by less than 1e308 were wanted, got {floor:g} to {ceiling:g} in {uri}")
    if high <= low:
        # Nearly everything has one value, as where a few beads lie on black: the rest gives the scale.
        low, high = floor, ceiling
    return low, high if high > low else low + 1.0, floor, ceiling
