"""A lock for any place where a run may work: the system's on a disk, an object with a heartbeat in a store."""

from typing import ClassVar, Protocol

from ilcore.stores.disk_lock import DiskLock
from ilcore.stores.places import store_of
from ilcore.stores.store import Place
from ilcore.stores.store_lock import StoreLock


class Lock(Protocol):
    """One attempt to hold a place, against all other processes.

    Attributes:
        outlives_us: Whether it stays taken when its holder ends without a word.
    """

    outlives_us: ClassVar[bool]

    def take(self) -> None:
        """Take the lock.

        Raises:
            Busy: Another holds it.
            DestinationError: It cannot be made there.
            StoreError: The store does not answer.
        """
        ...

    def check(self, *, is_sure: bool = False) -> None:
        """Stop here if another took it over; on a disk nobody can.

        Args:
            is_sure: Ask the store in any case, before something that cannot be taken back.

        Raises:
            Busy: Another run has taken over.
        """
        ...

    def release(self, *, is_last: bool = False) -> None:
        """Give it back.

        Args:
            is_last: Remove it too, for nothing else is there.
        """
        ...


def lock_of(place: Place, what: str) -> Lock:
    """Return a lock at a place.

    Args:
        place: Of the file or the object.
        what: What is locked, for messages.
    """
    return DiskLock(place, what) if store_of(place).renames else StoreLock(place, what)
