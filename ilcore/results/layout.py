"""How a result is laid out: its levels, and chunks and shards small enough to look at, large enough to store."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from ilcore.grammar.region import Five, five

#: What results can be written as.
ResultFormat: TypeAlias = Literal["ome-zarr 0.5", "ome-zarr 0.4"]
#: Inner chunks of a plane and of a stack, z y x: a viewer reads one, so no larger than a megabyte or two.
PLANE_CHUNK = (1, 512, 512)
STACK_CHUNK = (8, 256, 256)
#: Inner chunks in a shard along z, y, x: about four million voxels, which is what a worker holds while it blends.
PLANE_SHARD = (1, 4, 4)
STACK_SHARD = (2, 2, 2)
#: An array of fewer chunks than this is stored chunk by chunk.
SHARD_FROM = 64


@dataclass(frozen=True)
class Layout:
    """Chunks of an array and, where there would be too many files, the shards that hold them; t c z y x."""

    chunks: Five
    shards: Five | None = None

    @property
    def unit(self) -> Five:
        """What one writer must write at a time: two writers in one shard lose each other's voxels."""
        return self.shards or self.chunks


def layout_for(shape5: Sequence[int]) -> Layout:
    """Return the layout of a result of this size.

    Args:
        shape5: Size, t c z y x.
    """
    space = shape5[2:]
    stack = space[0] > 1
    chunk = [min(length, most) for length, most in zip(space, STACK_CHUNK if stack else PLANE_CHUNK, strict=True)]
    count = math.prod(math.ceil(length / size) for length, size in zip(space, chunk, strict=True))
    if count * shape5[0] * shape5[1] < SHARD_FROM:
        return Layout(five([1, 1, *chunk]))
    several = STACK_SHARD if stack else PLANE_SHARD
    # No shard reaches further than the volume by a whole chunk.
    shard = [
        size * min(many, math.ceil(length / size)) for length, size, many in zip(space, chunk, several, strict=True)
    ]
    return Layout(five([1, 1, *chunk]), five([1, 1, *shard]))
