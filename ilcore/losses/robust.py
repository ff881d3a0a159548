"""Closeness to the target but for single values that nothing explains."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

from ilcore.grammar.arrays import PerTile, Streams, per_tile_mean
from ilcore.grammar.problem import Problem
from ilcore.grammar.recipe import Recipe
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

    def complaints(self, recipe: Recipe, problem: Problem) -> Iterator[str]:
        if not hasattr(recipe.network, "inner"):
            yield f"{self} needs a network with a sparse part, got {recipe.network}; wrap it in WithOutliers"
        if not recipe.views.draws_whole_images:
            yield f"{self} compares with the whole observation, but {recipe.views} draws other things"

    def start(self, problem: Problem, streams: Streams) -> LiveLoss:
        return _outlier_error


def _outlier_error(context: StepContext) -> PerTile:
    operator, outliers = context.problem.operator, getattr(context.model, "outliers")  # noqa: B009
    clean = context.output if operator is None else operator.forward(context.output)
    return per_tile_mean((clean + outliers(context.rows) - context.pair.target).square(), context.pair.trusted)
