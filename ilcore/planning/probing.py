"""Candidates tried on a few samples of a volume before one is chosen: what each gains, by its estimated risk."""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ilcore import fit
from ilcore.adapting.weights import SHIPPED, load_denoiser
from ilcore.aims.choosing import LEAST_NOISE, Candidate, Expected, able, expected_of
from ilcore.degradations.estimate import Preflight
from ilcore.grammar.arrays import Streams, Tiles, Weights
from ilcore.grammar.draws import lags_of
from ilcore.grammar.problem import Problem
from ilcore.grammar.recipe import Method
from ilcore.grammar.telling import tell
from ilcore.methods.catalogue import find
from ilcore.methods.entry import configure
from ilcore.planning.known import Channel
from ilcore.qa.likeness import inside_limits, is_normal, likeness
from ilcore.qa.risk import risk_sure

#: Samples tried, and their sides, of planes and of stacks: as many voxels in both, since a trial shall cost little.
_SAMPLES = 6
_SIDES = {2: (1, 96, 96), 3: (3, 56, 56)}
#: Predictions of a trial: the sample's own, and those of the probes.
_PREDICTIONS = 2
#: Seconds of trials for which what is declared counts as much as what is timed.
_BELIEVED = 5.0
#: The one tile of a trial.
_PLACE = [(0,)]
#: The least risk that is believed, as a share of the noise: 20 dB.
_LEAST = 0.01


@dataclass(frozen=True, kw_only=True)
class Tried:
    """What a candidate did to the samples.

    Args:
        gain_db: By which the mean squared error falls below that of the input, by Stein's estimate; median of samples.
        doubt: Why what it took away is no noise; empty where it is.
    """

    gain_db: float
    doubt: str = ""


@dataclass(frozen=True, kw_only=True)
class Promises:
    """What there is to expect of a volume.

    Args:
        expected: Of the candidates whose residual is noise.
        refused: Candidates whose residual is not, and why.
        noise_share: Standard deviation of the noise over the range of values; None where nothing was tried.
    """

    expected: Sequence[Expected] = ()
    refused: Mapping[str, str] = field(default_factory=dict)
    noise_share: float | None = None


def promised(
    samples: Sequence[NDArray[Any]],
    channels: Sequence[Channel],
    live: Preflight,
    *,
    space: int,
    seed: int,
    megavoxels: float,
    weights: Path | None = None,
) -> Promises:
    """Return what the candidates promise that cope with the noise.

    Args:
        samples: [channel, z, y, x] each, as stored; NaN where they are no data.
        channels: Their normalisation and noise.
        live: What is known of the noise of those that hold something.
        space: 2 or 3 axes of space.
        seed: Of the probes.
        megavoxels: Of the whole, all channels.
        weights: Of a pretrained model of the user's own, which takes the place of all that ship.
    """
    problems, candidates = list(problems_of(samples, channels, space)), able(live, own_weights=weights is not None)
    if not candidates or not problems:
        return Promises()
    noise = max(float(one.unbiased_variance().mean((0, *range(2, one.observed.ndim))).max()) for one in problems)
    share = math.sqrt(max(noise, 0.0))
    if share < LEAST_NOISE:
        return Promises(noise_share=share)
    found = tried(problems, candidates, seed=seed, weights=weights or SHIPPED)
    gains = {name: one.gain_db for name, one in found.items() if not one.doubt}
    return Promises(
        expected=expected_of(gains, live, megavoxels, space=space),
        refused={name: one.doubt for name, one in found.items() if one.doubt},
        noise_share=share,
    )


def expected_gains(
    samples: Sequence[NDArray[Any]],
    channels: Sequence[Channel],
    candidates: Mapping[str, Candidate],
    *,
    space: int,
    seed: int,
    weights: Path = SHIPPED,
) -> dict[str, float]:
    """Return the gain of each candidate, whatever its residual looks like; see `tried`."""
    problems = list(problems_of(samples, channels, space))
    return {name: one.gain_db for name, one in tried(problems, candidates, seed=seed, weights=weights).items()}


def tried(
    problems: Sequence[Problem], candidates: Mapping[str, Candidate], *, seed: int, weights: Path = SHIPPED
) -> dict[str, Tried]:
    """Return what each candidate does to samples.

    Args:
        problems: Samples, normalised, with their noise.
        candidates: By name.
        seed: Of the probes.
        weights: Of the pretrained model.
    """
    if not problems:
        return {}
    wanted = {name: one for name, one in candidates.items() if _is_worth_it(one, problems[0])}
    noise = np.array([_error_of_input(problem) for problem in problems])
    looks = list(_looks(problems, list(wanted.values()), weights, seed))
    shares = np.array([[look.risk for look in row] for row in looks]) / np.maximum(noise, 1e-12)
    # Where the noise is taken for too strong, all risks are too low by the same: differences stay true.
    shares += np.maximum(0, _LEAST - shares.min(0))
    gains = [-10 * math.log10(max(float(share), 1e-9)) for share in np.median(shares, 1)]
    doubts = [_of_most([look.doubt for look in row]) for row in looks]
    return {name: Tried(gain_db=gain, doubt=doubt) for name, gain, doubt in zip(wanted, gains, doubts, strict=True)}


