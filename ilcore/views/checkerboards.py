"""Four half images from the two colours of a chequerboard."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from ilcore.grammar.arrays import Streams
from ilcore.grammar.fills import shown
from ilcore.grammar.problem import Problem
from ilcore.grammar.recipe import Recipe
from ilcore.grammar.slots import LiveViews, Views
from ilcore.grammar.step_context import Pair


@final
@dataclass(frozen=True)
class Checkerboards(Views):
    """Predict one colour of a chequerboard over every plane from the other, squeezed along x or along y by turns.

    Odd sides lose their last line. One pair a step: white to black, black to white, along x; then along y.

    Shape:
        observed [tile, channel, *space] -> [tile, channel, ..., height, width // 2] or [..., height // 2, width].

    Reference:
        Lequyer et al., "A fast blind zero-shot denoiser", Nature Machine Intelligence 2022, figure 1.
    """

    def complaints(self, recipe: Recipe, problem: Problem) -> Iterator[str]:
        if min(problem.space[-2:]) < 2:
            yield f"{self} needs tiles of at least 2 x 2 pixels, got {problem.space}; use larger tiles"

    def start(self, problem: Problem, streams: Streams) -> LiveViews:
        return _Checkerboards(problem)


def colours(image: Tensor, *, along_x: bool) -> tuple[Tensor, Tensor]:
    """Return the pixels of both colours, each squeezed to half the length of one axis.

    Shape:
        [..., y, x] -> two of [..., y, x // 2], or of [..., y // 2, x].
    """
    if not along_x:
        one, two = colours(image.transpose(-1, -2), along_x=True)
        return one.transpose(-1, -2), two.transpose(-1, -2)
    height, width = (side - side % 2 for side in image.shape[-2:])
    left, right = image[..., :height, 0:width:2], image[..., :height, 1:width:2]
    odd = (torch.arange(height, device=image.device) % 2 == 1)[:, None]
    return torch.where(odd, right, left), torch.where(odd, left, right)


class _Checkerboards(LiveViews):
    def __init__(self, problem: Problem) -> None:
        self.problem, self.seen = problem, shown(problem)

    def draw(self, step: int, rows: Sequence[int]) -> Pair:
        chosen, along_x, turned = list(rows), step % 4 < 2, step % 2
        pair = colours(self.seen[chosen], along_x=along_x)
        if self.problem.trusted is None:
            return Pair(pair[turned], pair[1 - turned])
        trusted = colours(self.problem.trusted[chosen], along_x=along_x)
        return Pair(pair[turned], pair[1 - turned], trusted[1 - turned])

    def look(self, problem: Problem, rows: Sequence[int]) -> Tensor:
        return shown(problem.rows(rows))
