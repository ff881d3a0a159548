"""What an output may owe to the pixels it restores."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

from torch import Tensor

from ilcore.grammar.arrays import PerTile, Streams, per_tile_mean
from ilcore.grammar.capability import Capability
from ilcore.grammar.fills import shown
from ilcore.grammar.problem import Problem
from ilcore.grammar.recipe import Recipe
from ilcore.grammar.slots import LiveLoss, Loss
from ilcore.grammar.step_context import StepContext


@final
@dataclass(frozen=True)
class InvarianceBound(Loss):
    """Upper bound of the risk: mean (f(y) - y)^2 + weight s sqrt(mean over hidden pixels of (f(y) - f(hidden y))^2).

    Args:
        weight: In units of the noise level s; where nobody knows it, of the standard deviation of the tile.

    Reference:
        Xie, Wang & Ji, "Noise2Same", NeurIPS 2020, eq. 6; the weight is 2 in theorem 2.
    """

    weight: float = 2.0

    @property
    def requires(self) -> frozenset[Capability]:
        return super().requires | {Capability.SHOWS_OBSERVATION, Capability.SHOWS_IMAGE, Capability.WHOLE_IMAGES}

    def complaints(self, recipe: Recipe, problem: Problem) -> Iterator[str]:
        if self.weight < 0:
            yield f"{self} needs a weight >= 0"

    def start(self, problem: Problem, streams: Streams) -> LiveLoss:
        return _InvarianceBound(self, problem)


class _InvarianceBound:
    def __init__(self, spec: InvarianceBound, problem: Problem) -> None:
        self.seen, self.trusted = shown(problem), problem.trusted
        self.weight = spec.weight * _scale(problem, self.seen)

    def __call__(self, context: StepContext) -> PerTile:
        rows = list(context.rows)
        whole, seen = context.model(self.seen[rows], rows), self.seen[rows]
        fidelity = per_tile_mean((whole - seen).square(), None if self.trusted is None else self.trusted[rows])
        moved = per_tile_mean((whole - context.output).square(), context.pair.trusted)
        # The slope of a root is infinite at zero.
        return fidelity + self.weight[rows] * (moved + 1e-12).sqrt()


def _scale(problem: Problem, seen: Tensor) -> PerTile:
    if problem.noise is None:
        return seen.flatten(1).std(1)
    return problem.noise_std(seen).square().flatten(1).mean(1).sqrt()
