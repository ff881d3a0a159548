"""What can be told of a scan without reading it: which real file it is, when it was written, whether it still is."""

import hashlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TypeAlias

from fsspec.core import url_to_fs

from ilcore.grammar.errors import BadVolume
from ilcore.stores.addresses import is_remote
from ilcore.stores.leads import check_regular
from ilcore.stores.places import answered, storage_options

Identity: TypeAlias = tuple[int | str, ...]

#: Clocks of other machines may be ahead by so many seconds without anybody being wrong.
AHEAD = 60.0
#: Seconds for which files are watched whose date is older than the last change that the system noted of them. Copying
#: sets the date when it is done, and whoever writes on gives a new one, but for some network disks: so the date counts
#: where the file stays as it is.
WATCHED = 2.0


@dataclass(frozen=True)
class Stamp:
    """How a scan stands on its disk.

    Args:
        mark: Changes when the scan does.
        changed: Newest date of its pieces, seconds since 1970; 0 where nobody knows.
        touched: When a piece was last put there, by its date or by when the system noted a change of it.
        size: In bytes.
    """

    mark: str
    changed: float
    touched: float
    size: int


@dataclass(frozen=True)
class _Piece:
    name: str
    mark: str
    changed: float
    touched: float
    size: int
    is_content: bool = True


def identity_of(path: str) -> Identity:
    """Return what is the same for all names of one file, and for no other file.

    Size and date stand in it because some network disks give the same number to several files.
    """
    at = os.stat(path)
    return (at.st_dev, at.st_ino, at.st_size, at.st_mtime_ns) if at.st_ino else (os.path.realpath(path),)


def folder_identity(path: str) -> Identity:
    """Return what is the same for all names of one folder, whatever is written into it meanwhile."""
    at = os.stat(path)
    return (at.st_dev, at.st_ino) if at.st_ino else (os.path.realpath(path),)


def stamp_of(source: str) -> Stamp:
    """Return how a scan stands; content is not read.

    Raises:
        BadVolume: It is neither a file nor a folder, or a part of it cannot be looked at.
        OSError: It is not there.
    """
    lines, changed, touched, size = [], 0.0, 0.0, 0
    for piece in _pieces(source):
        if piece.is_content:
            lines.append(f"{piece.name} {piece.mark} {piece.size}")
        changed, touched = max(changed, piece.changed), max(touched, piece.touched)
        size += piece.size
    mark = hashlib.sha256("\n".join(sorted(lines)).encode(errors="surrogateescape")).hexdigest()[:32]
    return Stamp(mark, changed, touched, size)


def is_still(source: str, size: int, touched: float) -> bool:
    """Tell whether a file is as its stamp says."""
    at = os.stat(source)
    return (at.st_size, at.st_ctime) == (size, touched)


def is_ahead(seconds: float) -> bool:
    """Tell whether a date lies in the future, by more than clocks differ."""
    return seconds > time.time() + AHEAD


def _pieces(source: str) -> Iterator[_Piece]:
    if is_remote(source):
        yield from _objects(source)
    elif os.path.isdir(source):
        yield from _files(source)
    else:
        check_regular(source)
        yield _piece("", os.stat(source))


def _piece(name: str, at: os.stat_result) -> _Piece:
    # A date ahead of its time says nothing of when the file was put there.
    touched = at.st_ctime if is_ahead(at.st_mtime) else max(at.st_mtime, at.st_ctime)
    return _Piece(name, str(at.st_mtime_ns), at.st_mtime, touched, at.st_size)


def _files(source: str) -> Iterator[_Piece]:
    """Go through the files of a folder, and through its folders: what comes, goes or is renamed touches those."""
    been, waiting = set[Identity](), [source]
    while waiting:
        folder = waiting.pop()
        if folder != source and not os.path.lexists(folder):
            yield _just_gone()
            continue
        if (where := folder_identity(folder)) in been:
            continue
        been.add(where)
        yield replace(_piece("", os.stat(folder)), changed=0.0, size=0, is_content=False)
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir():
                    waiting.append(entry.path)
                else:
                    yield _of_entry(entry, entry.path[len(source) + 1 :])


def _of_entry(entry: "os.DirEntry[str]", name: str) -> _Piece:
    try:
        return _piece(name, entry.stat())
    except FileNotFoundError as error:
        if not entry.is_symlink():
            return _just_gone()
        raise BadVolume(f"a whole volume was wanted, its {name} is a link that leads nowhere; mend the link") from error


def _just_gone() -> _Piece:
    """Return what is noted of a piece that went while it was looked at: somebody is at work there."""
    return _Piece("", "", 0.0, time.time(), 0, is_content=False)


def _objects(source: str) -> Iterator[_Piece]:
    files, path = url_to_fs(source, **storage_options(source))
    with answered():
        found = files.find(path, detail=True) or {path: files.info(path)}
    for name, about in found.items():
        mark = about.get("ETag") or about.get("LastModified") or about.get("mtime") or ""
        when = about.get("LastModified")
        changed = when.timestamp() if hasattr(when, "timestamp") else 0.0
        yield _Piece(name, str(mark), changed, changed, int(about.get("size") or 0))
