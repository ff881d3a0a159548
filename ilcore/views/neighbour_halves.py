"""Two half-size images of neighbouring pixels, drawn anew every step."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import final

import torch
from torch import Tensor

from ilcore.grammar.arrays import Streams
from ilcore.grammar.capability import Capability
from ilcore.grammar.fills import shown
from ilcore.grammar.problem import Problem
from ilcore.grammar.recipe import Recipe
from ilcore.grammar.slots import LiveViews, Views
from ilcore.grammar.step_context import Pair

#: Ordered pairs of pixels of a 2x2 cell that share a side; pixels are numbered 0 1 / 2 3.
ADJACENT = ((0, 1), (1, 0), (0, 2), (2, 0), (1, 3), (3, 1), (2, 3), (3, 2))


@final
@dataclass(frozen=True)
class NeighbourHalves(Views):
    """Predict one pixel of every 2x2 cell of the last two axes from one that shares a side with it.

    Which two is drawn for every cell, the same for all channels. Odd sides lose their last line. `shrink` returns both
    halves of an image, those of the input first.

    Shape:
        observed [tile, channel, *space] -> [tile, channel, ..., height // 2, width // 2].

    Reference:
        Huang et al., "Neighbor2Neighbor", CVPR 2021, section 3.2.
    """

    @property
    def offers(self) -> frozenset[Capability]:
        return super().offers | {Capability.PICKED_NEIGHBOURS}

    def complaints(self, recipe: Recipe, problem: Problem) -> Iterator[str]:
        if min(problem.space[-2:]) < 2:
            yield f"{self} needs tiles of at least 2 x 2 pixels, got {problem.space}; use larger tiles"

    def start(self, problem: Problem, streams: Streams) -> LiveViews:
        return _NeighbourHalves(problem, streams)


class _NeighbourHalves(LiveViews):
    def __init__(self, problem: Problem, streams: Streams) -> None:
        self.problem, self.streams, self.seen = problem, streams, shown(problem)

    def draw(self, step: int, rows: Sequence[int]) -> Pair:
        chosen, space = list(rows), self.problem.space
        cells = (1, *space[:-2], space[-2] // 2, space[-1] // 2)
        drawn = (self.streams.uniform(cells, chosen) * len(ADJACENT)).long()
        halves = partial(picked, choice=torch.tensor(ADJACENT, device=drawn.device)[drawn].to(self.seen.device))
        one, two = halves(self.seen[chosen]).chunk(2)
        if self.problem.trusted is None:
            return Pair(one, two, None, halves)
        first, second = halves(self.problem.trusted[chosen]).chunk(2)
        return Pair(one, two, first & second, halves)

    def look(self, problem: Problem, rows: Sequence[int]) -> Tensor:
        return shown(problem.rows(rows))


def picked(image: Tensor, *, choice: Tensor) -> Tensor:
    """Return the pixels of every 2x2 cell that `choice` names, one image for each of its last entries.

    Shape:
        image [row, channel, *space], choice [row, 1, *half space, 2] -> [2 * row, channel, *half space].
    """
    height, width = (side - side % 2 for side in image.shape[-2:])
    corners = [image[..., y:height:2, x:width:2] for y in (0, 1) for x in (0, 1)]
    cells = torch.stack(corners, -1)
    both = cells.gather(-1, choice.expand(*cells.shape[:-1], 2))
    return torch.cat(both.unbind(-1))
