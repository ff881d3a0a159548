"""Two half-size images that agree on the slope of every 2x2 cell."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import final

import torch
import torch.nn.functional as F
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
class SortedHalves(Views):
    """Predict the mean of the two middle pixels of every 2x2 cell from that of its two outer ones, and back.

    The four pixels are sorted along the gradient, as a smoothed copy of the scan shows it, so that the two means agree
    wherever the image is a ramp. Odd sides lose their last line; a cell counts where all its pixels are trusted.

    Args:
        smoothing: Side of the box that smooths before pixels are sorted; odd. 1 would sort the noise.

    Shape:
        observed [tile, channel, *space] -> [2 * tile, channel, ..., height // 2, width // 2].

    Reference:
        ZS-HPD, CVPR 2026 (gradient-sorted downsampler; our reading of its abstract).
    """

    smoothing: int = 5

    @property
    def offers(self) -> frozenset[Capability]:
        return super().offers | {Capability.BOTH_HALVES}

    def complaints(self, recipe: Recipe, problem: Problem) -> Iterator[str]:
        if self.smoothing < 1 or self.smoothing % 2 == 0:
            yield f"{self} needs an odd smoothing"
        if min(problem.space[-2:]) < 2:
            yield f"{self} needs tiles of at least 2 x 2 pixels, got {problem.space}; use larger tiles"

    def start(self, problem: Problem, streams: Streams) -> LiveViews:
        return _SortedHalves(self, problem)


def corners(image: Tensor) -> Tensor:
    """Return the four pixels of every 2x2 cell, [*any, height // 2, width // 2, 4]."""
    height, width = (side - side % 2 for side in image.shape[-2:])
    return torch.stack([image[..., y:height:2, x:width:2] for y in (0, 1) for x in (0, 1)], -1)


def sorted_halves(image: Tensor, *, order: Tensor) -> Tensor:
    """Return the mean of the outer and of the middle pixels, by the order that smoother values gave.

    Shape:
        image [row, channel, *space], order [row, channel, *half space, 4] -> [2 * row, channel, *half space].
    """
    ranked = corners(image).gather(-1, order)
    return torch.cat([(ranked[..., 0] + ranked[..., 3]) / 2, (ranked[..., 1] + ranked[..., 2]) / 2])


class _SortedHalves(LiveViews):
    def __init__(self, spec: SortedHalves, problem: Problem) -> None:
        self.spec, self.problem, self.seen = spec, problem, shown(problem)

    @cached_property
    def order(self) -> Tensor:
        flat = self.seen.flatten(0, -3)[:, None]
        side = self.spec.smoothing
        smooth = F.avg_pool2d(flat, side, 1, side // 2, count_include_pad=False)[:, 0].reshape(self.seen.shape)
        return corners(smooth).argsort(stable=True, dim=-1)

    def draw(self, step: int, rows: Sequence[int]) -> Pair:
        chosen = list(rows)
        halves = partial(sorted_halves, order=self.order[chosen])
        seen = halves(self.seen[chosen])
        trusted = None
        if self.problem.trusted is not None:
            trusted = corners(self.problem.trusted[chosen]).all(-1).repeat(2, *(1,) * (seen.ndim - 1))
        return Pair(seen, seen.roll(len(chosen), 0), trusted, halves)

    def look(self, problem: Problem, rows: Sequence[int]) -> Tensor:
        return shown(problem.rows(rows))