def _looks(
    problems: Sequence[Problem], candidates: Sequence[Candidate], weights: Path, seed: int
) -> Iterator[list["Look"]]:
    """Yield what each candidate makes of every sample, and say how far that is."""
    space, voxels = problems[0].observed.ndim - 2, sum(problem.observed.numel() for problem in problems)
    # Declared for the one core of a quick machine; what was timed here counts for more, the longer it took.
    declared = [one.seconds[space - 2] * voxels / 1e6 * _PREDICTIONS for one in candidates]
    done, began = 0.0, time.monotonic()
    for number, (one, seconds) in enumerate(zip(candidates, declared, strict=True), 1):
        slower = (time.monotonic() - began + _BELIEVED) / (done + _BELIEVED)
        left = slower * sum(declared[number - 1 :])
        tell(f"trial: {one.words} on {len(problems)} samples", number=number, total=len(candidates), seconds_left=left)
        trial = Trial(one, weights, seed)
        yield [trial.look(problem) for problem in problems]
        done += seconds


def _of_most(doubts: Sequence[str]) -> str:
    """Return the first doubt where most samples have one; empty where they have none."""
    held = [doubt for doubt in doubts if doubt]
    return held[0] if 2 * len(held) > len(doubts) else ""


def doubt_of(restored: Tiles, problem: Problem) -> str:
    """Return why what was taken from a sample is no noise, in any of its channels; empty where it is."""
    for channel, noise in enumerate(problem.noise or ()):
        seen, image = (each[0, channel].double().numpy() for each in (problem.observed, restored))
        std = np.sqrt(np.maximum(noise.variance(image), 1e-12))
        inside = inside_limits(seen, np.isfinite(seen), noise)
        found = likeness(seen - image, std, inside, lags_of(noise))
        if found is not None and (doubt := found.doubt(is_normal=is_normal(noise, float(np.median(image))))):
            return doubt
    return ""


def _uncut(problem: Problem) -> Tiles:
    """Return 1 where no limit of the detector cut the noise off, else 0, [1, channel, *space]."""
    planes = [plane.double().numpy() for plane in problem.observed[0]]
    masks = [
        inside_limits(plane, np.isfinite(plane), noise)
        for plane, noise in zip(planes, problem.noise or (), strict=True)
    ]
    return torch.from_numpy(np.stack(masks))[None]


def _error_of_input(problem: Problem) -> float:
    """Return the mean squared error of a sample as it is."""
    return float((problem.unbiased_variance() * _uncut(problem)).mean())


def _is_worth_it(candidate: Candidate, problem: Problem) -> bool:
    """Tell whether trying differs from the others: there is nothing to stabilise in noise of one level."""
    depends = any(noise.gain > 0 for noise in problem.noise or ())
    return depends or not candidate.overrides.get("stabilise", False)


def problems_of(
    samples: Sequence[NDArray[Any]], channels: Sequence[Channel], space: int, *, is_whole: bool = False
) -> Iterator[Problem]:
    """Yield the middles of samples that are data throughout and hold something, the most varied first.

    Args:
        samples: [channel, z, y, x] each, as stored; NaN where they are no data.
        channels: Their normalisation and noise.
        space: 2 or 3 axes of space.
        is_whole: Whether samples are taken whole.
    """
    live = [number for number, channel in enumerate(channels) if not channel.is_flat]
    parts = [(sample if is_whole else _middle(sample, space))[live].astype(np.float64) for sample in samples]
    whole = [part for part in parts if part.size and np.isfinite(part).all()]
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

    def look(self, problem: Problem) -> "Look":
        """Return what a candidate makes of one sample."""
        images = []

        def predict(observed: Tiles) -> Tiles:
            images.append(self.restored(replace(problem, observed=observed)))
            return images[-1]

        # A name of its own: with the method's, a probe would repeat what the method drew.
        probes, uncut, noise = Streams.of(self.seed, "probing/risk", _PLACE), _uncut(problem), problem.noise or ()
        risk = float(risk_sure(predict, problem.observed, noise, probes, trusted=uncut)[0])
        image, share = images[0], float(uncut.float().mean())
        # Where the noise is cut off, what changes is error.
        changed = float(((image - problem.observed).square() * ~uncut).mean())
        return Look(risk=share * risk + changed if share < 1 else risk, doubt=doubt_of(image, problem))


@dataclass(frozen=True, kw_only=True)
class Look:
    """One candidate on one sample: its estimated risk, squared normalised units, and why its residual is no noise."""

    risk: float
    doubt: str
