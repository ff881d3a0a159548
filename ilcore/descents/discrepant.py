"""Different rates for the image and for what does not belong to it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import final

import torch

from ilcore.grammar.arrays import PerTile, Streams
from ilcore.grammar.capability import Capability
from ilcore.grammar.outliers import outlying
from ilcore.grammar.problem import Problem
from ilcore.grammar.recipe import Recipe
from ilcore.grammar.slots import Descent, LiveDescent, LiveNetwork


@final
@dataclass(frozen=True)
class DiscrepantRates(Descent):
    """Move the network of the image by `inner`, and its sparse part by plain gradient steps.

    Plain steps make g g grow like exp(8 rate |residual| steps) from almost nothing, so that within the budget only
    values far from what the network says become outliers; Adam would let all grow alike.

    Args:
        inner: The descent of the network.
        rate: Of the sparse part, on the sum of squares; the larger, the less sparse it becomes.

    Reference:
        You, Zhu, Qu & Ma, "Robust recovery via implicit bias of discrepant learning rates for double
        over-parameterization", NeurIPS 2020, section 3.
    """

    inner: Descent
    rate: float = 3e-2

    @property
    def requires(self) -> frozenset[Capability]:
        return frozenset({Capability.HOLDS_OUTLIERS})

    def complaints(self, recipe: Recipe, problem: Problem) -> Iterator[str]:
        if self.rate <= 0:
            yield f"{self} needs rate > 0"
        if any(Capability.HOLDS_OUTLIERS in part.requires for part in self.inner.nested()):
            yield f"{self} moves the sparse part itself, and so would {self.inner}; take its inner descent instead"

    def start(self, model: LiveNetwork, streams: Streams) -> LiveDescent:
        return _DiscrepantRates(self, model, streams)


class _DiscrepantRates:
    def __init__(self, spec: DiscrepantRates, model: LiveNetwork, streams: Streams) -> None:
        network = outlying(model).inner
        self.rate, self.inner = spec.rate, spec.inner.start(network, streams)
        own = {id(value) for value in network.parameters()}
        self.sparse = [value for value in model.moving().values() if id(value) not in own]

    def step(self, losses: PerTile, rows: Sequence[int]) -> None:
        for value in self.sparse:
            value.grad = None
        self.inner.step(losses, rows)
        with torch.no_grad():
            for value in self.sparse:
                if value.grad is not None:
                    # The loss is a mean; the sum of squares does not depend on the size of the tile.
                    value.sub_(value.grad, alpha=self.rate * value[0].numel())
