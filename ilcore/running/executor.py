"""Where the work of a run is done: in this process, or on workers. Whoever has these three methods can carry runs out.

compute(function, items)   learns or predicts: each item is given a device, all of them of one kind
move(function, items)      reads, blends, writes: wherever there is room
once(function)             computes one thing that has no items
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

Item = TypeVar("Item")
Report = TypeVar("Report")


class Executor(ABC):
    """Does something with each of many items, in any order, any number at a time.

    Items are read as they are needed, so that there may be very many. An error of one item ends the rest and is raised
    here. A function must be safe to run again with the same item: whoever ran it may have died after its work.
    """

    @abstractmethod
    def compute(self, function: Callable[[Item, str], Report], items: Iterable[Item]) -> Iterator[Report]:
        """Yield what a function returns for each item and the device that it is given."""

    @abstractmethod
    def move(self, function: Callable[[Item], Report], items: Iterable[Item]) -> Iterator[Report]:
        """Yield what a function that only moves voxels returns for each item."""

    def once(self, function: Callable[[str], Report]) -> Report:
        """Return what a function returns for a device."""
        return next(iter(self.compute(partial(_alone, function), [None])))


@dataclass(frozen=True)
class Local(Executor):
    """This process, one item at a time.

    Args:
        device: auto, cpu, cuda or cuda:1.
    """

    device: str = "cpu"

    def compute(self, function: Callable[[Item, str], Report], items: Iterable[Item]) -> Iterator[Report]:
        return (function(item, self.device) for item in items)

    def move(self, function: Callable[[Item], Report], items: Iterable[Item]) -> Iterator[Report]:
        return map(function, items)


def _alone(function: Callable[[str], Report], _item: Any, device: str) -> Report:
    return function(device)
