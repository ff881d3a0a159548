"""The present image, or that of the best weights."""

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from typing import final

from ilcore.grammar.arrays import Tiles
from ilcore.grammar.problem import Problem
from ilcore.grammar.recipe import Recipe
from ilcore.grammar.slots import LiveReadout, Readout
from ilcore.grammar.step_context import Predict, StepContext


@final
@dataclass(frozen=True)
class Last(Readout):
    """The image of the last weights."""

    def start(self, problem: Problem) -> LiveReadout:
        return _Present()


@final
@dataclass(frozen=True)
class Best(Readout):
    """The image of the weights that the stop liked best."""

    wants_best = True

    def complaints(self, recipe: Recipe, problem: Problem) -> Iterator[str]:
        if not recipe.views.sees_observation:
            yield f"{self} reads the observation through the best weights, but {recipe.views} never shows it"

    def start(self, problem: Problem) -> LiveReadout:
        return _Present()


class _Present:
    def observe(self, context: StepContext, best: Set[int]) -> None:
        pass

    def result(self, rows: Sequence[int], predict: Predict) -> Tiles:
        return predict(rows)
