"""Boxes of a volume: half-open spans, one for each of the five axes t, c, z, y, x."""

import math
from collections.abc import Iterator, Sequence
from itertools import product
from typing import TypeAlias

Span: TypeAlias = tuple[int, int]
#: (start, stop) for t, c, z, y, x.
Region: TypeAlias = tuple[Span, Span, Span, Span, Span]
#: One whole number for each of t, c, z, y, x.
Five: TypeAlias = tuple[int, int, int, int, int]

AXES = "tczyx"


def five(values: Sequence[int]) -> Five:
    """Return five whole numbers as a tuple, whatever integer type they came in."""
    t, c, z, y, x = (int(value) for value in values)
    return (t, c, z, y, x)


def region_of(spans: Sequence[Sequence[int]]) -> Region:
    """Return five spans as a region, whatever integer type they came in."""
    t, c, z, y, x = ((int(start), int(stop)) for start, stop in spans)
    return (t, c, z, y, x)


def whole(shape: Sequence[int]) -> Region:
    """Return the region that covers a volume of this shape."""
    return region_of([(0, length) for length in shape])


def size(region: Region) -> Five:
    """Return the edge lengths of a region; a span that ends before it starts has length 0."""
    return five([max(0, stop - start) for start, stop in region])


def voxels(region: Region) -> int:
    """Count the voxels of a region."""
    return math.prod(size(region))


def grow(region: Region, before: Sequence[int], after: Sequence[int] | None = None) -> Region:
    """Widen a region by so many voxels on either side of each axis, without clipping.

    Args:
        region: What to widen.
        before: Voxels added at the start of t, c, z, y, x.
        after: Voxels added at the end; the same as `before` where not given.
    """
    return region_of(
        [
            (start - low, stop + high)
            for (start, stop), low, high in zip(region, before, after if after is not None else before, strict=True)
        ]
    )


def shift(region: Region, by: Sequence[int]) -> Region:
    """Move a region along each axis."""
    return region_of([(start + step, stop + step) for (start, stop), step in zip(region, by, strict=True)])


def intersect(one: Region, other: Region) -> Region:
    """Return what two regions share; spans of size 0 where they share nothing."""
    spans = [(max(a, c), min(b, d)) for (a, b), (c, d) in zip(one, other, strict=True)]
    return region_of([(start, max(start, stop)) for start, stop in spans])


def clip(region: Region, shape: Sequence[int]) -> Region:
    """Cut a region at the edges of a volume."""
    return intersect(region, whole(shape))


def touches(one: Region, other: Region) -> bool:
    """Tell whether two regions share a voxel."""
    return voxels(intersect(one, other)) > 0


def inside(region: Region, shape: Sequence[int]) -> bool:
    """Tell whether a region lies within a volume and no span runs backwards."""
    return all(0 <= start <= stop <= length for (start, stop), length in zip(region, shape, strict=True))


def aligned(region: Region, unit: Sequence[int], shape: Sequence[int]) -> bool:
    """Tell whether a region is made of whole units; at the edge of the volume the last unit may be short."""
    return all(
        start % step == 0 and (stop % step == 0 or stop == length)
        for (start, stop), step, length in zip(region, unit, shape, strict=True)
    )


def blocks(shape5: Sequence[int], unit: Sequence[int]) -> Iterator[Region]:
    """Cut a volume into whole write units, x fastest; the last ones along an axis may be short.

    Args:
        shape5: Size of the volume, t c z y x.
        unit: Size of the write unit (shard, else chunk), t c z y x.
    """
    starts = [range(0, length, step) for length, step in zip(shape5, unit, strict=True)]
    for place in product(*starts):
        spans = zip(place, unit, shape5, strict=True)
        yield region_of([(start, min(start + step, length)) for start, step, length in spans])


def slices(region: Region, origin: Sequence[int] = (0, 0, 0, 0, 0)) -> tuple[slice, ...]:
    """Return the numpy index of a region inside an array whose first voxel sits at `origin`."""
    return tuple(slice(start - zero, stop - zero) for (start, stop), zero in zip(region, origin, strict=True))


def words(region: Region) -> str:
    """Name a region for a message, `t 0:1, c 0:3, z 0:16, y 256:512, x 0:256`."""
    return ", ".join(f"{axis} {start}:{stop}" for axis, (start, stop) in zip(AXES, region, strict=True))
