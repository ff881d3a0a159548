"""Publishing: a finished result takes its place in one step, and the previous one leaves only after that.

In an object store, where nothing can be renamed, see `generations`. On a disk three places and one note are involved:

    destination              where readers look
    staging                  the new result, complete
    NAME.previous            the old result on its way out         (beside staging)
    NAME.publish.json        what is going on                       (beside staging)

The steps, of which each is one system call or repeats safely:

    1  note "moving", with the identity of the new and the old result
    2  swap staging and destination          (one system call; where the system has none: old aside, new in)
    3  staging, now the old result, becomes NAME.previous
    4  note "done"
    5  delete NAME.previous

Killed between any two, the destination holds the old or the new result, whole, and publishing again finishes the rest:
which of the two lies where is told by the inode and time of its root metadata, which a rename does not change. Only
where the system cannot swap is there a moment, between two renames, when the destination is absent and both results are
whole beside it.
"""

import ctypes
import errno
import json
import os
import shutil
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, TypeAlias, cast

from upath import UPath

from ilcore.formats.open import open_volume
from ilcore.grammar.errors import BadInput, BadVolume, DestinationError
from ilcore.results.destination import ZARR_MARKS, check_destination, estimated_bytes
from ilcore.results.generations import finish_generation, publish_generation
from ilcore.stores.addresses import is_remote
from ilcore.stores.places import place_of

__all__ = ["check_destination", "estimated_bytes", "finish_publishing", "publish"]

Somewhere: TypeAlias = str | os.PathLike[str] | UPath
AT_FDCWD, RENAME_EXCHANGE = -100, 2
CANNOT_SWAP = {errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EXDEV, errno.EPERM}


@dataclass(frozen=True)
class _Note:
    """What was being done, written down before it is done."""

    state: Literal["moving", "done"]
    new: str | None
    old: str | None


@dataclass(frozen=True)
class _Places:
    staging: Path
    destination: Path

    @property
    def previous(self) -> Path:
        return self.staging.parent / f"{self.destination.name}.previous"

    @property
    def note(self) -> Path:
        return self.staging.parent / f"{self.destination.name}.publish.json"


def publish(staging: Somewhere, destination: Somewhere, overwrite: bool = False) -> None:
    """Put a finished result in its place; the previous one stays readable until then.

    Call it again after an interruption, with the same arguments: it finishes what was begun.

    Args:
        staging: The new result, complete with its root metadata, on the disk of the destination.
        destination: Where it shall be.
        overwrite: Whether an earlier result may be replaced.

    Raises:
        BadInput: Something is there already and must not be replaced.
        DestinationError: There is nothing complete to publish, or the disk refuses.
        StoreError: The store does not answer.
    """
    if is_remote(destination):
        publish_generation(_in_store(staging), _in_store(destination), overwrite)
        return
    places = _places(staging, destination)
    try:
        if finish_publishing(places.staging, places.destination):
            return
        _check(places, overwrite)
        places.destination.parent.mkdir(parents=True, exist_ok=True)
        _write(places.note, _Note("moving", _identity(places.staging), _identity(places.destination)))
        finish_publishing(places.staging, places.destination)
    except OSError as error:
        raise DestinationError(
            f"{places.staging} was wanted at {places.destination}; the disk refused ({error}); both are whole: "
            "repair the cause and publish again"
        ) from error


def finish_publishing(staging: Somewhere, destination: Somewhere) -> bool:
    """Finish a publication that was interrupted, if there is one.

    Call this before building a new result in `staging`: after an interruption the old one may lie there.

    Returns:
        Whether the destination now holds what an earlier call began to publish, and staging is gone.

    Raises:
        DestinationError: The folders were moved by others, so that new and old cannot be told apart.
    """
    if is_remote(destination):
        return finish_generation(_in_store(staging), _in_store(destination))
    places = _places(staging, destination)
    note = _read(places.note)
    if note is None or not places.destination.parent.is_dir():
        return False
    if note.state == "moving":
        if not _move(places, note):
            return False
        _write(places.note, _Note("done", note.new, note.old))
    published = _identity(places.destination) == note.new
    if published:
        _remove(places.previous)
    return published and not places.staging.exists()


