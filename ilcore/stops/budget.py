"""A fixed number of steps."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

from ilcore.grammar.arrays import Streams
from ilcore.grammar.problem import Problem
from ilcore.grammar.recipe import Recipe
from ilcore.grammar.slots import LiveStop, Stop
from ilcore.grammar.step_context import Judgement, StepContext
from ilcore.grammar.stop_reason import StopReason


@final
@dataclass(frozen=True)
class After(Stop):
    """End after `steps` updates.

    Args:
        steps: At least 0; 0 reads out the untouched start.
    """

    takes_operator = True
    steps: int

    @property
    def budget(self) -> int:
        return self.steps

    def complaints(self, recipe: Recipe, problem: Problem) -> Iterator[str]:
        if self.steps < 0:
            yield f"{self} needs steps >= 0"

    def start(self, problem: Problem, streams: Streams, *, shared: bool = False) -> LiveStop:
        return _After(self.steps, problem)


class _After:
    def __init__(self, steps: int, problem: Problem) -> None:
        self.steps, self.problem = steps, problem

    def training_problem(self) -> Problem:
        return self.problem

    def judge(self, context: StepContext) -> Judgement:
        count = len(context.rows)
        reason = StopReason.budget(self.steps) if context.step >= self.steps else None
        return Judgement((reason,) * count, (True,) * count)
