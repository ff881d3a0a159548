"""Sizes of arrays that are halved several times."""

from collections.abc import Sequence


def strides(space: Sequence[int], scales: int) -> list[tuple[int, ...]]:
    """Return the stride of each level; an axis shorter than four voxels is not halved any further."""
    sizes = halved(space, scales)
    return [tuple(2 if side >= 4 else 1 for side in size) for size in sizes[:-1]]


def halved(space: Sequence[int], scales: int) -> list[tuple[int, ...]]:
    """Return the sizes of all levels from the finest on, which is `space` itself."""
    sizes = [tuple(space)]
    while len(sizes) <= scales and max(sizes[-1]) >= 4:
        sizes.append(tuple(-(-side // 2) if side >= 4 else side for side in sizes[-1]))
    return sizes
