"""Steps that wander, to sample networks instead of choosing one."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import final

import torch

from ilcore.grammar.arrays import PerTile, Streams
from ilcore.grammar.problem import Problem
from ilcore.grammar.recipe import Recipe
from ilcore.grammar.slots import Descent, LiveDescent, LiveNetwork


@final
@dataclass(frozen=True)
class Langevin(Descent):
    """Adam, and after each step normal noise on the kernels of all convolutions, not on biases and norms.

    The deviation of the noise is proportional to the rate, as in the authors' program, where Langevin's theory has
    its root and no momentum: a heuristic sampler, whose spread is not a calibrated error.

    Args:
        learning_rate: Step size, > 0.
        noise: Standard deviation of the noise, in learning rates.
        weight_decay: Pull towards zero, the prior on the weights.

    Reference:
        Cheng, Gadelha, Maji & Sheldon, "A Bayesian perspective on the deep image prior", CVPR 2019, section 4.
    """

    learning_rate: float = 1e-2
    noise: float = 2.0
    weight_decay: float = 5e-8

    def complaints(self, recipe: Recipe, problem: Problem) -> Iterator[str]:
        if self.learning_rate <= 0 or min(self.noise, self.weight_decay) < 0:
            yield f"{self} needs learning_rate > 0, noise >= 0 and weight_decay >= 0"

    def start(self, model: LiveNetwork, streams: Streams) -> LiveDescent:
        return _Langevin(self, model, streams)


class _Langevin:
    def __init__(self, spec: Langevin, model: LiveNetwork, streams: Streams) -> None:
        self.streams, self.std = streams, spec.noise * spec.learning_rate
        weights = list(model.moving().values())
        self.adam = torch.optim.Adam(weights, lr=spec.learning_rate, weight_decay=spec.weight_decay)
        # [tile, outputs, inputs, *kernel]; vectors for each channel are left alone.
        self.kernels = [value.detach() for value in weights if value.ndim > 3]

    def step(self, losses: PerTile, rows: Sequence[int]) -> None:
        self.adam.zero_grad()
        losses.sum().backward()
        self.adam.step()
        for kernel in self.kernels if self.std else ():
            moved = [0] if len(kernel) == 1 else list(rows)
            kernel[moved] += self.std * self.streams.normal(kernel.shape[1:], moved).to(kernel)
