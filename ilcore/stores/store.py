"""What a place lies in: a disk, or an object store. Whatever the two do differently is asked of the store."""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol, TypeAlias

from upath import UPath

Place: TypeAlias = Path | UPath


class Store(Protocol):
    """The same words for folders of this machine and for prefixes of object stores.

    Attributes:
        renames: Whether a folder can take another name in one step. Where it cannot, a result is a folder of its own
            that one object leads to.
        is_waited_for: Whether most of what an answer takes is waiting, so that several are asked for at once.
    """

    renames: bool
    is_waited_for: bool

    def takes_results(self, place: Place) -> bool:
        """Tell whether a result may be written there: others see it, and two runs can be kept apart."""
        ...

    def read_bytes(self, place: Place) -> bytes:
        """Return the content of a file or an object as it was at one moment.

        Raises:
            FileNotFoundError: There is none.
        """
        ...

    def write_bytes(self, place: Place, content: bytes) -> None:
        """Write a file or an object in one step: readers see the old content or the new one."""
        ...

    def make_folder(self, place: Place) -> None:
        """Make a folder where there are folders; in an object store names alone make them."""
        ...

    def remove(self, place: Place) -> None:
        """Remove a file, an object, or everything below a name; nothing where there is nothing."""
        ...

    def discard(self, place: Place) -> None:
        """Remove what nobody needs any more; what a disk does not let go of now stays."""
        ...

    def remove_halves(self, place: Place) -> None:
        """Remove what killed writers had not given its name yet, anywhere below a place."""
        ...

    def is_there(self, place: Place) -> bool:
        """Tell whether a file or folder is there, or an object below a name."""
        ...

    def size(self, place: Place) -> int:
        """Return the bytes of a file, or of all files below a name."""
        ...

    def stamp(self, place: Place) -> object:
        """Return what changes when a file does; None where the store does not tell that cheaply."""
        ...

    def half_made(self, place: Place) -> Place:
        """Return where something is made that shall get its name when it is whole; the place itself without renames."""
        ...

    def give_name(self, half: Place, place: Place) -> None:
        """Give what is whole its name; nothing is left to do where it has it already."""
        ...

    def at_hand(self, place: Place) -> AbstractContextManager[Path]:
        """Lend a local file with the content of a place.

        Raises:
            FileNotFoundError: There is none.
        """
        ...

    def put_by(self, place: Place) -> AbstractContextManager[Path]:
        """Lend a local file whose content is put into a place in the end."""
        ...

    def check_writable(self, place: Place) -> None:
        """Write something beside a place and remove it again.

        Raises:
            DestinationError: The store refuses.
        """
        ...

    def free_bytes(self, place: Place) -> int | None:
        """Return the room that is left where a place shall be; None where nobody counts it."""
        ...


class Conditional(Protocol):
    """A store that writes on a condition: no two writers can both have found the same content."""

    def read_tagged(self, place: Place) -> tuple[bytes, str] | None:
        """Return the content of an object and its tag, of the same moment; None where there is none."""
        ...

    def write_if(self, place: Place, content: bytes, tag: str | None) -> str | None:
        """Write an object if it still has a tag, or with None if there is none; return its new tag, or None."""
        ...
