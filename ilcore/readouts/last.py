"""The present image, or that of the best weights."""

from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import final

from ilcore.grammar.arrays import Tiles
from ilcore.grammar.capability import Capability
from ilcore.grammar.problem import Problem
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

    @property
    def requires(self) -> frozenset[Capability]:
        return frozenset({Capability.SHOWS_OBSERVATION})

    def start(self, problem: Problem) -> LiveReadout:
        return _Present()


class _Present:
    def observe(self, context: StepContext, best: Set[int]) -> None:
        pass

    def result(self, rows: Sequence[int], predict: Predict) -> Tiles:
        return predict(rows)
