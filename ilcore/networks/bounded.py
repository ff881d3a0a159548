"""A network whose output cannot leave the range of the image."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from ilcore.grammar.arrays import Streams
from ilcore.grammar.problem import Problem
from ilcore.grammar.recipe import Recipe
from ilcore.grammar.slots import LiveNetwork, Network


@final
@dataclass(frozen=True)
class Bounded(Network):
    """A sigmoid, stretched over the expected range of values, after another network."""

    inner: Network

    def complaints(self, recipe: Recipe, problem: Problem) -> Iterator[str]:
        yield from self.inner.complaints(recipe, problem)
        if self.inner.can_copy_input:
            yield f"{self} squeezes an image, but {self.inner} predicts noise; set residual=False"

    def build(self, problem: Problem, channels: int, streams: Streams, *, shared: bool = False) -> LiveNetwork:
        return _Bounded(problem.value_range, self.inner.build(problem, channels, streams, shared=shared))

    def halo(self, space: int) -> tuple[int, ...]:
        return self.inner.halo(space)

    def align(self, space: int) -> tuple[int, ...]:
        return self.inner.align(space)


class _Bounded(LiveNetwork):
    def __init__(self, value_range: tuple[float, float], inner: LiveNetwork) -> None:
        super().__init__()
        self.range, self.inner = value_range, inner

    def forward(self, seen: Tensor, rows: Sequence[int]) -> Tensor:
        low, high = self.range
        return low + (high - low) * torch.sigmoid(self.inner(seen, rows))
