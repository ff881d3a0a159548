"""A guard that steps back when a fit falls apart."""

import math
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
class Backtracking(Descent):
    """Return a tile to its last good weights when its loss jumps by more than `drop_db`.

    Args:
        inner: The descent that is guarded.
        drop_db: Largest rise of the loss between two steps, in decibels.

    Reference:
        Ulyanov, Vedaldi & Lempitsky, "Deep image prior", CVPR 2018, released denoising notebook.
    """

    inner: Descent
    drop_db: float = 5.0

    def complaints(self, recipe: Recipe, problem: Problem) -> Iterator[str]:
        if self.drop_db <= 0:
            yield f"{self} needs drop_db > 0"

    def start(self, model: LiveNetwork, streams: Streams) -> LiveDescent:
        return _Backtracking(self, model, streams)


class _Backtracking:
    def __init__(self, spec: Backtracking, model: LiveNetwork, streams: Streams) -> None:
        self.spec, self.inner = spec, spec.inner.start(model, streams)
        self.live = [value.detach() for value in model.moving().values()]
        self.good = [value.clone() for value in self.live]
        self.last: dict[int, float] = {}

    def step(self, losses: PerTile, rows: Sequence[int]) -> None:
        fallen = []
        for row, loss in zip(rows, losses.tolist(), strict=False):
            if self._jumped(row, loss):
                fallen.append(row)
            else:
                self._copy(self.live, self.good, row)
                self.last[row] = loss
        self.inner.step(losses, rows)
        for row in fallen:
            self._copy(self.good, self.live, row)

    def _jumped(self, row: int, loss: float) -> bool:
        before = self.last.get(row, 0.0)
        return before > 0 and 10 * math.log10(max(loss, 1e-30) / before) > self.spec.drop_db

    def _copy(self, source: list[torch.Tensor], target: list[torch.Tensor], row: int) -> None:
        for mine, other in zip(source, target, strict=True):
            index = 0 if len(mine) == 1 else row
            other[index] = mine[index]
