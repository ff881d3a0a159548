"""Two copies of a scan whose noises are independent, split by the law of the noise."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from ilcore.grammar.arrays import Streams
from ilcore.grammar.capability import Capability
from ilcore.grammar.draws import knows_correlation, lags_of, unit_noise
from ilcore.grammar.problem import Noise, Problem
from ilcore.grammar.recipe import Recipe
from ilcore.grammar.slots import LiveViews, Views
from ilcore.grammar.step_context import Pair

#: Counts above this are drawn as if they were this many.
_MOST_COUNTS = 1e7


@final
@dataclass(frozen=True)
class CountSplit(Views):
    """Train from what is left of the scan after a share of its counts was taken away to that share.

    Counts, k = round((y - offset) / gain): k2 ~ Binomial(k, q), y1 = (k - k2) / (1 - q), y2 = k2 / q. A read noise of
    less than one count is split on top as Gaussian noise. Gaussian noise, and counts under more read noise or with
    correlated noise: y1 = y + sqrt(q / (1 - q)) w with w of the noise's own law at y. Always y = (1 - q) y1 + q y2.

    Args:
        share: q, what the target gets.

    Reference:
        Monroy, Bacca & Tachella, "Generalized Recorrupted-to-Recorrupted", CVPR 2025, table 1. Independent for counts
        without read noise and for Gaussian noise, uncorrelated otherwise.
    """

    share: float = 0.15

    @property
    def offers(self) -> frozenset[Capability]:
        return super().offers | {Capability.WHOLE_IMAGES}

    def complaints(self, recipe: Recipe, problem: Problem) -> Iterator[str]:
        if not 0 < self.share < 1:
            yield f"{self} needs 0 < share < 1"
        if recipe.stop.budget == 0:
            return  # A model that is only applied is never asked for anything.
        if problem.noise is None:
            yield f"{self} needs the noise model; estimate it or pass noise_std"
        elif not all(knows_correlation(noise) for noise in problem.noise):
            yield f"{self} needs white noise or its correlation, got {[noise.correlation for noise in problem.noise]}"

    def start(self, problem: Problem, streams: Streams) -> LiveViews:
        return _CountSplit(self.share, problem, streams)


def is_counted(noise: Noise) -> bool:
    """Tell whether a noise is one of single counts that are still seen."""
    return noise.gain > 0 and noise.read_std <= noise.gain and lags_of(noise) == (0, 0)


def thinned(counts: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Return how many of the counts go to the smaller part, each with probability `share`."""
    whole = counts.nan_to_num(0, _MOST_COUNTS, 0).clamp(0, _MOST_COUNTS).to(generator.device)
    return torch.binomial(whole, torch.full_like(whole, share), generator=generator).to(counts.device)


class _CountSplit(LiveViews):
    def __init__(self, share: float, problem: Problem, streams: Streams) -> None:
        self.share, self.problem, self.streams = share, problem, streams

    def draw(self, step: int, rows: Sequence[int]) -> Pair:
        chosen = list(rows)
        seen, added = self.problem.observed[chosen], unit_noise(self.problem, self.streams, chosen)
        models = self.problem.noise or ()
        parts = [self._larger(seen[:, n], added[:, n], noise, chosen) for n, noise in enumerate(models)]
        larger = torch.stack(parts, 1)
        smaller = (seen - (1 - self.share) * larger) / self.share
        trusted = None if self.problem.trusted is None else self.problem.trusted[chosen]
        return Pair(larger, smaller, trusted)

    def _larger(self, seen: Tensor, added: Tensor, noise: Noise, rows: list[int]) -> Tensor:
        """Return the input y1 of one channel, [row, *space]."""
        amount = math.sqrt(self.share / (1 - self.share))
        if not is_counted(noise):
            return seen + amount * noise.variance(seen).sqrt() * added
        counts = ((seen - noise.offset) / noise.gain).round()
        taken = [thinned(one, self.share, self.streams.generators[row]) for one, row in zip(counts, rows, strict=True)]
        # What rounding or clipping took away stays in both parts.
        rest = seen - noise.offset - noise.gain * counts.clamp_min(0)
        left = (counts.clamp_min(0) - torch.stack(taken)) / (1 - self.share)
        return noise.offset + noise.gain * left + rest + amount * noise.read_std * added

    def look(self, problem: Problem, rows: Sequence[int]) -> Tensor:
        return problem.observed[list(rows)]
