"""A guard that steps back when a fit falls apart."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

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
        count = max(len(value) for value in self.live)
        #: Loss of the last good weights; 0 where there are none yet.
        self.last = torch.zeros(count, dtype=torch.float64, device=self.live[0].device)

    def step(self, losses: PerTile, rows: Sequence[int]) -> None:
        # One set of weights for all tiles has one loss.
        places = list(rows) if len(self.last) > 1 else [0]
        fallen = self._jumped(losses.detach().double(), places)
        _copy(self.live, self.good, ~fallen, places)
        self.inner.step(losses, rows)
        _copy(self.good, self.live, fallen, places)

    def _jumped(self, losses: PerTile, places: list[int]) -> Tensor:
        """Return which rows are much worse than before, and note the losses of the others."""
        before = self.last[places]
        fallen = (before > 0) & (10 * torch.log10(losses.clamp_min(1e-30) / before) > self.spec.drop_db)
        self.last[places] = torch.where(fallen, before, losses)
        return fallen


def _copy(source: list[Tensor], target: list[Tensor], chosen: Tensor, places: list[int]) -> None:
    """Copy the weights of the rows `chosen`, which stand at some places; a GPU is not asked which those are."""
    if chosen.device.type == "cpu" and not chosen.any():
        return
    for mine, other in zip(source, target, strict=True):
        which = chosen.reshape(-1, *(1,) * (mine.ndim - 1))
        if len(places) == len(mine):
            other.copy_(torch.where(which, mine, other))
        else:
            other[places] = torch.where(which, mine[places], other[places])
