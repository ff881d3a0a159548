"""Shapes by name, and the random streams that belong to tiles."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

#: [tile, channel, *space], float32, space = (y, x) or (z, y, x).
Tiles: TypeAlias = Tensor
#: [tile, channel, *space], bool, True where a value may be learnt from.
Mask: TypeAlias = Tensor
#: [tile], one number per tile.
PerTile: TypeAlias = Tensor
#: Name -> weights of a network, [1, ...] for all tiles or [tile, ...].
Weights: TypeAlias = dict[str, Tensor]


@dataclass(frozen=True)
class Streams:
    """One random stream per tile, so that a draw never depends on who shares the batch.

    These live on the CPU: the same seed gives the same numbers on every device. Those of a fit on a GPU are drawn
    there (`device_streams`).
    """

    generators: tuple[torch.Generator, ...]

    @classmethod
    def of(cls, seed: int, method: str, indices: Iterable[Sequence[int]]) -> "Streams":
        """Return the streams of tiles named by their grid index.

        Args:
            seed: Seed of the plan.
            method: Name of the method; two methods never share draws.
            indices: Grid index of each tile.
        """
        return cls(tuple(_generator(f"{seed}/{method}/{tuple(map(int, index))}") for index in indices))

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seed of each row."""
        return tuple(one.initial_seed() for one in self.generators)

    def __len__(self) -> int:
        return len(self.seeds)

    def only(self, rows: Sequence[int]) -> "Streams":
        """Return the streams of some rows of the batch."""
        return Streams(tuple(self.generators[row] for row in rows))

    def apart(self, purpose: str) -> "Streams":
        """Return streams of the same tiles for another purpose: the same ones whenever asked; these do not move."""
        return Streams(tuple(_generator(f"{seed}/{purpose}") for seed in self.seeds))

    def normal(self, shape: Sequence[int], rows: Sequence[int] | None = None) -> Tensor:
        """Draw standard normal numbers, [row, *shape]."""
        return torch.stack([torch.randn(tuple(shape), generator=g) for g in self._chosen(rows)])

    def uniform(self, shape: Sequence[int], rows: Sequence[int] | None = None) -> Tensor:
        """Draw numbers from [0, 1), [row, *shape]."""
        return torch.stack([torch.rand(tuple(shape), generator=g) for g in self._chosen(rows)])

    def signs(self, shape: Sequence[int], rows: Sequence[int] | None = None) -> Tensor:
        """Draw Rademacher numbers, -1 or +1, [row, *shape]."""
        return (self.uniform(shape, rows) < 0.5).float() * 2 - 1

    def many(self, rows: Sequence[int]) -> Callable[[Sequence[int]], Tensor]:
        """Return a source of uniform numbers, [row, *shape], for a step that wants them many times over.

        Its rows begin at a seed that their streams draw once, so what it is asked for does not move them further.
        """
        seeds = (self.uniform((1,), rows)[:, 0] * 2**24).long().tolist()
        coins = [torch.Generator().manual_seed(seed) for seed in seeds]
        return lambda shape: torch.stack([torch.rand(tuple(shape), generator=coin) for coin in coins])

    def _chosen(self, rows: Sequence[int] | None) -> Sequence[torch.Generator]:
        return self.generators if rows is None else [self.generators[row] for row in rows]


def _generator(name: str) -> torch.Generator:
    digest = hashlib.sha256(name.encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def per_tile_mean(values: Tensor, weights: Tensor | None = None) -> PerTile:
    """Average everything but the tile axis, counting only where `weights` is not zero.

    Shape:
        values [tile, *any], weights the same or broadcastable -> [tile].
    """
    if weights is None:
        return values.flatten(1).mean(1)
    weights = weights.to(values.dtype).expand_as(values)
    return (values * weights).flatten(1).sum(1) / weights.flatten(1).sum(1).clamp_min(1)


def repeated(image: Tensor, space: Sequence[int]) -> Tensor:
    """Return an image with every voxel repeated until it has a shape that is a multiple of its own.

    Shape:
        [tile, channel, *space of the image] -> [tile, channel, *space].
    """
    for axis, length in enumerate(space, 2):
        if length != image.shape[axis]:
            image = image.repeat_interleave(length // image.shape[axis], axis)
    return image


def mirrored(places: Tensor, length: int) -> Tensor:
    """Return places along an axis, those beyond it mirrored at its ends; the outermost voxel comes twice."""
    around = places.remainder(2 * length)
    return torch.where(around < length, around, 2 * length - 1 - around)
