"""The observation, predicted blindly, and weighed against itself in the end."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from ilcore.grammar.arrays import Streams, Tiles
from ilcore.grammar.capability import Capability
from ilcore.grammar.masks import without_holes
from ilcore.grammar.problem import Problem
from ilcore.grammar.recipe import Recipe
from ilcore.grammar.slots import LiveNetwork, LiveViews, Views
from ilcore.grammar.step_context import Pair


@final
@dataclass(frozen=True)
class Posterior(Views):
    """Show the observation to a network that is blind for each pixel, and ask for mean and variance of that pixel.

    The image is the mean of the posterior: the prediction and the pixel itself, each weighed with the other's
    variance,

        (y v_x + mu v_n) / (v_x + v_n).

    Reference:
        Laine et al., "High-quality self-supervised deep image denoising", NeurIPS 2019, section 3.
    """

    @property
    def requires(self) -> frozenset[Capability]:
        return frozenset({Capability.READS_IMAGE, Capability.RETURNS_SPREAD})

    def complaints(self, recipe: Recipe, problem: Problem) -> Iterator[str]:
        if problem.noise is None:
            yield f"{self} needs the noise model; estimate it or pass noise_std"

    def start(self, problem: Problem, streams: Streams) -> LiveViews:
        return _Posterior(problem)


class _Posterior(LiveViews):
    def __init__(self, problem: Problem) -> None:
        self.problem, self.shown = problem, without_holes(problem)

    def draw(self, step: int, rows: Sequence[int]) -> Pair:
        chosen = list(rows)
        trusted = None if self.problem.trusted is None else self.problem.trusted[chosen]
        return Pair(self.shown[chosen], self.problem.observed[chosen], trusted)

    def look(self, problem: Problem, rows: Sequence[int]) -> Tensor:
        return without_holes(problem)[list(rows)]

    def image(self, model: LiveNetwork, problem: Problem, rows: Sequence[int]) -> Tiles:
        chosen = list(rows)
        mean, spread = model(self.look(problem, chosen), chosen).chunk(2, 1)
        noise, clean = problem.noise_std(mean).square(), spread.square()
        # Without noise and without doubt both are 0, and the pixel is right.
        own = torch.where(clean + noise > 0, clean / (clean + noise).clamp_min(1e-12), torch.ones_like(clean))
        both = mean + own * (problem.observed[chosen] - mean)
        return both if problem.trusted is None else torch.where(problem.trusted[chosen], both, mean)
