"""A lock on a disk: a file that the system lets go of however its holder ends."""

import fcntl
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from ilcore.grammar.errors import Busy, DestinationError
from ilcore.stores.store import Place


@dataclass
class DiskLock:
    """One attempt to hold a folder by a file in it.

    Args:
        place: The file; its folder is made.
        what: What is locked, for messages.
    """

    place: Place
    what: str
    _handle: int | None = None
    outlives_us: ClassVar[bool] = False

    def take(self) -> None:
        """Take the lock.

        Raises:
            Busy: Another holds it.
            DestinationError: The folder cannot be made.
        """
        handle = self._open()
        while not self._taken(handle):
            handle = self._open()
        self._handle = handle

    def check(self, *, is_sure: bool = False) -> None:
        """Nobody takes over on a disk."""

    def release(self, *, is_last: bool = False) -> None:
        """Give the lock back, for good or not.

        Args:
            is_last: Remove the file, and the folder if nothing else is in it.
        """
        if self._handle is None:
            return
        # While it is still held: whoever takes a lock file that was removed notices, and makes another.
        if is_last:
            with suppress(OSError):
                self.place.unlink()
                self.place.parent.rmdir()
        os.close(self._handle)
        self._handle = None

    def _open(self) -> int:
        folder = self.place.parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
            return os.open(str(self.place), os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise DestinationError(
                f"a folder to work in was wanted at {folder}; got {error}; choose another target"
            ) from error

    def _taken(self, handle: int) -> bool:
        """Lock the file; tell whether it is still the one that others will find."""
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(handle, 32, 0).decode().strip() or "unknown"
            os.close(handle)
            raise Busy(
                f"one run at a time may work on {self.what}, got another (process {holder}); wait for it, or stop it"
            ) from error
        if not _is_at(handle, Path(str(self.place))):
            os.close(handle)
            return False
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        return True


def _is_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False
