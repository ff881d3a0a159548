"""A second opinion on how strong the noise is: what a network takes away that was never told.

Where texture fills every block, all estimators count it as noise, unless white noise shows as a flat floor. A blind
denoiser has learnt what pictures look like, and takes away less. At the true level it takes at least three quarters of
it, on textures too; where it takes much less than that of what was estimated, the estimate is texture, and is lowered.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ilcore.adapting.weights import PHOTOS
from ilcore.aims.choosing import CANDIDATES
from ilcore.degradations.estimate import ChannelReport, Preflight
from ilcore.grammar.problem import Noise
from ilcore.planning.array_scale import ArrayChannel
from ilcore.planning.known import data_of, range_of
from ilcore.planning.probing import Trial, problems_of
from ilcore.qa.likeness import inside_limits

#: What the network takes away of noise at its true level, on textures; below the second share the estimate is lowered.
_TAKEN, _TOO_LITTLE = 0.75, 0.65


def with_second_opinion(found: Preflight, samples: Sequence[NDArray[Any]]) -> Preflight:
    """Return what was found, its noise lowered where a blind denoiser takes away far less.

    Correlated noise is left as it is: the network was not made for it.

    Args:
        found: What preflight found.
        samples: [channel, z, y, x] each, as stored; NaN where they are no data.
    """
    channels = (_reviewed(one, [sample[n : n + 1] for sample in samples]) for n, one in enumerate(found.channels))
    return Preflight(channels=tuple(channels))


def _reviewed(report: ChannelReport, samples: Sequence[NDArray[Any]]) -> ChannelReport:
    if report.is_floor or report.verdict not in ("white", "unknown") or not report.level > 0:
        return report
    floor, low, high, ceiling = range_of(np.concatenate([data_of(sample) for sample in samples]))
    if not floor < ceiling:
        return report
    taken = share_taken(report.noise.scaled(low, high), (low, high), samples)
    if taken is None or taken >= _TOO_LITTLE:
        return report
    factor = taken / _TAKEN
    noise = replace(report.noise, gain=report.noise.gain * factor**2, read_std=report.noise.read_std * factor)
    note = f"a blind denoiser takes away {taken:.0%} of the noise only: most of the rest is texture"
    return replace(report, noise=noise, level=report.level * factor, notes=(*report.notes, note))


def share_taken(noise: Noise, ends: tuple[float, float], samples: Sequence[NDArray[Any]]) -> float | None:
    """Return what the network takes away over the noise, as a ratio of deviations; None where no sample is whole."""
    trial = Trial(CANDIDATES["photographs"], PHOTOS, 0)
    power = variance = 0.0
    for problem in problems_of(samples, [ArrayChannel(*ends, is_flat=False, noise=noise)], 2):
        seen, image = (each[0, 0].double().numpy() for each in (problem.observed, trial.restored(problem)))
        # At the limits of a detector, and in frames of black, there is no noise to take away.
        inside = inside_limits(seen, np.isfinite(seen), noise)
        power += float(((seen - image)[inside] ** 2).sum())
        variance += float(noise.variance(image[inside]).sum())
    return math.sqrt(power / variance) if variance > 0 else None
