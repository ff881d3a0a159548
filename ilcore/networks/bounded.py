"""A network whose output cannot leave the range of the image."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from ilcore.grammar.arrays import Streams
from ilcore.grammar.capability import Capability
from ilcore.grammar.problem import Problem
from ilcore.grammar.slots import LiveNetwork, Network
from ilcore.grammar.wrapping import WrappedNetwork


@final
@dataclass(frozen=True)
class Bounded(WrappedNetwork):
    """A sigmoid, stretched over the expected range of values, after another network."""

    inner: Network

    @property
    def asks(self) -> frozenset[Capability]:
        # A network that predicts noise would have it squeezed as if it were an image.
        return frozenset({Capability.RETURNS_IMAGE, Capability.CANNOT_COPY})

    def build(self, problem: Problem, channels: int, streams: Streams, *, shared: bool = False) -> LiveNetwork:
        return _Bounded(problem.value_range, self.inner.build(problem, channels, streams, shared=shared))


class _Bounded(LiveNetwork):
    def __init__(self, value_range: tuple[float, float], inner: LiveNetwork) -> None:
        super().__init__()
        self.range, self.inner = value_range, inner

    def forward(self, seen: Tensor, rows: Sequence[int]) -> Tensor:
        low, high = self.range
        return low + (high - low) * torch.sigmoid(self.inner(seen, rows))
