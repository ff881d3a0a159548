"""Two half-size images from the two diagonals of every 2x2 cell."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
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


@final
@dataclass(frozen=True)
class DiagonalHalves(Views):
    """Predict one diagonal mean of every 2x2 cell of the last two axes from the other, both ways.

    Odd sides lose their last line; a cell counts where all its trusted flags are set.

    Shape:
        observed [tile, channel, *space] -> [2 * tile, channel, ..., height // 2, width // 2].

    Reference:
        Mansour & Heckel, "Zero-Shot Noise2Noise", CVPR 2023, section 3.1.
    """

    @property
    def offers(self) -> frozenset[Capability]:
        return super().offers | {Capability.BOTH_HALVES}

    def complaints(self, recipe: Recipe, problem: Problem) -> Iterator[str]:
        if min(problem.space[-2:]) < 2:
            yield f"{self} needs tiles of at least 2 x 2 pixels, got {problem.space}; use larger tiles"

    def start(self, problem: Problem, streams: Streams) -> LiveViews:
        return _DiagonalHalves(problem)


def diagonal_halves(image: Tensor) -> Tensor:
    """Return both halves, the anti-diagonal ones first.

    Shape:
        [tile, channel, *space] -> [2 * tile, channel, *half space].
    """
    height, width = (side - side % 2 for side in image.shape[-2:])
    a, b = image[..., 0:height:2, 0:width:2], image[..., 0:height:2, 1:width:2]
    c, d = image[..., 1:height:2, 0:width:2], image[..., 1:height:2, 1:width:2]
    return torch.cat([(b + c) / 2, (a + d) / 2])


class _DiagonalHalves(LiveViews):
    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.halves = diagonal_halves(shown(problem)).unflatten(0, (2, -1))
        whole = None if problem.trusted is None else diagonal_halves(problem.trusted.float()) == 1
        self.trusted = None if whole is None else whole.unflatten(0, (2, -1))

    def draw(self, step: int, rows: Sequence[int]) -> Pair:
        chosen = list(rows)
        seen = self.halves[:, chosen]
        trusted = None if self.trusted is None else self.trusted[:, chosen].all(0, keepdim=True).expand_as(seen)
        flat = None if trusted is None else trusted.flatten(0, 1)
        return Pair(seen.flatten(0, 1), seen.flip(0).flatten(0, 1), flat, diagonal_halves)

    def look(self, problem: Problem, rows: Sequence[int]) -> Tensor:
        return shown(problem.rows(rows))
