"""May the result be written there? Asked before the first tile, and again before the last rename."""

import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ilcore.grammar.errors import BadInput, DestinationError
from ilcore.volumes.open import is_remote
from ilcore.volumes.volume import Volume

#: A folder with one of these is something that Zarr wrote, and may be replaced when asked.
ZARR_MARKS = ("zarr.json", ".zgroup", ".zarray")
#: All levels of a pyramid together, as a share of the finest.
PYRAMID_SHARE = 4 / 3
#: Scratch holds 32-bit numbers of every tile with its overlap.
SCRATCH_BYTES, SCRATCH_SHARE = 4, 1.5


def check_destination(
    destination: str | os.PathLike[str],
    source: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    needed_bytes: int = 0,
) -> Path:
    """Check that a result may and can be written, before any work is done.

    Args:
        destination: Folder of the result.
        source: Where the volume is read from.
        overwrite: Whether an earlier result may be replaced. Only Zarr folders ever are.
        needed_bytes: Free space that must be there, see `estimated_bytes`.

    Returns:
        The destination as an absolute path.

    Raises:
        BadInput: The destination is a URL, lies in the source or the other way round, or is there already.
        DestinationError: The place is read-only, no folder, or too full.
    """
    if is_remote(destination):
        raise BadInput(f"a local folder was wanted for the result, got {os.fspath(destination)}; publish, then copy it")
    place = Path(os.path.abspath(os.fspath(destination).removeprefix("file://")))
    complaints = [*_apart(place, source), *_replaceable(place, overwrite)]
    if complaints:
        raise BadInput("; ".join(complaints))
    _check_writable(place)
    _check_space(place, needed_bytes)
    return place


def estimated_bytes(volume: Volume) -> int:
    """Return the disk space that a restoration needs at most: scratch tiles, result and pyramid, uncompressed."""
    count = math.prod(volume.shape)
    return int(count * (volume.dtype.itemsize * PYRAMID_SHARE + SCRATCH_BYTES * SCRATCH_SHARE))


def attributes_of(place: Path) -> Mapping[str, Any]:
    """Return the attributes of a group that Zarr v3 or v2 wrote; none where there is no group, or a damaged one."""
    for name, inner in (("zarr.json", "attributes"), (".zattrs", None)):
        try:
            said = json.loads((place / name).read_text())
            return dict(said if inner is None else said[inner])
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return {}


def is_result(place: Path) -> bool:
    """Tell whether a folder is one that Zarr wrote."""
    return place.is_dir() and any((place / mark).is_file() for mark in ZARR_MARKS)


def _apart(place: Path, source: str | os.PathLike[str] | None) -> Iterator[str]:
    if source is None or is_remote(source):
        return
    own, other = place.resolve(), Path(os.fspath(source).removeprefix("file://")).resolve()
    if own == other or own in other.parents or other in own.parents:
        yield (
            f"a destination apart from the source was wanted, got {place} for {os.fspath(source)}: one lies inside "
            "the other and the source would be damaged; choose another destination"
        )


def _replaceable(place: Path, overwrite: bool) -> Iterator[str]:
    if not os.path.lexists(place) or (place.is_dir() and not any(place.iterdir())):
        return
    if not overwrite:
        yield f"a new destination was wanted, {place} is there already; choose another, or ask to overwrite it"
    elif not is_result(place):
        yield f"an earlier result to overwrite was wanted, {place} is no Zarr folder; move it away yourself"


def _check_writable(place: Path) -> None:
    parent = _nearest(place.parent)
    try:
        with tempfile.TemporaryDirectory(dir=parent, prefix=".il-probe-"):
            return
    except OSError as error:
        raise DestinationError(
            f"a folder to write to was wanted for {place}; {parent} cannot be written to ({error.strerror}); "
            "choose another destination or ask for write permission"
        ) from error


def _check_space(place: Path, needed_bytes: int) -> None:
    free = shutil.disk_usage(_nearest(place.parent)).free
    if free < needed_bytes:
        raise DestinationError(
            f"{needed_bytes / 2**30:.2f} GiB of free space were wanted for {place}, got {free / 2**30:.2f} GiB; "
            "free some space or choose another disk"
        )


def _nearest(folder: Path) -> Path:
    """Return the first folder upwards that exists; the rest is made when it is needed."""
    while not os.path.lexists(folder) and folder != folder.parent:
        folder = folder.parent
    return folder
