"""Writers that die, within one process: before a chosen one of their writes, and they write nothing after that."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest


class Killed(BaseException):
    """What a process that is killed does not notice."""


class WatchedFolder:
    """A folder in which something may happen before any file gets its name or is taken away."""

    def __init__(self) -> None:
        self.folder, self._left, self._event, self._is_dead = "", -1, self.die, False

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
