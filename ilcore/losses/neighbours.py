"""How far neighbouring pixels of the image itself may differ."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import torch

from ilcore.grammar.arrays import PerTile, Streams, per_tile_mean
from ilcore.grammar.capability import Capability
from ilcore.grammar.fills import shown
from ilcore.grammar.problem import Problem
from ilcore.grammar.recipe import Recipe
from ilcore.grammar.slots import LiveLoss, Loss
from ilcore.grammar.step_context import StepContext


@final
@dataclass(frozen=True, kw_only=True)
class NeighbourDifference(Loss):
    """Mean of (f(g1 y) - g2 y - (g1 f(y) - g2 f(y)))^2: neighbours may differ as much as those of the restored image.

    Args:
        gamma: Weight at the end.
        ramp: Steps over which it grows from zero; 0 begins with all of it.

    Reference:
        Huang et al., "Neighbor2Neighbor", CVPR 2021, eq. 12; no gradient through f(y).
    """

    gamma: float = 2.0
    ramp: int = 0

    @property
    def requires(self) -> frozenset[Capability]:
        return super().requires | {Capability.SHOWS_OBSERVATION, Capability.PICKED_NEIGHBOURS}

    def complaints(self, recipe: Recipe, problem: Problem) -> Iterator[str]:
        if self.gamma < 0 or self.ramp < 0:
            yield f"{self} needs gamma >= 0 and ramp >= 0"

    def start(self, problem: Problem, streams: Streams) -> LiveLoss:
        seen = shown(problem)

        def loss(context: StepContext) -> PerTile:
            if context.pair.shrink is None:
                raise TypeError(f"{self} needs pairs that say how an image shrinks, got none; set Pair.shrink")
            with torch.no_grad():
                rows = list(context.rows)
                one, two = context.pair.shrink(context.model(seen[rows], rows)).chunk(2)
            gamma = self.gamma * min(1.0, context.step / self.ramp if self.ramp else 1.0)
            return gamma * per_tile_mean(
                (context.output - context.pair.target - (one - two)).square(), context.pair.trusted
            )

        return loss
