"""Pixels dropped at random; the network knows which."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from ilcore.grammar.arrays import Streams, Tiles
from ilcore.grammar.capability import Capability
from ilcore.grammar.problem import Problem
from ilcore.grammar.recipe import Recipe
from ilcore.grammar.slots import LiveNetwork, LiveViews, Views
from ilcore.grammar.step_context import Pair


@final
@dataclass(frozen=True, kw_only=True)
class DroppedPixels(Views):
    """Show the values that a coin left over, with the mask of them, and ask for the others.

    The image is the mean over many passes, each with coins of its own.

    Args:
        keep: Probability that a value is shown.
        passes: How many predictions make an image.
        flips: Mirror the tile along y and x at random while learning.

    Shape:
        observed [tile, channel, *space] -> input [tile, 2 channel, *space]: values, zero where dropped, then the mask.

    Reference:
        Quan, Chen, Pang & Ji, "Self2Self with dropout", CVPR 2020, section 3.
    """

    keep: float = 0.7
    passes: int = 100
    flips: bool = True

    @property
    def offers(self) -> frozenset[Capability]:
        return super().offers - {Capability.SHOWS_IMAGE} | {Capability.SHOWS_MASK}

    @property
    def requires(self) -> frozenset[Capability]:
        return frozenset({Capability.READS_MASK, Capability.RETURNS_IMAGE})

    def input_channels(self, problem: Problem) -> int:
        return 2 * problem.channels

    def complaints(self, recipe: Recipe, problem: Problem) -> Iterator[str]:
        if not 0 < self.keep < 1 or self.passes < 1:
            yield f"{self} needs 0 < keep < 1 and passes >= 1"

    def start(self, problem: Problem, streams: Streams) -> LiveViews:
        return _DroppedPixels(self, problem, streams)


class _DroppedPixels(LiveViews):
    def __init__(self, spec: DroppedPixels, problem: Problem, streams: Streams) -> None:
        self.spec, self.problem, self.streams = spec, problem, streams

    def draw(self, step: int, rows: Sequence[int]) -> Pair:
        chosen = list(rows)
        observed, trusted = self._mirrored(chosen)
        kept = self._coins(chosen, observed)
        return Pair(_input(observed, kept & trusted), observed, ~kept & trusted)

    def look(self, problem: Problem, rows: Sequence[int]) -> Tensor:
        chosen = list(rows)
        observed = problem.observed[chosen]
        return _input(observed, self._coins(chosen, observed) & (problem.weight[chosen] > 0))

    def image(self, model: LiveNetwork, problem: Problem, rows: Sequence[int]) -> Tiles:
        total: Tiles = model(self.look(problem, rows), rows)
        for _ in range(self.spec.passes - 1):
            total = total + model(self.look(problem, rows), rows)
        return total / self.spec.passes

    def _coins(self, rows: list[int], like: Tensor) -> Tensor:
        return self.streams.uniform(like.shape[1:], rows).to(like.device) < self.spec.keep

    def _mirrored(self, rows: list[int]) -> tuple[Tensor, Tensor]:
        observed, trusted = self.problem.observed[rows], self.problem.weight[rows] > 0
        if not self.spec.flips:
            return observed, trusted
        for axis, coin in zip((-2, -1), self.streams.uniform((2,), rows).unbind(1), strict=True):
            turned = (coin < 0.5).reshape(-1, *(1,) * (observed.ndim - 1)).to(observed.device)
            observed = torch.where(turned, observed.flip(axis), observed)
            trusted = torch.where(turned, trusted.flip(axis), trusted)
        return observed, trusted


def _input(observed: Tensor, shown: Tensor) -> Tensor:
    # Selected, not multiplied: what is not trusted may be infinite.
    return torch.cat([torch.where(shown, observed, torch.zeros_like(observed)), shown.to(observed.dtype)], 1)
