"""An image put together from pixels that the network predicted without seeing them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from ilcore.grammar.arrays import Streams, Tiles
from ilcore.grammar.fills import shown
from ilcore.grammar.masks import grid_phase, neighbour_mean
from ilcore.grammar.problem import Problem
from ilcore.grammar.slots import LiveNetwork, LiveViews, Views
from ilcore.grammar.step_context import Pair
from ilcore.grammar.wrapping import WrappedViews
from ilcore.views.hidden_grid import HiddenGrid


@final
@dataclass(frozen=True)
class JInvariantImage(WrappedViews):
    """Train as `grid` does; the image takes every pixel from a pass in which it was hidden.

    Args:
        grid: What is hidden while training, and for the image if `unseen`.
        unseen: False returns to the plain pass, in which the network sees every pixel.

    Reference:
        Batson & Royer, "Noise2Self", ICML 2019, section 3 (a J-invariant function, one pass for each part of J).
    """

    grid: HiddenGrid
    unseen: bool = True

    @property
    def wrapped(self) -> Views:
        return self.grid

    def start(self, problem: Problem, streams: Streams) -> LiveViews:
        return _JInvariantImage(self, problem, streams)


class _JInvariantImage(LiveViews):
    def __init__(self, spec: JInvariantImage, problem: Problem, streams: Streams) -> None:
        self.spec, self.problem = spec, problem
        self.live = spec.grid.start(problem, streams)
        self.seen = shown(problem)

    def draw(self, step: int, rows: Sequence[int]) -> Pair:
        seen, pair = self.seen[list(rows)], self.live.draw(step, rows)
        if pair.trusted is None:
            return pair
        hidden = torch.where(pair.trusted, pair.input, seen)
        return Pair(shown(replace(self.problem.rows(rows), observed=hidden)), seen, pair.trusted)

    def look(self, problem: Problem, rows: Sequence[int]) -> Tensor:
        return shown(problem.rows(rows))

    def image(self, model: LiveNetwork, problem: Problem, rows: Sequence[int]) -> Tiles:
        seen = self.look(problem, rows)
        if not self.spec.unseen:
            plain: Tiles = model(seen, rows)
            return plain
        around, image = neighbour_mean(seen), torch.empty_like(seen)
        for place in range(self.spec.grid.stride**2):
            phase = grid_phase(problem.space, self.spec.grid.stride, torch.tensor([place]))
            hidden = phase.to(seen.device).expand_as(seen)
            image = torch.where(hidden, model(torch.where(hidden, around, seen), rows), image)
        return image
