"""What dies within one process: a writer before a chosen one of its writes, an executor before one of its items."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import pytest

from ilcore.planning.plan import RestorationPlan
from ilcore.running.carry_out import carry_out
from ilcore.running.executor import Local


class Killed(BaseException):
    """What a process that is killed does not notice."""


class WatchedFolder:
    """A folder in which something may happen before any file gets its name or is taken away."""

    def __init__(self, folder: str = "") -> None:
        self.folder, self._left, self._event, self._is_dead = folder, -1, self.die, False

    def watch(self, patch: pytest.MonkeyPatch) -> None:
        """Look at what the operating system is asked, as long as the patch lasts."""
        for name in ("replace", "rename", "unlink"):
            patch.setattr(os, name, self._watched(getattr(os, name)))

    @contextmanager
    def before(self, moment: int | None, event: Callable[[], None] | None = None) -> Iterator[None]:
        """Let something happen before the n-th write from now on: the writer dies, unless told otherwise."""
        self._left, self._event = -1 if moment is None else moment, event or self.die
        try:
            with suppress(Killed):
                yield
        finally:
            self._left, self._is_dead = -1, False

    def die(self) -> None:
        """Let whoever writes now die."""
        self._is_dead = True
        raise Killed

    def _watched(self, function: Callable[..., None]) -> Callable[..., None]:
        def call(*places, **more):
            if self.folder and os.fspath(places[-1]).startswith(self.folder):
                self._step()
            function(*places, **more)

        return call

    def _step(self) -> None:
        if self._is_dead:
            raise Killed
        self._left -= 1
        if self._left == -1:
            self._event()


def killed(*_: Any) -> None:
    """Let whoever asks be interrupted here."""
    raise KeyboardInterrupt


@dataclass(frozen=True)
class WatchedExecutor(Local):
    """This process; it tells of each unit before it is restored, and before it moves one block or one unit's seams."""

    computes: Callable[[Any], Any] = bool
    moves: Callable[[Any], Any] = bool

    def compute(self, function, items):
        def told(item: Any, device: str) -> Any:
            if item is not None:
                self.computes(item)
            return function(item, device)

        return super().compute(told, items)

    def move(self, function, items):
        return super().move(lambda item: (self.moves(item), function(item))[1], items)


def carry_out_until(plan: RestorationPlan, *, overwrite: bool = False, **watched: Callable[[Any], Any]) -> None:
    """Carry out a plan with an executor that is interrupted."""
    with pytest.raises(KeyboardInterrupt):
        carry_out(plan, overwrite=overwrite, executor=WatchedExecutor(**watched))
