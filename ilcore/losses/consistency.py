"""Agreement of a network with itself."""

from dataclasses import dataclass
from typing import final

from ilcore.grammar.arrays import PerTile, Streams, per_tile_mean
from ilcore.grammar.capability import Capability
from ilcore.grammar.fills import shown
from ilcore.grammar.problem import Problem
from ilcore.grammar.slots import LiveLoss, Loss
from ilcore.grammar.step_context import StepContext


@final
@dataclass(frozen=True)
class HalvesConsistency(Loss):
    """Mean of (g(half) - half of g(y))^2: restoring a half must equal halving the restoration.

    Reference:
        Mansour & Heckel, "Zero-Shot Noise2Noise", CVPR 2023, eq. 5.
    """

    @property
    def requires(self) -> frozenset[Capability]:
        return super().requires | {Capability.SHOWS_OBSERVATION, Capability.BOTH_HALVES}

    def start(self, problem: Problem, streams: Streams) -> LiveLoss:
        seen = shown(problem)

        def loss(context: StepContext) -> PerTile:
            if context.pair.shrink is None:
                raise TypeError(f"{self} needs pairs that say how an image shrinks, got none; set Pair.shrink")
            whole = context.model(seen[list(context.rows)], context.rows)
            losses = per_tile_mean((context.output - context.pair.shrink(whole)).square(), context.pair.trusted)
            return losses.unflatten(0, (-1, len(context.rows))).mean(0)

        return loss
