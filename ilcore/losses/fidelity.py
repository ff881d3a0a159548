"""Closeness to the target."""

from dataclasses import dataclass
from typing import final

from ilcore.grammar.arrays import PerTile, Streams, per_tile_mean
from ilcore.grammar.problem import Problem
from ilcore.grammar.slots import LiveLoss, Loss
from ilcore.grammar.step_context import StepContext


@final
@dataclass(frozen=True)
class SquaredError(Loss):
    """Mean of (A f - target)^2 over what is trusted; copies of a row are averaged."""

    takes_operator = True

    def start(self, problem: Problem, streams: Streams) -> LiveLoss:
        return _squared_error


def _squared_error(context: StepContext) -> PerTile:
    operator = context.problem.operator
    predicted = context.output if operator is None else operator.forward(context.output)
    losses = per_tile_mean((predicted - context.pair.target).square(), context.pair.trusted)
    return losses.unflatten(0, (-1, len(context.rows))).mean(0)
