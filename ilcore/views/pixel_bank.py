"""Many noisy copies of one scan, put together from pixels whose surroundings look alike."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, product
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

#: Shifts compared at once; bounds the memory.
_AT_ONCE = 16
#: Part of a patch that must be comparable.
_OVERLAP = 0.3


@final
@dataclass(frozen=True, kw_only=True)
class PixelBank(Views):
    """Draw input and target pixel by pixel from the pixels of the same plane whose surroundings are most alike.

    Surroundings are compared without the pixel itself, so that the values in the bank are not chosen for their noise.
    A pixel is the first in its own bank. Channels are drawn together. The two draws of a step never take the same one.

    Args:
        size: Pixels in the bank of each pixel.
        patch: Side of the surroundings compared; odd.
        window: Side of the window in which alike ones are looked for; odd.

    Reference:
        Ma et al., "Pixel2Pixel: a pixelwise approach for zero-shot single image denoising", TPAMI 2025.
    """

    size: int = 20
    patch: int = 7
    window: int = 41

    @property
    def offers(self) -> frozenset[Capability]:
        return super().offers | {Capability.WHOLE_IMAGES}

    def complaints(self, recipe: Recipe, problem: Problem) -> Iterator[str]:
        if self.size < 2 or self.patch < 3 or self.window < 3 or not (self.patch % 2 and self.window % 2):
            yield f"{self} needs size >= 2, and patch and window odd and at least 3"
        if problem.space[-1] * problem.space[-2] < 2:
            yield f"{self} needs more than one pixel in a plane, got {problem.space}; use larger tiles"

    def start(self, problem: Problem, streams: Streams) -> LiveViews:
        return _PixelBank(self, problem, streams)


class _PixelBank(LiveViews):
    def __init__(self, spec: PixelBank, problem: Problem, streams: Streams) -> None:
        self.spec, self.problem, self.streams, self.seen = spec, problem, streams, shown(problem)
        self.banks: dict[int, tuple[Tensor, Tensor]] = {}

    def draw(self, step: int, rows: Sequence[int]) -> Pair:
        planes = (2, math.prod(self.problem.space[:-2]), *self.problem.space[-2:])
        drawn = self.streams.uniform(planes, rows).to(self.seen.device)
        pairs = [self._pair(row, *shares) for row, shares in zip(rows, drawn, strict=True)]
        inputs, targets, trusted = (torch.stack(part) for part in zip(*pairs, strict=True))
        return Pair(inputs, targets, trusted)

    def _pair(self, row: int, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return input, target and where they count, each [channel, *space]; two shares [plane, y, x] choose."""
        if row not in self.banks:
            self.banks[row] = self._bank(row)
        places, count = self.banks[row]
        one = (first * count).long()
        # One of the others, counted on from the first.
        two = (one + 1 + (second * (count - 1)).long()) % count.clamp_min(1)
        seen = self.seen[row]
        flat = seen.reshape(len(seen), len(count), -1)
        pair = [self._taken(flat, places, choice).reshape(seen.shape) for choice in (one, two)]
        known = (count > 1).reshape(1, *seen.shape[1:]).expand_as(seen)
        trusted = known if self.problem.trusted is None else known & self.problem.trusted[row]
        return pair[0], pair[1], trusted

    @staticmethod
    def _taken(flat: Tensor, places: Tensor, choice: Tensor) -> Tensor:
        """Return the values that were chosen: flat [channel, plane, pixel], places [plane, bank, y, x]."""
        index = places.gather(1, choice[:, None].long())[:, 0].flatten(1).long()
        return flat.gather(2, index.expand(flat.shape[0], -1, -1))

    def _bank(self, row: int) -> tuple[Tensor, Tensor]:
        """Return the numbers of the pixels in every bank, nearest first, and how many there are.

        Shape:
            [plane, bank, y, x], [plane, y, x].
        """
        seen = self.seen[row].reshape(self.seen.shape[1], -1, *self.seen.shape[-2:])
        trusted = torch.ones_like(seen[0], dtype=torch.bool)
        if self.problem.trusted is not None:
            trusted = self.problem.trusted[row].reshape(seen.shape).all(0)
        banks = [alike(seen[:, z], trusted[z], self.spec) for z in range(seen.shape[1])]
        return torch.stack([places for places, _ in banks]), torch.stack([count for _, count in banks])

    def look(self, problem: Problem, rows: Sequence[int]) -> Tensor:
        return shown(problem.rows(rows))


def alike(plane: Tensor, trusted: Tensor, spec: PixelBank) -> tuple[Tensor, Tensor]:
    """Return for every pixel the numbers of those with the most alike surroundings, and how many were found.

    A pixel that is not trusted is in no bank; its own bank is drawn from its surroundings all the same.

    Shape:
        plane [channel, y, x], trusted [y, x] -> [bank, y, x] int32, [y, x].
    """
    height, width = trusted.shape
    reach = spec.window // 2
    shifts = iter((y, x) for y, x in product(range(-reach, reach + 1), repeat=2) if abs(y) < height and abs(x) < width)
    distances = torch.full((spec.size, height, width), torch.inf, device=plane.device)
    # Where too few are found the pixel stands for itself.
    places = _numbers(plane).repeat(spec.size, 1, 1)
    while chunk := list(islice(shifts, _AT_ONCE)):
        found = [_compared(plane, trusted, y, x, spec.patch) for y, x in chunk]
        both = torch.cat([distances, *(distance[None] for distance, _ in found)])
        numbers = torch.cat([places, *(number[None] for _, number in found)])
        distances, order = both.topk(spec.size, 0, largest=False)
        places = numbers.gather(0, order)
    return places, torch.isfinite(distances).sum(0)


def _compared(plane: Tensor, trusted: Tensor, down: int, right: int, side: int) -> tuple[Tensor, Tensor]:
    """Return how unlike the surroundings of every pixel and of the one so far away are, and the number of that one."""
    height, width = trusted.shape
    rows, columns = slice(max(0, -down), height - max(0, down)), slice(max(0, -right), width - max(0, right))
    there = (slice(rows.start + down, rows.stop + down), slice(columns.start + right, columns.stop + right))
    both = trusted[rows, columns] & trusted[there]
    difference = (plane[:, rows, columns] - plane[(slice(None), *there)]).square().mean(0)
    total = _around(torch.where(both, difference, 0), side)
    known = _around(both.to(total.dtype), side)
    enough = trusted[there] & (known >= _OVERLAP * min(side**2 - 1, height * width - 1))
    distance = torch.full((height, width), torch.inf, device=plane.device)
    own = down == right == 0
    distance[rows, columns] = torch.where(enough | own & trusted[there], -1 if own else total / known, torch.inf)
    numbers = _numbers(plane)
    numbers[rows, columns] = _numbers(plane)[there]
    return distance.nan_to_num(torch.inf, torch.inf), numbers


def _numbers(plane: Tensor) -> Tensor:
    height, width = plane.shape[-2:]
    return torch.arange(height * width, dtype=torch.int32, device=plane.device).reshape(height, width)


def _around(values: Tensor, side: int) -> Tensor:
    """Return the sum over a box without its centre."""
    total = F.avg_pool2d(values[None], side, 1, side // 2, count_include_pad=True)[0] * side**2
    return (total - values).clamp_min(0)
