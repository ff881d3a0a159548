"""Who looks on while a run is carried out: progress bars, an orchestrator's pages. This one sees nothing."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar

Answer = TypeVar("Answer")


class Counter(Protocol):
    """Counts what is done of a stage."""

    def step(self, words: str = "", by: int = 1) -> None:
        """Count some more, with a word on how it goes."""
        ...


class Observer:
    """Is told of each stage as it begins and ends, and of each item that is done."""

    def stage(self, name: str, work: Callable[[], Answer]) -> Answer:
        """Do the work of a stage, and return what comes of it."""
        del name
        return work()

    @contextmanager
    def counting(self, name: str, total: int, unit: str, *, already: int = 0) -> Iterator[Counter]:
        """Yield what counts the items of a stage.

        Args:
            name: What is counted.
            total: How many there are.
            unit: What they are called.
            already: How many an earlier sitting did.
        """
        del name, total, unit, already
        yield _NotCounted()


class _NotCounted:
    def step(self, words: str = "", by: int = 1) -> None:
        del words, by
