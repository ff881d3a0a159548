"""End when the residual is as large as the noise."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

from torch import Tensor

from ilcore.grammar.arrays import Streams, per_tile_mean
from ilcore.grammar.problem import Problem
from ilcore.grammar.recipe import Recipe
from ilcore.stops.watching import Measured, Sight, Watcher, WatchingStop


@final
@dataclass(frozen=True, kw_only=True)
class Discrepancy(WatchingStop):
    """End when mean (A f - y)^2 has fallen to `factor` times the mean noise variance, f being the average of outputs.

    (Tried: f the newest output, jitter included. It runs ahead of the average that is read out, and the rule fires too
    early: at step 250 instead of 365, which costs 0.9 dB at 8-bit noise 50.)

    Args:
        steps: Updates at most.
        factor: About 1.
        memory: Weight of the past in the running mean of outputs, as in `MovingAverage`.

    Reference:
        Morozov, "On the solution of functional equations by the method of regularization", 1966.
    """

    needs_noise = True
    factor: float = 1.0
    memory: float = 0.99

    def complaints(self, recipe: Recipe, problem: Problem) -> Iterator[str]:
        yield from super().complaints(recipe, problem)
        if self.factor <= 0 or not 0 <= self.memory < 1:
            yield f"{self} needs factor > 0 and 0 <= memory < 1"
        if problem.noise is None:
            yield f"{self} needs the noise model; estimate it or pass noise_std"

    def watcher(self, problem: Problem, streams: Streams) -> Watcher:
        return _Discrepancy(self, problem)


class _Discrepancy:
    def __init__(self, spec: Discrepancy, problem: Problem) -> None:
        self.spec, self.problem = spec, problem
        self.wanted = spec.factor * float(per_tile_mean(problem.unbiased_variance(), problem.trusted))
        self.mean: Tensor | None = None

    def look(self, step: int, image: Tensor, loss: float) -> Measured:
        operator, newest = self.problem.operator, image[None]
        self.mean = newest if self.mean is None else self.mean.lerp(newest, 1 - self.spec.memory)
        predicted = self.mean if operator is None else operator.forward(self.mean)
        residual = per_tile_mean((predicted - self.problem.observed).square(), self.problem.trusted)
        return Measured(residual, self._judged)

    def _judged(self, residual: float) -> Sight:
        if residual <= self.wanted:
            return Sight(False, "residual has fallen to the noise level")
        return Sight(True)
