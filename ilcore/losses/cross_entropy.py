"""Closeness to the target where values are read as probabilities."""

from dataclasses import dataclass
from typing import final

from ilcore.grammar.arrays import PerTile, Streams, per_tile_mean
from ilcore.grammar.problem import Problem
from ilcore.grammar.slots import LiveLoss, Loss
from ilcore.grammar.step_context import StepContext

#: Outputs are kept this far from the ends of the range.
_LEAST = 1e-6


@final
@dataclass(frozen=True)
class CrossEntropy(Loss):
    """Mean of -t log f - (1 - t) log(1 - f), both in units of the expected range of values.

    Linear in the target, so that its minimiser is the mean of noisy targets, as with squares; targets beyond the range
    count in full. Copies of a row are averaged.

    Reference:
        Lequyer et al., "A fast blind zero-shot denoiser", Nature Machine Intelligence 2022 (released program).
    """

    def start(self, problem: Problem, streams: Streams) -> LiveLoss:
        low, high = problem.value_range

        def loss(context: StepContext) -> PerTile:
            output = ((context.output - low) / (high - low)).clamp(_LEAST, 1 - _LEAST)
            target = (context.pair.target - low) / (high - low)
            entropy = -target * output.log() - (1 - target) * (1 - output).log()
            losses = per_tile_mean(entropy, context.pair.trusted)
            return losses.unflatten(0, (-1, len(context.rows))).mean(0)

        return loss
