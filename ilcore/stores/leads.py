"""Where a file may lead: links, paths and names in metadata are held to the folder of the volume, or to given roots.

A volume is opened inside `held_to`; whatever it names, links to or has beside it is asked about with `check_led`.
"""

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from ilcore.grammar.errors import BadVolume
from ilcore.grammar.plain_text import has_controls
from ilcore.stores.addresses import is_remote

_HELD: ContextVar[tuple[str, ...]] = ContextVar("held", default=())


@contextmanager
def held_to(place: str, roots: Sequence[str] = ()) -> Iterator[None]:
    """Hold whatever is opened meanwhile to the folder of a volume, or to roots where there are some."""
    token = _HELD.set(tuple(roots) or _own(place))
    try:
        yield
    finally:
        _HELD.reset(token)


def allowed() -> tuple[str, ...]:
    """Return the folders that a volume is held to right now; none where nothing holds it."""
    return _HELD.get()


def check_led(path: str, by: str, within: Sequence[str] | None = None) -> None:
    """Refuse a local path that a volume leads to, and that does not lie where it may; links are followed first.

    Args:
        path: The path.
        by: What leads there, for the message.
        within: Folders; without them those of `held_to`.

    Raises:
        BadVolume: Naming both.
    """
    folders = allowed() if within is None else within
    if folders and not any(is_within(path, folder) for folder in folders):
        raise BadVolume(
            f"a volume within {', '.join(folders)} was wanted, {by} leads out of it, to {os.path.realpath(path)}; "
            "put what belongs together into one folder, or name its place under roots in the archive"
        )


def check_regular(path: str) -> None:
    """Refuse what is there but is neither a file nor a folder: a pipe or a device would be waited for without end.

    Raises:
        BadVolume: It is.
    """
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise BadVolume(f"a file or a folder was wanted, {path} is a pipe, a socket or a device; copy it into a file")


def check_name(name: str, by: str) -> None:
    """Refuse a name out of metadata that is no place below what names it.

    Raises:
        BadVolume: It climbs, is absolute, is a URL, or holds control characters.
    """
    climbs = ".." in name.replace("\\", "/").split("/") or name.startswith(("/", "\\"))
    if climbs or "://" in name or "::" in name or has_controls(name):
        raise BadVolume(
            f"a name below the volume was wanted in the metadata of {by}, got {name!r}, which leads elsewhere; "
            "repair the metadata"
        )


def is_within(place: str, root: str) -> bool:
    """Tell whether a place lies in a root; where links lead to counts, not where they lie."""
    if is_remote(place) or is_remote(root):
        return is_remote(place) and is_remote(root) and _starts(_parts(place), _parts(root))
    return _starts(Path(os.path.realpath(place)).parts, Path(os.path.realpath(root)).parts)


def _own(place: str) -> tuple[str, ...]:
    """Return the folder itself, or those of a file: where it is named, and where it lies."""
    if is_remote(place):
        return ()
    real = os.path.realpath(place)
    if os.path.isdir(real):
        return (real,)
    return tuple(dict.fromkeys((os.path.realpath(os.path.dirname(place)), os.path.dirname(real))))


def _parts(url: str) -> tuple[str, ...]:
    address = urlsplit(url)
    path = os.path.normpath(unquote(address.path) or "/")
    return (address.scheme, address.netloc, *PurePosixPath(path).parts)


def _starts(parts: Sequence[str], first: Sequence[str]) -> bool:
    return tuple(parts[: len(first)]) == tuple(first)
