"""What long work says of itself while it goes on, for whoever listens; it costs nothing where nobody does."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Where the work is.

    Args:
        words: What is being done.
        number: Which of several, from 1 on; 0 where there are none to count.
        total: How many there are.
        seconds_left: An estimate, until these are done; None where nobody knows.
    """

    words: str
    number: int = 0
    total: int = 0
    seconds_left: float | None = None


Listener: TypeAlias = Callable[[Stage], None]

_listeners: list[Listener] = []


def tell(words: str, *, number: int = 0, total: int = 0, seconds_left: float | None = None) -> None:
    """Say where the work is."""
    for listener in _listeners:
        listener(Stage(words=words, number=number, total=total, seconds_left=seconds_left))


@contextmanager
def heard(listener: Listener) -> Iterator[None]:
    """Let somebody hear of all work of this process within the block."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)
