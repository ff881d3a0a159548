"""Which patches of a window are most alike: all distances of a few neighbouring patches by one product of matrices.

    |a - b|^2 = |a|^2 - 2 a'b + |b|^2        a: reference patches of a block, b: all patches within their reach

The windows of neighbours lie almost on top of one another, so most of what the product holds is asked for.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

#: Reference patches of a block along y and x, in the block cut into patches and in those compared and solved together;
#: on a CPU the latter stay in its cache, a GPU wants more of them.
_BLOCK, _TOGETHER = {"cpu": 16}, {"cpu": 8}
_BLOCK_ELSEWHERE = 32


@dataclass(frozen=True)
class Block:
    """Neighbouring reference patches, by the rows and columns of their corners."""

    rows: Sequence[int]
    columns: Sequence[int]

    def cut(self, count: int) -> Iterator["Block"]:
        """Yield blocks of at most so many rows and columns."""
        for row in range(0, len(self.rows), count):
            for column in range(0, len(self.columns), count):
                yield Block(self.rows[row : row + count], self.columns[column : column + count])

    def around(self, reach: int, size: Sequence[int]) -> tuple[slice, slice]:
        """Return the rows and columns of all corners within reach, in an image with so many corners."""
        rows, columns = (
            slice(max(0, places[0] - reach), min(length, places[-1] + reach + 1))
            for places, length in zip((self.rows, self.columns), size, strict=True)
        )
        return rows, columns

    def moved(self, up: int, left: int) -> "Block":
        """Return the same patches, counted from another corner."""
        return Block([row - up for row in self.rows], [column - left for column in self.columns])


def reference_blocks(size: Sequence[int], first: int, stride: int, device: torch.device) -> Iterator[Block]:
    """Yield the blocks of an image with so many corners (y, x): every few places, and along the borders."""
    rows, columns = (sorted({0, *range(first, length, stride), length - 1}) for length in size)
    return Block(rows, columns).cut(_BLOCK.get(device.type, _BLOCK_ELSEWHERE))


def together(block: Block, device: torch.device) -> Iterator[Block]:
    """Yield the parts of a block whose patches are compared and solved together."""
    return block.cut(_TOGETHER.get(device.type, _BLOCK_ELSEWHERE))


def patches_of(stack: Tensor, area: tuple[slice, slice], side: int) -> Tensor:
    """Return the patches with corners in an area.

    Shape:
        stack [plane, channel, y, x] -> [plane, y, x, value].
    """
    rows, columns = (slice(along.start, along.stop + side - 1) for along in area)
    views = stack[..., rows, columns].unfold(-2, side, 1).unfold(-2, side, 1)
    return views.permute(0, 2, 3, 1, 4, 5).flatten(3)


def alike(patches: Tensor, block: Block, plane: int, reach: int, wanted: int) -> Tensor:
    """Return for every reference patch of a block the numbers of the patches most alike, itself among them.

    Args:
        patches: All within reach of the block; where they end, the image ends.
        block: The reference patches, by their corners among these.
        plane: In which they lie.
        reach: How far in y and x alike ones are looked for.
        wanted: How many.

    Shape:
        patches [plane, y, x, value] -> [reference, patch], numbers in the flattened patches.
    """
    height, width = patches.shape[1:3]
    area = block.around(reach, (height, width))
    inner = block.moved(area[0].start, area[1].start)
    near, device = patches[:, area[0], area[1]], patches.device
    rows, columns = (torch.tensor(places, device=device) for places in (inner.rows, inner.columns))
    own = (plane * near.shape[1] + rows[:, None]) * near.shape[2] + columns
    distances = _distances(near, own.flatten())
    within, outside = _windows(rows, columns, reach, near.shape)
    nearest = distances.gather(1, within).masked_fill_(outside, torch.inf)
    least, chosen = nearest.topk(min(wanted, nearest.shape[1]), largest=False, sorted=False)
    # Near corners a window holds fewer patches than wanted: the reference itself stands in.
    numbers = torch.where(least == torch.inf, own.reshape(-1, 1), within.gather(1, chosen))
    z, at = numbers // near[0, ..., 0].numel(), numbers % near[0, ..., 0].numel()
    y, x = at // near.shape[2] + area[0].start, at % near.shape[2] + area[1].start
    return (z * height + y) * width + x


def _distances(near: Tensor, own: Tensor) -> Tensor:
    """Return how unlike patches are to the reference ones among them, less what is the same for all; own ones least."""
    flat = near.flatten(0, 2)
    here = flat[own]
    # Around their mean, so that the difference of large numbers leaves nothing out.
    middle = here.mean()
    here, there = here - middle, flat - middle
    distances = torch.addmm(there.square().sum(1), here, there.T, alpha=-2)
    return distances.scatter_(1, own[:, None], -torch.inf)


def _windows(rows: Tensor, columns: Tensor, reach: int, shape: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Return the numbers of the patches in the window of every reference patch, and which would lie outside.

    Shape:
        shape (plane, y, x, value) -> [reference, place] twice.
    """
    planes, height, width = shape[:3]
    down, right = _steps(reach, height, rows.device), _steps(reach, width, rows.device)
    y, x = rows[:, None] + down, columns[:, None] + right
    outside = ((y < 0) | (y >= height))[:, None, :, None] | ((x < 0) | (x >= width))[None, :, None, :]
    flat = y.clamp(0, height - 1)[:, None, :, None] * width + x.clamp(0, width - 1)[None, :, None, :]
    upwards = torch.arange(planes, device=rows.device)[:, None] * height * width
    numbers = (upwards + flat.flatten(2).flatten(0, 1)[:, None]).flatten(1)
    return numbers, outside.flatten(2).flatten(0, 1).repeat(1, planes)


def _steps(reach: int, length: int, device: torch.device) -> Tensor:
    least = min(reach, length - 1)
    return torch.arange(-least, least + 1, device=device)
