"""Two noisier copies whose noises are uncorrelated."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import final

from torch import Tensor

from ilcore.grammar.arrays import Streams
from ilcore.grammar.capability import Capability
from ilcore.grammar.draws import knows_correlation, unit_noise
from ilcore.grammar.problem import Problem
from ilcore.grammar.recipe import Recipe
from ilcore.grammar.slots import LiveViews, Views
from ilcore.grammar.step_context import Pair


@final
@dataclass(frozen=True)
class Recorruption(Views):
    """Train from y + a w to y - w / a, with w drawn from the measured noise law.

    For signal-dependent noise the local variance is taken from y itself: its mean over the noise is the true
    variance, so the two copies stay uncorrelated (not independent: safe above some five counts).

    Args:
        amount: a > 0; the input has sqrt(1 + a^2) times the noise of the observation.

    Reference:
        Pang et al., "Recorrupted-to-Recorrupted", CVPR 2021, eq. 8; Monroy et al., "Generalized R2R", CVPR 2025.
    """

    amount: float = 0.5

    @property
    def offers(self) -> frozenset[Capability]:
        return super().offers | {Capability.WHOLE_IMAGES}

    def complaints(self, recipe: Recipe, problem: Problem) -> Iterator[str]:
        if self.amount <= 0:
            yield f"{self} needs an amount above 0"
        if recipe.stop.budget == 0:
            return  # A model that is only applied is never shown a pair.
        if problem.noise is None:
            yield f"{self} needs the noise model; estimate it or pass noise_std"
        elif not all(knows_correlation(noise) for noise in problem.noise):
            yield f"{self} needs white noise or its correlation, got {[noise.correlation for noise in problem.noise]}"

    def start(self, problem: Problem, streams: Streams) -> LiveViews:
        return _Recorruption(self.amount, problem, streams)


class _Recorruption(LiveViews):
    def __init__(self, amount: float, problem: Problem, streams: Streams) -> None:
        self.amount, self.problem, self.streams = amount, problem, streams

    @cached_property
    def std(self) -> Tensor:
        return self.problem.noise_std(self.problem.observed)

    def draw(self, step: int, rows: Sequence[int]) -> Pair:
        chosen = list(rows)
        observed = self.problem.observed[chosen]
        noise = self.std[chosen] * unit_noise(self.problem, self.streams, chosen)
        trusted = None if self.problem.trusted is None else self.problem.trusted[chosen]
        return Pair(observed + self.amount * noise, observed - noise / self.amount, trusted)

    def look(self, problem: Problem, rows: Sequence[int]) -> Tensor:
        return problem.observed[list(rows)]
