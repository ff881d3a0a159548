"""A network beside which single values may go their own way."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn

from ilcore.grammar.arrays import Streams
from ilcore.grammar.capability import Capability
from ilcore.grammar.outliers import OutlyingNetwork
from ilcore.grammar.problem import Problem
from ilcore.grammar.recipe import Recipe
from ilcore.grammar.slots import LiveNetwork, Network
from ilcore.grammar.wrapping import WrappedNetwork


@final
@dataclass(frozen=True)
class WithOutliers(WrappedNetwork):
    """Add a sparse part g g - h h to what `inner` says of the observation; the image is that of `inner` alone.

    Args:
        inner: The network of the image.
        start: What g and h begin with; the smaller, the sparser.

    Reference:
        You, Zhu, Qu & Ma, "Robust recovery via implicit bias of discrepant learning rates for double
        over-parameterization", NeurIPS 2020, section 4.
    """

    inner: Network
    start: float = 1e-3

    @property
    def adds(self) -> frozenset[Capability]:
        return frozenset({Capability.HOLDS_OUTLIERS})

    def complaints(self, recipe: Recipe, problem: Problem) -> Iterator[str]:
        yield from super().complaints(recipe, problem)
        if self.start <= 0:
            yield f"{self} needs start > 0: from 0 nothing moves"

    def build(self, problem: Problem, channels: int, streams: Streams, *, shared: bool = False) -> LiveNetwork:
        inner = self.inner.build(problem, channels, streams, shared=shared)
        return _Outlying(inner, problem, self.start, 1 if shared else len(streams))


class _Outlying(OutlyingNetwork):
    def __init__(self, inner: LiveNetwork, problem: Problem, start: float, count: int) -> None:
        super().__init__()
        self.inner = inner
        shape = (count, *problem.observed.shape[1:])
        self.above, self.below = (nn.Parameter(torch.full(shape, start)) for _ in range(2))

    def forward(self, seen: Tensor, rows: Sequence[int]) -> Tensor:
        return torch.as_tensor(self.inner(seen, rows))

    def outliers(self, rows: Sequence[int]) -> Tensor:
        chosen = list(rows) if len(self.above) > 1 else [0] * len(rows)
        return self.above[chosen].square() - self.below[chosen].square()
