"""A level of an image: how it is named, how large it is."""

from dataclasses import dataclass

from ilcore.grammar.region import Five


@dataclass(frozen=True)
class Level:
    """One level of the pyramid: where it lies under the root, its size, and how much coarser it is than the finest."""

    path: str
    shape: Five
    factors: Five = (1, 1, 1, 1, 1)
