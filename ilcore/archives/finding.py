"""Walk to what a pattern means: every real file once, links last, and told what could not be looked into.

    /scans/**/[a-z]*.tif      root: the folders before the first wildcard; it must be there, and hold something

The words are those of `glob` with `recursive=True`: `*`, `?`, `[...]` within a name, `**` for any number of folders;
names that begin with a dot are hidden from them. Unlike there, a folder is walked once however many links lead to it.
"""

import errno
import os
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from glob import has_magic

from fsspec.core import url_to_fs

from ilcore.archives.stamping import Identity, folder_identity, identity_of
from ilcore.stores.addresses import is_remote
from ilcore.stores.places import answered, storage_options

#: Folders that are one volume, and those of our own runs, by how their names end: nothing inside them is a scan.
_CLOSED = (".zarr", ".il")


@dataclass
class Found:
    """What a pattern led to.

    Args:
        places: Paths or URLs, in order.
        trouble: A sentence for each folder that could not be looked into.
    """

    places: list[str] = field(default_factory=list)
    trouble: list[str] = field(default_factory=list)


def find(pattern: str) -> Found:
    """Return the files and folders that a pattern means, on this machine or in a store."""
    return _find_in_store(pattern) if is_remote(pattern) else _Walk(pattern).found()


def _find_in_store(pattern: str) -> Found:
    files, path = url_to_fs(pattern, **storage_options(pattern))
    with answered():
        found = Found([files.unstrip_protocol(place) for place in sorted(files.glob(path))])
        if not found.places and not files.exists(root := _split(path)[0]):
            found.trouble.append(f"{files.unstrip_protocol(root)} holds nothing that can be listed; check the address")
    return found


def _split(pattern: str) -> tuple[str, tuple[str, ...]]:
    """Return the folders before the first wildcard, and the words after them."""
    parts = pattern.split("/")
    first = next((n for n, part in enumerate(parts) if has_magic(part)), len(parts))
    return "/".join(parts[:first]) or "/", tuple(part for part in parts[first:] if part)


@dataclass(frozen=True)
class _Step:
    """A folder to be looked into for the words from a number on, and whether a link led there."""

    folder: str
    word: int
    is_linked: bool


class _Walk:
    def __init__(self, pattern: str) -> None:
        self._root, words = _split(os.path.normpath(pattern))
        # At the end of a pattern any number of folders means whatever lies in them.
        self._words = (*words, "*") if words and words[-1] == "**" else words
        self._been: set[tuple[Identity, int]] = set()
        self._links: list[_Step] = []
        self._places: list[tuple[bool, str]] = []
        self._trouble: dict[str, None] = {}

    def found(self) -> Found:
        """Walk, and return what was found."""
        if not self._words:
            return Found([self._root])
        if self._is_usable():
            waiting = [_Step(self._root, 0, is_linked=False)]
            # Real folders first: what a link leads to as well is found under its own name.
            while waiting or self._links:
                waiting += self._after(waiting.pop() if waiting else self._links.pop(0))
        return Found(self._each_once(), list(self._trouble))

    def _is_usable(self) -> bool:
        """Tell whether the root is there and holds something: an empty folder is what unmounting leaves."""
        told = len(self._trouble)
        is_empty = not self._entries(self._root, is_root=True)
        if is_empty and len(self._trouble) == told:
            self._trouble[f"{self._root} is empty; if a disk belongs there, mount it"] = None
        return not is_empty

    def _entries(self, folder: str, *, is_root: bool = False) -> "list[os.DirEntry[str]]":
        """Return what lies in a folder; one that cannot be read is told, and one that has just gone is not."""
        try:
            with os.scandir(folder) as found:
                return list(found)
        except OSError as error:
            if is_root or error.errno != errno.ENOENT:
                self._trouble[_why_not(folder, error)] = None
            return []

    def _after(self, step: _Step) -> list[_Step]:
        """Look into one folder, note what is meant there, and return the folders to go on with."""
        if not self._is_first_time(step):
            return []
        word, is_last = self._words[step.word], step.word == len(self._words) - 1
        if word != "**" and not has_magic(word):
            return self._named(step, word, is_last=is_last)
        here = [_Step(step.folder, step.word + 1, step.is_linked)] if word == "**" else []
        for entry in self._entries(step.folder):
            if not _is_meant(entry.name, word):
                continue
            if is_last:
                self._places.append((step.is_linked or entry.is_symlink(), entry.path))
            elif _is_open_folder(entry):
                self._go(here, step, entry.path, step.word + (word != "**"), is_link=entry.is_symlink())
        return here

    def _is_first_time(self, step: _Step) -> bool:
        try:
            where = (folder_identity(step.folder), step.word)
        except OSError as error:
            self._trouble[_why_not(step.folder, error)] = None
            return False
        is_first = where not in self._been
        self._been.add(where)
        return is_first

    def _named(self, step: _Step, name: str, *, is_last: bool) -> list[_Step]:
        """Go on to a name without wildcards, which is there or is not."""
        path, here = os.path.join(step.folder, name), list[_Step]()
        if is_last and os.path.lexists(path):
            self._places.append((step.is_linked or os.path.islink(path), path))
        elif not is_last and os.path.isdir(path):
            self._go(here, step, path, step.word + 1, is_link=os.path.islink(path))
        return here

    def _go(self, here: list[_Step], step: _Step, path: str, word: int, *, is_link: bool) -> None:
        (self._links if is_link or step.is_linked else here).append(_Step(path, word, is_link or step.is_linked))

    def _each_once(self) -> list[str]:
        """Return the places, each real file under the name that no link is part of, else under the first."""
        kept: dict[Identity, str] = {}
        for _, path in sorted(self._places):
            try:
                kept.setdefault(identity_of(path), path)
            except OSError:
                # A link that leads nowhere; whoever opens it says so.
                kept[(path,)] = path
        return sorted(kept.values())


def _why_not(folder: str, error: OSError) -> str:
    cause = error.strerror or str(error)
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return f"{folder} is not there ({cause}); mount its disk, or correct `find`"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"{folder} cannot be read ({cause}); give this user the right to, or leave it out of `find`"
    return f"{folder} cannot be read ({cause}); look after its disk or mount"


def _is_meant(name: str, word: str) -> bool:
    if name.startswith(".") and not word.startswith("."):
        return False
    return word == "**" or fnmatchcase(name, word)


def _is_open_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return not entry.name.endswith(_CLOSED) and entry.is_dir()
    except OSError:
        # A link that leads in a circle by itself.
        return False
