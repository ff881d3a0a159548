"""Adam, with a rate that may fall."""

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
class Adam(Descent):
    """Adam on every weight. Elementwise, hence independent from tile to tile.

    Args:
        learning_rate: Step size, > 0.
        halve_every: Cut the rate after every so many steps; 0 keeps it.
        factor: What is left of the rate at each cut, a half if not said otherwise.
        rectified: RAdam, which starts with smaller steps until its averages can be trusted.
    """

    learning_rate: float = 1e-3
    halve_every: int = 0
    factor: float = 0.5
    rectified: bool = False

    def complaints(self, recipe: Recipe, problem: Problem) -> Iterator[str]:
        if self.learning_rate <= 0 or self.halve_every < 0 or not 0 < self.factor <= 1:
            yield f"{self} needs learning_rate > 0, halve_every >= 0 and 0 < factor <= 1"

    def start(self, model: LiveNetwork, streams: Streams) -> LiveDescent:
        return _Adam(self, model)


class _Adam:
    def __init__(self, spec: Adam, model: LiveNetwork) -> None:
        self.spec, self.step_number = spec, 0
        optimiser = torch.optim.RAdam if spec.rectified else torch.optim.Adam
        self.adam = optimiser(model.moving().values(), lr=spec.learning_rate)

    def step(self, losses: PerTile, rows: Sequence[int]) -> None:
        if self.spec.halve_every:
            cuts = self.step_number // self.spec.halve_every
            for group in self.adam.param_groups:
                group["lr"] = self.spec.learning_rate * self.spec.factor**cuts
        self.adam.zero_grad()
        losses.sum().backward()
        self.adam.step()
        self.step_number += 1
