"""What is frozen of every channel: which values become 0 and 1, and what its noise is."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ilcore.degradations.estimate import ChannelReport, Preflight
from ilcore.grammar.errors import BadVolume
from ilcore.planning.known import data_of, range_of
from ilcore.planning.plan import ChannelPlan
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


def _range(values: NDArray[np.float64], uri: str) -> tuple[float, float, float, float]:
    """Return what becomes 0, what becomes 1, the least and the largest value seen."""
    floor, low, high, ceiling = range_of(values)
    if not np.isfinite(ceiling - floor):
        raise BadVolume(f"values that differ by less than 1e308 were wanted, got {floor:g} to {ceiling:g} in {uri}")
    return low, high, floor, ceiling
