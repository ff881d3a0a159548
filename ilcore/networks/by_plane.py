"""A network of two axes on the planes of a stack."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from ilcore.grammar.arrays import Streams
from ilcore.grammar.capability import Capability
from ilcore.grammar.problem import Problem
from ilcore.grammar.recipe import Recipe
from ilcore.grammar.slots import LiveNetwork, Network
from ilcore.grammar.wrapping import WrappedNetwork


@final
@dataclass(frozen=True, kw_only=True)
class ByPlane(WrappedNetwork):
    """Restore planes one by one with the same weights; further planes may stand beside them as channels.

    Args:
        inner: The network of two axes.
        residual: `inner` predicts the noise, which is subtracted from the first channels of the input.
        reach: How many planes up and down the views show; 2.5-D.

    Shape:
        [row, inputs, y, x] -> [row, channel, y, x]; [row, inputs, z, y, x] plane by plane.
    """

    inner: Network
    residual: bool = True
    reach: int = 1

    @property
    def adds(self) -> frozenset[Capability]:
        return frozenset({Capability.READS_PLANES})

    @property
    def takes_away(self) -> frozenset[Capability]:
        # A code is not made of planes, and outliers of single planes are not those of a stack.
        lost = {Capability.ENLARGES_CODE, Capability.HOLDS_OUTLIERS}
        return frozenset(lost | {Capability.CANNOT_COPY} if self.residual else lost)

    @property
    def asks(self) -> frozenset[Capability]:
        # Noise must not be subtracted twice, nor from a spread.
        return frozenset({Capability.RETURNS_IMAGE, Capability.CANNOT_COPY} if self.residual else ())

    def complaints(self, recipe: Recipe, problem: Problem) -> Iterator[str]:
        yield from super().complaints(recipe, problem)
        if self.reach < 0:
            yield f"{self} needs reach >= 0"

    def build(self, problem: Problem, channels: int, streams: Streams, *, shared: bool = False) -> LiveNetwork:
        flat = (
            problem if len(problem.space) == 2 else replace(problem, observed=problem.observed[:, :, 0], trusted=None)
        )
        return _ByPlane(self.residual, problem.channels, self.inner.build(flat, channels, streams, shared=shared))

    def halo(self, space: int) -> tuple[int, ...]:
        return (self.reach, *self.inner.halo(2))[-space:]

    def align(self, space: int) -> tuple[int, ...]:
        return (1, *self.inner.align(2))[-space:]


class _ByPlane(LiveNetwork):
    def __init__(self, residual: bool, channels: int, inner: LiveNetwork) -> None:
        super().__init__()
        self.residual, self.channels, self.inner = residual, channels, inner

    def forward(self, seen: Tensor, rows: Sequence[int]) -> Tensor:
        if seen.ndim == 5:
            return torch.stack([self(seen[:, :, z], rows) for z in range(seen.shape[2])], 2)
        out: Tensor = self.inner(seen, rows)
        return seen[:, : self.channels] - out if self.residual else out
