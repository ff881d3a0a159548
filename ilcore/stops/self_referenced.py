"""A noisier copy to learn from, its counterpart to judge with: their noises know nothing of each other."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import final

from torch import Tensor

from ilcore.grammar.arrays import Streams, per_tile_mean
from ilcore.grammar.draws import knows_correlation, unit_noise
from ilcore.grammar.problem import Noise, Problem
from ilcore.grammar.recipe import Recipe
from ilcore.grammar.slots import LiveStop
from ilcore.stops.watching import Measured, Watcher, Watching, WatchingStop
from ilcore.stops.windowed_variance import Least


@final
@dataclass(frozen=True, kw_only=True)
class SelfReferenced(WatchingStop):
    """Learn from y + a w, keep the iterate nearest to y - w / a, with w drawn from the noise law, correlation included.

    The error to the counterpart is the risk plus a constant, also where neighbours share noise and withheld pixels
    would betray it. The price is an input with sqrt(1 + a^2) times the noise.

    Args:
        steps: Updates at most.
        amount: a > 0.
        patience: Steps without an improvement before the end.
        memory: Weight of the past in the running mean of outputs that is judged, as in `MovingAverage`.

    Reference:
        Pang et al., "Recorrupted-to-Recorrupted", CVPR 2021, eq. 8 (the pair); the idea of judging early stopping by
        pseudo-independent copies: arXiv 2605.25299, 2026.
    """

    needs_noise = True
    amount: float = 0.35
    patience: int = 500
    memory: float = 0.99

    def complaints(self, recipe: Recipe, problem: Problem) -> Iterator[str]:
        yield from super().complaints(recipe, problem)
        if self.amount <= 0 or self.patience < 1 or not 0 <= self.memory < 1:
            yield f"{self} needs amount > 0, patience >= 1 and 0 <= memory < 1"
        if problem.noise is None:
            yield f"{self} needs the noise model; estimate it or pass noise_std"
        elif not all(knows_correlation(noise) for noise in problem.noise):
            yield f"{self} needs the correlation of noise that is not white; let preflight measure it"

    def start(self, problem: Problem, streams: Streams, *, shared: bool = False) -> LiveStop:
        if shared:
            return super().start(problem, streams, shared=True)
        return _Referenced(self, problem, streams)

    def watcher(self, problem: Problem, streams: Streams) -> Watcher:
        return _Counterpart(self, problem)


class _Referenced(Watching):
    def __init__(self, spec: SelfReferenced, problem: Problem, streams: Streams) -> None:
        drawn = problem.noise_std(problem.observed) * unit_noise(problem, streams)
        self.learnt = replace(
            problem, observed=problem.observed + spec.amount * drawn, noise=_noisier(problem, 1 + spec.amount**2)
        )
        counterpart = replace(problem, observed=problem.observed - drawn / spec.amount)
        super().__init__(spec, counterpart, streams, False)

    def training_problem(self) -> Problem:
        return self.learnt


def _noisier(problem: Problem, times: float) -> tuple[Noise, ...] | None:
    """Return the noise of a problem with so many times its variance: what the noisier copy is judged and learnt by."""
    return problem.noise and tuple(
        replace(noise, gain=times * noise.gain, read_std=times**0.5 * noise.read_std) for noise in problem.noise
    )


class _Counterpart:
    def __init__(self, spec: SelfReferenced, problem: Problem) -> None:
        self.spec, self.problem = spec, problem
        self.least = Least(spec.patience, "distance to the independent copy")
        self.mean: Tensor | None = None

    def look(self, step: int, image: Tensor, loss: float) -> Measured:
        operator, newest = self.problem.operator, image[None]
        self.mean = newest if self.mean is None else self.mean.lerp(newest, 1 - self.spec.memory)
        predicted = self.mean if operator is None else operator.forward(self.mean)
        distance = per_tile_mean((predicted - self.problem.observed).square(), self.problem.trusted)
        return Measured(distance, partial(self.least.sight, step))
