"""How likely the observation is, given mean and spread of every clean value."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

from torch import Tensor

from ilcore.grammar.arrays import PerTile, Streams, per_tile_mean
from ilcore.grammar.capability import Capability
from ilcore.grammar.problem import Problem
from ilcore.grammar.recipe import Recipe
from ilcore.grammar.slots import LiveLoss, Loss
from ilcore.grammar.step_context import StepContext

#: Least variance, so that noise-free constants stay finite.
_LEAST = 1e-8


@final
@dataclass(frozen=True)
class GaussianLikelihood(Loss):
    """Mean of (y - mu)^2 / S + log S over what is trusted, with S the variance of the clean value plus the noise.

    The variance of the noise is taken at mu, which has not seen the noise of its pixel.

    Reference:
        Laine et al., "High-quality self-supervised deep image denoising", NeurIPS 2019, section 3.
    """

    @property
    def requires(self) -> frozenset[Capability]:
        return frozenset({Capability.RETURNS_SPREAD})

    def complaints(self, recipe: Recipe, problem: Problem) -> Iterator[str]:
        if problem.noise is None:
            yield f"{self} needs the noise model; estimate it or pass noise_std"

    def start(self, problem: Problem, streams: Streams) -> LiveLoss:
        return _gaussian_likelihood


def _gaussian_likelihood(context: StepContext) -> PerTile:
    mean, spread = context.output.chunk(2, 1)
    noise = noise_variance(context.problem, mean)
    variance = spread.square() + noise
    return per_tile_mean((context.pair.target - mean).square() / variance + variance.log(), context.pair.trusted)


def noise_variance(problem: Problem, mean: Tensor) -> Tensor:
    """Return the variance of the noise where the clean value is about `mean`, without gradient."""
    return problem.noise_std(mean.detach()).square().clamp_min(_LEAST)
