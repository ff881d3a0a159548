"""Closeness to the target but for single values that nothing explains."""

from dataclasses import dataclass
from typing import final

from ilcore.grammar.arrays import PerTile, Streams, per_tile_mean
from ilcore.grammar.capability import Capability
from ilcore.grammar.outliers import outlying
from ilcore.grammar.problem import Problem
from ilcore.grammar.slots import LiveLoss, Loss
from ilcore.grammar.step_context import StepContext


@final
@dataclass(frozen=True)
class OutlierError(Loss):
    """Mean of (A f + outliers - target)^2 over what is trusted, with the outliers of `WithOutliers`.

    Reference:
        You, Zhu, Qu & Ma, "Robust recovery via implicit bias of discrepant learning rates for double
        over-parameterization", NeurIPS 2020, section 4.
    """

    takes_operator = True

    @property
    def requires(self) -> frozenset[Capability]:
        return super().requires | {Capability.WHOLE_IMAGES, Capability.HOLDS_OUTLIERS}

    def start(self, problem: Problem, streams: Streams) -> LiveLoss:
        return _outlier_error


def _outlier_error(context: StepContext) -> PerTile:
    operator, outliers = context.problem.operator, outlying(context.model).outliers
    clean = context.output if operator is None else operator.forward(context.output)
    return per_tile_mean((clean + outliers(context.rows) - context.pair.target).square(), context.pair.trusted)
