"""Regularisation by a denoiser."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from ilcore.grammar.arrays import PerTile, Streams, per_tile_mean
from ilcore.grammar.capability import Capability
from ilcore.grammar.masks import without_holes
from ilcore.grammar.problem import Problem
from ilcore.grammar.recipe import Recipe
from ilcore.grammar.slots import LiveLoss, Loss
from ilcore.grammar.step_context import StepContext
from ilcore.losses.fidelity import SquaredError


@final
@dataclass(frozen=True, kw_only=True)
class Red(Loss):
    """fidelity + coupling * mean (f - x + u)^2, where x listens to a denoiser, and u remembers how f and x disagree.

    Before each step, with D non-local means, plane by plane,

        x <- (strength D(x) + coupling (f + u)) / (strength + coupling);   u <- u + f - x.

    Args:
        fidelity: What is asked of the output otherwise.
        strength: Of the denoiser's pull on x (beta).
        coupling: Of f and x (mu).
        sigma: Noise that non-local means is told, in units of the range of values; its bandwidth is 0.6 of it.
        patch: Side of its patches.
        search: How far it looks for similar ones.
        every: Steps from one call of the denoiser to the next.

    Reference:
        Mataev, Elad & Milanfar, "DeepRED: deep image prior powered by RED", ICCV-W 2019, section 3.
    """

    takes_operator = True
    fidelity: Loss = field(default_factory=SquaredError)
    strength: float = 0.5
    coupling: float = 0.5
    sigma: float = 3 / 255
    patch: int = 5
    search: int = 6
    every: int = 10

    @property
    def requires(self) -> frozenset[Capability]:
        return super().requires | {Capability.WHOLE_IMAGES}

    def complaints(self, recipe: Recipe, problem: Problem) -> Iterator[str]:
        if min(self.strength, self.coupling, self.sigma) <= 0 or min(self.patch, self.search, self.every) < 1:
            yield f"{self} needs strength, coupling and sigma > 0, and patch, search and every >= 1"

    def start(self, problem: Problem, streams: Streams) -> LiveLoss:
        return _Red(self, problem, streams)


class _Red:
    def __init__(self, spec: Red, problem: Problem, streams: Streams) -> None:
        self.spec, self.fidelity, self.range = spec, spec.fidelity.start(problem, streams), problem.value_range
        self.image = _begun(problem)
        self.memory = torch.zeros_like(self.image)
        self.denoised = self.image.clone()

    def __call__(self, context: StepContext) -> PerTile:
        rows, output = list(context.rows), context.output.detach()
        for row in rows if context.step % self.spec.every == 0 else ():
            self.denoised[row] = self._without_noise(self.image[row])
        self._update(rows, output)
        gap = context.output - self.image[rows] + self.memory[rows]
        return self.fidelity(context) + self.spec.coupling * per_tile_mean(gap.square())

    def _update(self, rows: list[int], output: Tensor) -> None:
        pull, tie = self.spec.strength, self.spec.coupling
        mixed = (pull * self.denoised[rows] + tie * (output + self.memory[rows])) / (pull + tie)
        self.image[rows] = mixed.clamp(*self.range)
        self.memory[rows] += output - self.image[rows]

    def _without_noise(self, image: Tensor) -> Tensor:
        planes = image.reshape(-1, *image.shape[-2:]).cpu().numpy()
        return torch.from_numpy(np.stack([self._plane(plane) for plane in planes])).reshape(image.shape).to(image)

    def _plane(self, plane: Any) -> Any:
        # The catalogue holds this method also where torch and numpy are all there is.
        from skimage.restoration import denoise_nl_means

        sigma = self.spec.sigma * (self.range[1] - self.range[0])
        return denoise_nl_means(
            plane, self.spec.patch, self.spec.search, h=0.6 * sigma, sigma=sigma, fast_mode=True
        ).astype(np.float32)


def _begun(problem: Problem) -> Tensor:
    """Return the first image: the observation, or on another grid the smallest image that nearly explains it."""
    seen = without_holes(problem).clone()
    if problem.operator is None or problem.domain == problem.space:
        return seen
    return problem.operator.pseudo_inverse(seen, 0.1 * math.prod(problem.space) / math.prod(problem.field))
