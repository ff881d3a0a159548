"""Blind spots: every few pixels one is hidden behind its neighbours and must be predicted."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import final

import torch
from torch import Tensor

from ilcore.grammar.arrays import Streams
from ilcore.grammar.capability import Capability
from ilcore.grammar.fills import shown
from ilcore.grammar.masks import grid_phase, neighbour_mean
from ilcore.grammar.problem import Problem
from ilcore.grammar.recipe import Recipe
from ilcore.grammar.slots import LiveViews, Views
from ilcore.grammar.step_context import Pair


@final
@dataclass(frozen=True)
class HiddenGrid(Views):
    """Hide one pixel in every `stride` x `stride` cell of the last two axes, at a random place of the cell.

    Args:
        stride: Distance between hidden pixels, at least 2; neighbours of a hidden pixel stay visible from 3 on.

    Reference:
        Batson & Royer, "Noise2Self", ICML 2019, eq. 3; random phases as in Krull et al., "Noise2Void", CVPR 2019.
    """

    stride: int = 4

    @property
    def offers(self) -> frozenset[Capability]:
        return super().offers | {Capability.WHOLE_IMAGES}

    @property
    def requires(self) -> frozenset[Capability]:
        # Tried without: the network then repeats what it sees wherever nothing is hidden (27.8 dB fell to 20.4).
        return super().requires | {Capability.CANNOT_COPY}

    def complaints(self, recipe: Recipe, problem: Problem) -> Iterator[str]:
        if self.stride < 2:
            yield f"{self} needs a stride of at least 2"

    def start(self, problem: Problem, streams: Streams) -> LiveViews:
        return _HiddenGrid(self, problem, streams)


class _HiddenGrid(LiveViews):
    def __init__(self, spec: HiddenGrid, problem: Problem, streams: Streams) -> None:
        self.stride, self.problem, self.streams, self.seen = spec.stride, problem, streams, shown(problem)

    @cached_property
    def neighbours(self) -> Tensor:
        return neighbour_mean(self.seen, self.problem.trusted)

    def draw(self, step: int, rows: Sequence[int]) -> Pair:
        chosen = list(rows)
        observed, seen = self.problem.observed[chosen], self.seen[chosen]
        place = (self.streams.uniform((), chosen) * self.stride**2).long()
        hidden = grid_phase(self.problem.space, self.stride, place).to(observed.device).expand_as(observed)
        trusted = hidden if self.problem.trusted is None else hidden & self.problem.trusted[chosen]
        return Pair(torch.where(hidden, self.neighbours[chosen], seen), observed, trusted)

    def look(self, problem: Problem, rows: Sequence[int]) -> Tensor:
        return shown(problem.rows(rows))
