"""Closeness to the target, and something else with a weight that can be turned."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

from ilcore.grammar.arrays import PerTile, Streams
from ilcore.grammar.problem import Problem
from ilcore.grammar.recipe import Recipe
from ilcore.grammar.slots import LiveLoss, Loss
from ilcore.grammar.step_context import StepContext


@final
@dataclass(frozen=True)
class Regularised(Loss):
    """fidelity + weight * term, as a sum whose parts are knobs."""

    takes_operator = True
    fidelity: Loss
    term: Loss
    weight: float

    def complaints(self, recipe: Recipe, problem: Problem) -> Iterator[str]:
        if self.weight < 0:
            yield f"{self} needs a weight >= 0"

    def start(self, problem: Problem, streams: Streams) -> LiveLoss:
        fidelity, term = self.fidelity.start(problem, streams), self.term.start(problem, streams)

        def total(context: StepContext) -> PerTile:
            return fidelity(context) + self.weight * term(context)

        return total
