"""Candidates tried on a few samples of a volume before one is chosen: the estimated risk of each."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ilcore import fit
from ilcore.adapting.weights import SHIPPED, load_denoiser
from ilcore.fit import Weights
from ilcore.grammar.arrays import Streams, Tiles
from ilcore.grammar.problem import Problem
from ilcore.grammar.recipe import Method
from ilcore.methods.catalogue import find
from ilcore.methods.entry import configure
from ilcore.qa.risk import risk_sure
from ilcore.restoring.choose import CANDIDATES, Candidate
from ilcore.restoring.plan import ChannelPlan

#: Samples tried, and their side.
_SAMPLES, _SIDE = 6, 96


def estimated_risks(
    samples: Sequence[NDArray[Any]], channels: Sequence[ChannelPlan], *, space: int, seed: int
) -> Mapping[str, float]:
    """Return Stein's estimate of the mean squared error of each candidate, in squared normalised units.

    Args:
        samples: [channel, z, y, x] each, as stored; NaN where they are no data.
        channels: Their normalisation and noise.
        space: 2 or 3 axes of space.
        seed: Of the probes.
    """
    problems = list(_problems(samples, channels, space))
    if not problems:
        return {}
    able = {name: candidate for name, candidate in CANDIDATES.items() if _is_worth_it(candidate, problems[0])}
    return {name: float(np.median([_risk(one, problem, seed) for problem in problems])) for name, one in able.items()}


def _is_worth_it(candidate: Candidate, problem: Problem) -> bool:
    """Tell whether trying differs from the others: there is nothing to stabilise in noise of one level."""
    depends = any(noise.gain > 0 for noise in problem.noise or ())
    return depends or not candidate.overrides.get("stabilise", False)


def _problems(samples: Sequence[NDArray[Any]], channels: Sequence[ChannelPlan], space: int) -> Iterator[Problem]:
    """Yield the middles of samples that are data throughout and hold something, the most varied first."""
    live = [number for number, channel in enumerate(channels) if not channel.is_flat]
    parts = [_middle(sample)[live].astype(np.float64) for sample in samples]
    whole = [part for part in parts if np.isfinite(part).all()]
    noise = tuple(channels[number].noise for number in live)
    for part in sorted(whole, key=lambda part: -part.std())[:_SAMPLES]:
        low = np.array([channels[n].low for n in live])[:, None, None, None]
        high = np.array([channels[n].high for n in live])[:, None, None, None]
        seen = torch.from_numpy(((part - low) / (high - low)).astype(np.float32))[None]
        observed = seen if space == 3 else seen[:, :, 0]
        yield Problem(observed=observed, noise=noise, value_range=_range(observed))


def _range(observed: Tiles) -> tuple[float, float]:
    return float(observed.min()) - 0.05, float(observed.max()) + 0.05


def _middle(sample: NDArray[Any]) -> NDArray[Any]:
    starts = [max(0, (side - _SIDE) // 2) for side in sample.shape[2:]]
    return sample[:, :, starts[0] : starts[0] + _SIDE, starts[1] : starts[1] + _SIDE]


def _risk(candidate: Candidate, problem: Problem, seed: int) -> float:
    """Return the risk of one candidate on one sample."""
    entry = configure(find(candidate.method), candidate.overrides)
    method, weights = entry.method, load_denoiser(SHIPPED)[1] if "weights" in entry.needs else None
    return float(
        risk_sure(_restorer(method, weights, problem), problem.observed, problem.noise or (), _streams(seed))[0]
    )


def _restorer(method: Method, weights: Weights | None, problem: Problem) -> Any:
    def restored(observed: Tiles) -> Tiles:
        posed = replace(problem, observed=observed)
        if weights is None:
            return fit.restore(method, posed, _streams(0)).image
        return fit.predict(method, posed, weights, _streams(0))

    return restored


def _streams(seed: int) -> Streams:
    return Streams.of(seed, "probing", [(0,)])
