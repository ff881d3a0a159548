"""The mean of the last images."""

from collections import deque
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from ilcore.grammar.arrays import Tiles
from ilcore.grammar.capability import Capability
from ilcore.grammar.problem import Problem
from ilcore.grammar.recipe import Recipe
from ilcore.grammar.slots import LiveReadout, Readout
from ilcore.grammar.step_context import Predict, StepContext

#: The images are kept as this many sums, whatever their number.
_SUMS = 7


@final
@dataclass(frozen=True, kw_only=True)
class MeanOfLast(Readout):
    """Average the images of the last rounds, each predicted from the observation.

    Args:
        count: Images averaged; up to a seventh less, as they are kept in seven sums.
        every: Steps from one to the next.

    Reference:
        Lequyer et al., "A fast blind zero-shot denoiser", Nature Machine Intelligence 2022, methods.
    """

    count: int = 105
    every: int = 4

    @property
    def requires(self) -> frozenset[Capability]:
        return frozenset({Capability.SHOWS_OBSERVATION})

    def complaints(self, recipe: Recipe, problem: Problem) -> Iterator[str]:
        if self.count < 1 or self.every < 1:
            yield f"{self} needs count and every >= 1"

    def start(self, problem: Problem) -> LiveReadout:
        return _MeanOfLast(self)


class _MeanOfLast:
    def __init__(self, spec: MeanOfLast) -> None:
        self.spec, self.size = spec, -(-spec.count // _SUMS)
        self.sums: dict[int, deque[tuple[Tensor, int]]] = {}

    def observe(self, context: StepContext, best: Set[int]) -> None:
        if context.step % self.spec.every:
            return
        for row, image in zip(context.rows, context.predict(context.rows), strict=True):
            kept = self.sums.setdefault(row, deque(maxlen=-(-self.spec.count // self.size)))
            if kept and kept[-1][1] < self.size:
                total, number = kept.pop()
                kept.append((total + image, number + 1))
            else:
                kept.append((image, 1))

    def result(self, rows: Sequence[int], predict: Predict) -> Tiles:
        # With shared weights a row may never have been drawn, or long ago.
        return torch.stack([self._mean(row) if row in self.sums else predict([row])[0] for row in rows])

    def _mean(self, row: int) -> Tensor:
        kept = self.sums[row]
        total = torch.stack([one for one, _ in kept]).sum(0)
        return total / sum(number for _, number in kept)
