"""What a format is: one file with an object of this signature, and one line in `openers.FORMATS`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from ilcore.grammar.errors import BadVolume
from ilcore.stores.addresses import check_there, is_remote
from ilcore.stores.leads import check_regular
from ilcore.volumes.marks import Mark
from ilcore.volumes.volume import Source, SourceInfo

#: What an opener returns: the voxels, and all that the place says of them.
Opened: TypeAlias = tuple[Source, SourceInfo]
#: So many bytes of a file are looked at to know its format.
FIRST_BYTES = 12
#: So many names a message gives of those there are.
NAMED = 6


@dataclass(frozen=True)
class OpenOptions:
    """What of a place is wanted.

    Args:
        axes: Names of the axes in the order of the source; None where the source says.
        level: Level of the pyramid, 0 the finest.
        image: Which image, where the place holds several.
        missing: The value that means "no data here". No format need heed it: it is set afterwards, for all alike.
        storage: Options of a remote store (fsspec).
    """

    axes: str | None = None
    level: int = 0
    image: str | None = None
    missing: Mark | None = None
    storage: Mapping[str, Any] | None = field(default=None, compare=False)


@dataclass(frozen=True)
class FirstLook:
    """What can be told of a place before any library is asked.

    Args:
        address: Absolute path, or URL.
        is_file: Whether it is a file on this machine; else it is a folder, or lies in a store.
        mark: The first bytes of a file.
    """

    address: str
    is_file: bool
    mark: bytes = b""

    @classmethod
    def at(cls, address: str) -> "FirstLook":
        """Look at a place.

        Raises:
            BadVolume: There is nothing, or neither a file nor a folder.
        """
        if is_remote(address) or Path(address).is_dir():
            return cls(address, is_file=False)
        check_there(address)
        check_regular(address)
        with Path(address).open("rb") as file:
            return cls(address, is_file=True, mark=file.read(FIRST_BYTES))

    @cached_property
    def suffix(self) -> str:
        """The end of its name in small letters, such as ".tif"; empty in a store."""
        return "" if is_remote(self.address) else Path(self.address).suffix.lower()


class Format(Protocol):
    """A way in which volumes are stored. Its module is imported when the first volume is opened, its library later."""

    name: str

    def recognises(self, look: FirstLook) -> bool:
        """Tell whether a place is in this format, by its first bytes, its name or what lies in it."""
        ...

    def open(self, address: str, options: OpenOptions) -> Opened:
        """Open one image: metadata are read now, voxels when a region is asked for.

        Raises:
            BadVolume: It is damaged, or not what is wanted of it; one sentence says why and what to do.
        """
        ...

    def images(self, address: str, options: OpenOptions) -> tuple[str, ...]:
        """Return the names of the images at a place; none where it is one image itself."""
        ...


def check_single(address: str, options: OpenOptions) -> None:
    """Refuse a level or an image of what has only itself.

    Raises:
        BadVolume: One is wanted.
    """
    if options.level:
        raise BadVolume(f"level {options.level} was wanted of {address}, which is a single array; leave level at 0")
    if options.image is not None:
        raise BadVolume(f"image {options.image!r} was wanted of {address}, which is a single array; leave image out")


def chosen_image(address: str, names: Sequence[str], image: str | None) -> str:
    """Return the name of the image that is wanted, or of the only one.

    Raises:
        BadVolume: There are several to choose from, or none of that name.
    """
    few = ", ".join(names[:NAMED])
    if image is None and len(names) != 1:
        raise BadVolume(
            f"one image was wanted, {address} holds {len(names)}: {few}; choose one with image= (--image), "
            f"for example {next(iter(names), 0)}"
        )
    if image is not None and image not in names:
        raise BadVolume(f"an image of {address} was wanted, got {image!r}; it has {few}")
    return names[0] if image is None else image