def _in_store(place: Somewhere) -> UPath:
    return cast(UPath, place_of(place))


def _places(staging: Somewhere, destination: Somewhere) -> _Places:
    """Follow links, so that it is folders that are renamed."""
    return _Places(Path(os.path.abspath(str(staging))), Path(os.path.realpath(str(destination))))


def _move(places: _Places, note: _Note) -> bool:
    """Bring the new result to the destination and the old one aside, from wherever they are; tell whether it was so."""
    if _identity(places.destination) != note.new:
        if _identity(places.staging) != note.new:
            return _give_up(places, note)
        _bring_in(places)
    if note.old is not None and _identity(places.staging) == note.old:
        _remove(places.previous)
        _rename(places.staging, places.previous)
    return True


def _give_up(places: _Places, note: _Note) -> bool:
    """Forget a publication whose new result was deleted by somebody; the old one goes back to its place."""
    if note.old is not None and not places.destination.exists() and _identity(places.previous) == note.old:
        _rename(places.previous, places.destination)
    if _identity(places.destination) != note.old:
        raise DestinationError(
            f"the result begun to be published was wanted at {places.staging} or {places.destination}; both are "
            f"something else; look at them and at {places.previous}, then delete {places.note}"
        )
    places.note.unlink()
    return False


def _bring_in(places: _Places) -> None:
    if not places.destination.exists() or not any(places.destination.iterdir()):
        _rename(places.staging, places.destination)
    elif not _swap(places.staging, places.destination):
        _remove(places.previous)
        _rename(places.destination, places.previous)
        _rename(places.staging, places.destination)


def _check(places: _Places, overwrite: bool) -> None:
    if not places.staging.exists():
        raise DestinationError(f"a finished result was wanted at {places.staging}; there is nothing; restore it first")
    check_destination(places.destination, None, overwrite)
    try:
        volume = open_volume(places.staging)
        for level in range(1, volume.levels):
            open_volume(places.staging, level=level)
    except BadVolume as error:
        raise DestinationError(f"a complete result was wanted at {places.staging}; {error}") from error
    if not volume.format.startswith("ome-zarr"):
        raise DestinationError(
            f"a complete OME-Zarr was wanted at {places.staging}, got {volume.format}; write its root metadata first"
        )
    if places.staging.stat().st_dev != _nearest_device(places.destination.parent):
        raise BadInput(f"one disk was wanted for {places.staging} and {places.destination}, got two; stage beside it")


def _nearest_device(folder: Path) -> int:
    while not folder.exists():
        folder = folder.parent
    return folder.stat().st_dev


def _swap(one: Path, other: Path) -> bool:
    """Exchange two folders in one system call; tell whether the system could."""
    if not sys.platform.startswith("linux"):
        return False
    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if call is None:
        return False
    if call(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE) == 0:
        _settle(one, other)
        return True
    if (code := ctypes.get_errno()) in CANNOT_SWAP:
        return False
    raise OSError(code, os.strerror(code), str(other))


def _rename(one: Path, other: Path) -> None:
    one.rename(other)
    _settle(one, other)


def _remove(folder: Path) -> None:
    # What is left of a deletion that was interrupted is deleted here too.
    if folder.exists():
        shutil.rmtree(folder)


def _settle(*paths: Path) -> None:
    """Make renames outlive a power cut."""
    for folder in {path.parent for path in paths}:
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _identity(folder: Path) -> str | None:
    """Return what tells one result from another wherever it is moved: inode and time of its root metadata.

    The inode of the folder alone is not enough: a folder that is made after another was deleted may get the same one.
    """
    for mark in ZARR_MARKS:
        if (folder / mark).is_file():
            status = (folder / mark).stat()
            return f"{status.st_ino}-{status.st_mtime_ns}"
    return None


def _write(path: Path, note: _Note) -> None:
    half = path.with_suffix(".half")
    with half.open("w") as file:
        json.dump(asdict(note), file)
        file.flush()
        os.fsync(file.fileno())
    half.replace(path)
    _settle(path)


def _read(path: Path) -> _Note | None:
    try:
        return _Note(**json.loads(path.read_text()))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise DestinationError(f"a publishing note was wanted at {path}; it is damaged ({error}); delete it") from error
