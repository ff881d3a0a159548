"""Neighbouring planes of a stack as two looks at nearly the same scene."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor

from ilcore.grammar.arrays import Streams, Tiles
from ilcore.grammar.capability import Capability
from ilcore.grammar.draws import lags_of
from ilcore.grammar.fills import shown
from ilcore.grammar.problem import Noise, Problem
from ilcore.grammar.recipe import Recipe
from ilcore.grammar.slots import LiveNetwork, LiveViews, Views
from ilcore.grammar.step_context import Pair

#: Side of the box over which two planes are compared.
_BOX = 5
#: Squared standard deviations by which they may differ before they are trusted less.
_EXPLAINED = 9.0


@final
@dataclass(frozen=True, kw_only=True)
class AdjacentPlanes(Views):
    """Predict a plane from the one before or after it, and from more planes on the far side.

    Planes may be slices of a volume, frames of a movie or reads of one detector; only their noises must be independent,
    inside a plane they may be correlated. Where the smoothed difference of two planes is more than the noise explains
    the pair counts less, in proportion. An image is the mean of a look from above and one from below.

    Args:
        neighbours: How many planes beyond the one in question are shown as well, on the side away from the target.
        planes: How many planes of each tile a step trains on.

    Shape:
        observed [tile, channel, z, y, x] -> [planes * tile, channel * (1 + neighbours), y, x], the plane in question
        first.

    Reference:
        Lehtinen et al., "Noise2Noise", ICML 2018, eq. 6; Lecoq et al., "DeepInterpolation", Nature Methods 2021, and
        Zhou et al., "NS-N2N", 2024 (neighbouring frames and slices as pairs).
    """

    neighbours: int = 0
    planes: int = 4

    @property
    def offers(self) -> frozenset[Capability]:
        return super().offers - ({Capability.SHOWS_IMAGE} if self.neighbours else set())

    @property
    def requires(self) -> frozenset[Capability]:
        return super().requires | {Capability.READS_PLANES}

    def input_channels(self, problem: Problem) -> int:
        return problem.channels * (1 + self.neighbours)

    def complaints(self, recipe: Recipe, problem: Problem) -> Iterator[str]:
        if self.neighbours < 0 or self.planes < 1:
            yield f"{self} needs neighbours >= 0 and planes >= 1"
        if len(problem.space) != 3 or problem.space[0] < 2:
            yield f"{self} needs a stack of at least 2 planes, got {problem.space}; use 3-D tiles with more planes"
        if recipe.network.halo(3)[0] < self.neighbours:
            yield f"{self} looks {self.neighbours} planes far; set network.reach to that"

    def start(self, problem: Problem, streams: Streams) -> LiveViews:
        return _AdjacentPlanes(self, problem, streams)


class _AdjacentPlanes(LiveViews):
    def __init__(self, spec: AdjacentPlanes, problem: Problem, streams: Streams) -> None:
        self.spec, self.problem, self.streams, self.seen = spec, problem, streams, shown(problem)

    @cached_property
    def weights(self) -> Tensor:
        """Return how far the planes z and z + 1 may teach each other, [tile, channel, z, y, x]."""
        return trust(self.seen, self.problem)

    def draw(self, step: int, rows: Sequence[int]) -> Pair:
        chosen, depth = list(rows), self.problem.space[0]
        drawn = (self.streams.uniform((self.spec.planes,), chosen) * 2 * (depth - 1)).long().T.tolist()
        pairs = [self._pair(row, number) for copy in drawn for row, number in zip(chosen, copy, strict=True)]
        inputs, targets, weights = zip(*pairs, strict=True)
        return Pair(torch.stack(inputs), torch.stack(targets), torch.stack(weights))

    def _pair(self, row: int, number: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return input, target and weight of one of the 2 (depth - 1) ordered pairs of a tile."""
        low, away = number // 2, 1 if number % 2 else -1
        here, there = (low + 1, low) if away == 1 else (low, low + 1)
        weight = self.weights[row, :, low]
        if self.problem.trusted is not None:
            weight = weight * self.problem.trusted[row, :, there]
        return around(self.seen[[row]], here, away, self.spec.neighbours)[0], self.seen[row, :, there], weight

    def look(self, problem: Problem, rows: Sequence[int]) -> Tensor:
        return shown(problem.rows(rows))

    def image(self, model: LiveNetwork, problem: Problem, rows: Sequence[int]) -> Tiles:
        seen = self.look(problem, rows)
        sides = (-1, 1) if self.spec.neighbours else (1,)
        planes = [
            sum(model(around(seen, z, side, self.spec.neighbours), rows) for side in sides) / len(sides)
            for z in range(seen.shape[2])
        ]
        return torch.stack(planes, 2)


def around(stack: Tensor, z: int, side: int, neighbours: int) -> Tensor:
    """Return plane z and its neighbours on one side as channels; beyond the last plane the last one repeats.

    Shape:
        [tile, channel, z, y, x] -> [tile, channel * (1 + neighbours), y, x].
    """
    last = stack.shape[2] - 1
    chosen = [min(max(z + side * away, 0), last) for away in range(neighbours + 1)]
    return torch.cat([stack[:, :, plane] for plane in chosen], 1)


def trust(stack: Tensor, problem: Problem) -> Tensor:
    """Return for neighbouring planes 1 where the noise explains their difference and less where it does not.

    Shape:
        [tile, channel, z, y, x] -> [tile, channel, z - 1, y, x].
    """
    difference = stack[:, :, 1:] - stack[:, :, :-1]
    if problem.noise is None:
        return torch.ones_like(difference)
    variance = problem.noise_std(stack).square()
    left = torch.tensor([_left_by_box(noise) for noise in problem.noise]).to(stack).reshape(-1, 1, 1, 1)
    explained = _EXPLAINED * left * _boxed(variance[:, :, 1:] + variance[:, :, :-1])
    return (explained.clamp_min(1e-12) / _boxed(difference).square().clamp_min(1e-12)).clamp_max(1)


def _boxed(values: Tensor) -> Tensor:
    flat = F.avg_pool2d(values.flatten(0, 2)[:, None], _BOX, 1, _BOX // 2, count_include_pad=False)
    return flat[:, 0].reshape(values.shape)


def _left_by_box(noise: Noise) -> float:
    """Return the share of a noise's variance that the mean over a box keeps, from the correlation of neighbours."""
    share = 1.0
    for lag in lags_of(noise):
        shared = sum((_BOX - away) * max(lag, 0.0) ** away**2 for away in range(1, _BOX))
        share *= (_BOX + 2 * shared) / _BOX**2
    return share
