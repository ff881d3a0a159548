"""Candidates tried on a few samples of a volume before one is chosen: what each gains, by its estimated risk."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ilcore import fit
from ilcore.adapting.weights import SHIPPED, load_denoiser
from ilcore.degradations.estimate import Preflight
from ilcore.fit import Weights
from ilcore.grammar.arrays import Streams, Tiles
from ilcore.grammar.problem import Problem
from ilcore.grammar.recipe import Method
from ilcore.methods.catalogue import find
from ilcore.methods.entry import configure
from ilcore.qa.risk import risk_sure
from ilcore.restoring.choose import Candidate, Expected, able, expected_of
from ilcore.restoring.known import Channel

#: Samples tried, and their sides, of planes and of stacks: as many voxels in both, since a trial shall cost little.
_SAMPLES = 6
_SIDES = {2: (1, 96, 96), 3: (3, 56, 56)}
#: The one tile of a trial.
_PLACE = [(0,)]
#: The least risk that is believed, as a share of the noise: 20 dB.
_LEAST = 0.01


def promised(
    samples: Sequence[NDArray[Any]],
    channels: Sequence[Channel],
    live: Preflight,
    *,
    space: int,
    seed: int,
    megavoxels: float,
    weights: Path | None = None,
) -> list[Expected]:
    """Return what the candidates promise that cope with the noise; nothing where the noise is not known.

    Args:
        samples: [channel, z, y, x] each, as stored; NaN where they are no data.
        channels: Their normalisation and noise.
        live: What is known of the noise of those that hold something.
        space: 2 or 3 axes of space.
        seed: Of the probes.
        megavoxels: Of the whole, all channels.
        weights: Of a pretrained model of the user's own, which takes the place of all that ship.
    """
    candidates = able(live, own_weights=weights is not None)
    if not candidates:
        return []
    gains = expected_gains(samples, channels, candidates, space=space, seed=seed, weights=weights or SHIPPED)
    return expected_of(gains, live, megavoxels, space=space)


def expected_gains(
    samples: Sequence[NDArray[Any]],
    channels: Sequence[Channel],
    candidates: Mapping[str, Candidate],
    *,
    space: int,
    seed: int,
    weights: Path = SHIPPED,
) -> dict[str, float]:
    """Return by how many dB each candidate lowers the mean squared error, by Stein's estimate; the median of samples.

    Args:
        samples: [channel, z, y, x] each, as stored; NaN where they are no data.
        channels: Their normalisation and noise.
        candidates: By name.
        space: 2 or 3 axes of space.
        seed: Of the probes.
        weights: Of the pretrained model.
    """
    problems = list(_problems(samples, channels, space))
    if not problems:
        return {}
    tried = {name: one for name, one in candidates.items() if _is_worth_it(one, problems[0])}
    noise = np.array([float(problem.unbiased_variance().mean()) for problem in problems])
    trials = [Trial(one, weights, seed) for one in tried.values()]
    shares = np.array([[trial.risk(problem) for problem in problems] for trial in trials]) / np.maximum(noise, 1e-12)
    # Where the noise is taken for too strong, all risks are too low by the same: differences stay true.
    shares += np.maximum(0, _LEAST - shares.min(0))
    return {name: -10 * math.log10(float(share)) for name, share in zip(tried, np.median(shares, 1), strict=True)}


def _is_worth_it(candidate: Candidate, problem: Problem) -> bool:
    """Tell whether trying differs from the others: there is nothing to stabilise in noise of one level."""
    depends = any(noise.gain > 0 for noise in problem.noise or ())
    return depends or not candidate.overrides.get("stabilise", False)


def _problems(samples: Sequence[NDArray[Any]], channels: Sequence[Channel], space: int) -> Iterator[Problem]:
    """Yield the middles of samples that are data throughout and hold something, the most varied first."""
    live = [number for number, channel in enumerate(channels) if not channel.is_flat]
    parts = [_middle(sample, space)[live].astype(np.float64) for sample in samples]
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


def _middle(sample: NDArray[Any], space: int) -> NDArray[Any]:
    spans = [
        slice(start := max(0, (length - side) // 2), start + side)
        for length, side in zip(sample.shape[1:], _SIDES[space], strict=True)
    ]
    return sample[:, *spans]


class Trial:
    """One candidate, to be carried out on sample after sample."""

    def __init__(self, candidate: Candidate, weights: Path, seed: int) -> None:
        entry = find(candidate.method)
        self.weights: Weights | None = None
        if "weights" in entry.needs:
            network, self.weights = load_denoiser(candidate.weights or weights)
            entry = entry.with_network(network)
        self.method: Method = configure(entry, candidate.overrides).method
        self.seed = seed

    def restored(self, problem: Problem) -> Tiles:
        """Return the image of a problem."""
        if self.weights is None:
            return fit.restore(self.method, problem, Streams.of(0, "probing", _PLACE)).image
        return fit.predict(self.method, problem, self.weights, Streams.of(0, "probing", _PLACE))

    def risk(self, problem: Problem) -> float:
        """Return the estimated mean squared error on one sample, in squared normalised units."""

        def predict(observed: Tiles) -> Tiles:
            return self.restored(replace(problem, observed=observed))

        # A name of its own: with the method's, a probe would repeat what the method drew.
        probes = Streams.of(self.seed, "probing/risk", _PLACE)
        return float(risk_sure(predict, problem.observed, problem.noise or (), probes)[0])
