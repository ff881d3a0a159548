"""Whether an instrument still delivers what it used to: the noise and range of a scan beside those of earlier ones."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from ilcore.planning.plan import RestorationPlan

#: Scans of an instrument that are remembered, and how many there must be before anything is said.
REMEMBERED, ENOUGH = 50, 5
#: What is said to differ: by more than this factor, and by more than so many robust standard deviations. The range
#: depends on what is looked at, the noise mostly on the instrument.
FACTORS, DEVIATIONS = {"noise": 1.5, "range": 2.0}, 4.0
#: Median absolute deviation of a normal distribution over its standard deviation.
_MAD = 0.6745


def seen_in(plan: RestorationPlan) -> dict[str, float]:
    """Return what is compared: noise and range of every channel, in the units of the source."""
    found = {}
    for number, channel in enumerate(plan.channels):
        if not channel.is_flat:
            found[f"noise of channel {number}"] = float(channel.level)
            found[f"range of channel {number}"] = float(channel.high - channel.low)
    return found


def drift(earlier: Sequence[Mapping[str, float]], seen: Mapping[str, float]) -> str:
    """Return in words what differs from earlier scans of the instrument; empty where nothing does.

    Args:
        earlier: What was seen in them.
        seen: What was seen in this one.
    """
    return "; ".join(words for name, value in seen.items() if (words := _differs(name, earlier, value)))


def _differs(name: str, earlier: Sequence[Mapping[str, float]], value: float) -> str:
    known = np.asarray([row[name] for row in earlier if row.get(name, 0.0) > 0])
    if len(known) < ENOUGH or value <= 0:
        return ""
    # Factors, not differences: noise of 2 and of 4 is as far apart as noise of 200 and of 400.
    logs = np.log(known)
    usual = float(np.median(logs))
    spread = float(np.median(np.abs(logs - usual))) / _MAD
    away = abs(math.log(value) - usual)
    if away <= max(math.log(FACTORS[name.split()[0]]), DEVIATIONS * spread):
        return ""
    return f"{name} is {value:.4g}, {math.exp(usual):.4g} in {len(known)} earlier scans of the instrument"
