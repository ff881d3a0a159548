"""Closeness to the target."""

from dataclasses import dataclass
from typing import final

from ilcore.grammar.arrays import PerTile, Streams, per_tile_mean
from ilcore.grammar.problem import Problem
from ilcore.grammar.slots import LiveLoss, Loss
from ilcore.grammar.step_context import Trial


@final
@dataclass(frozen=True)
class SquaredError(Loss):
    """Mean of (A f - target)^2 over what is trusted; copies of a row are averaged."""

    def start(self, problem: Problem, streams: Streams) -> LiveLoss:
        return _squared_error


def _squared_error(trial: Trial) -> PerTile:
    operator = trial.problem.operator
    predicted = trial.output if operator is None else operator.forward(trial.output)
    losses = per_tile_mean((predicted - trial.pair.target).square(), trial.pair.trusted)
    return losses.unflatten(0, (-1, len(trial.rows))).mean(0)
