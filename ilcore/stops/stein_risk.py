"""The risk of the image that would be read out, voxel by voxel, by Stein's formula."""

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from ilcore.grammar.arrays import Streams
from ilcore.grammar.draws import probe_of, probe_weight
from ilcore.grammar.problem import Problem
from ilcore.grammar.step_context import StepContext

#: Length of the probe in standard deviations of the noise: a network bends over longer ones.
_PROBE = 0.03


class SteinRisk:
    """(f(y) - y)^2 - s^2 + 2 s^2 df/dy along one fixed random probe; where neighbours share noise the probe does too.

    f is the whole way from an observation to its image, means over draws included.
    """

    def __init__(self, problem: Problem, streams: Streams) -> None:
        self.problem, self.variance = problem, problem.unbiased_variance()
        # A probe with the noise's own law measures the derivative in the directions that count.
        self.probe = problem.noise_std(problem.observed) * probe_of(problem, streams)
        self.weight = probe_weight(problem)
        self.moved = replace(problem, observed=problem.observed + _PROBE * self.probe)

    def errors(self, context: StepContext, rows: Sequence[int]) -> Tensor:
        """Return the unbiased squared error of every voxel of some tiles; its mean over many voxels is their risk."""
        chosen = list(rows)
        image, moved = context.image_of(self.problem, chosen), context.image_of(self.moved, chosen)
        slope = self.weight[chosen] * self.probe[chosen] * (moved - image) / _PROBE
        return (image - self.problem.observed[chosen]).square() - self.variance[chosen] + 2 * slope
