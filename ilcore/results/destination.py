"""May the result be written there? Asked before the first tile, and again before the last rename."""

import json
import math
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from upath import UPath

from ilcore.grammar.errors import BadInput, DestinationError
from ilcore.stores.addresses import is_remote, normalised
from ilcore.stores.places import S3, Place, answered, entries, place_of, remove, write_text
from ilcore.volumes.volume import Volume

#: A folder with one of these is something that Zarr wrote, and may be replaced when asked.
ZARR_MARKS = ("zarr.json", ".zgroup", ".zarray")
#: Stores that can be written to; they must refuse to write on a condition, or two runs could not be kept apart.
WRITABLE = S3
#: How generations of a result in a store are called: after the fingerprint of their plan.
GENERATION = re.compile(r"[0-9a-f]{8}(-\d+)?")
#: All levels of a pyramid together, as a share of the finest.
PYRAMID_SHARE = 4 / 3
#: Scratch holds 32-bit numbers of every tile with its overlap.
SCRATCH_BYTES, SCRATCH_SHARE = 4, 1.5


def check_destination(
    destination: str | os.PathLike[str] | UPath,
    source: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    needed_bytes: int = 0,
) -> Place:
    """Check that a result may and can be written, before any work is done.

    Args:
        destination: Folder of the result.
        source: Where the volume is read from.
        overwrite: Whether an earlier result may be replaced. Only Zarr folders ever are.
        needed_bytes: Free space that must be there, see `estimated_bytes`.

    Returns:
        The destination as an absolute path, or a place in a store.

    Raises:
        BadInput: The destination is a URL that cannot be written to, lies in the source or the other way round, or is
            there already.
        DestinationError: The place is read-only, no folder, or too full.
        StoreError: The store does not answer, or refuses us.
    """
    place = place_of_result(destination)
    if not isinstance(place, Path):
        _check_store(place, source, overwrite)
        return place
    complaints = [*_apart(place, source), *_replaceable(place, overwrite)]
    if complaints:
        raise BadInput("; ".join(complaints))
    _check_writable(place)
    _check_space(place, needed_bytes)
    return place


def place_of_result(destination: str | os.PathLike[str] | UPath) -> Place:
    """Return where a result shall be.

    Raises:
        BadInput: It is a URL that we cannot write to, or that carries credentials.
    """
    place = place_of(destination)
    if isinstance(place, Path):
        return place
    if place.protocol not in WRITABLE or not place.path.strip("/").partition("/")[2]:
        raise BadInput(
            f"a local folder or s3://bucket/name.ome.zarr was wanted for the result, got {place}; other stores are "
            "only read from: publish here, then copy it"
        )
    return place


def _check_store(place: UPath, source: str | os.PathLike[str] | None, overwrite: bool) -> None:
    with answered():
        complaints = [*_apart_in_store(place, source), *_replaceable_in_store(place, overwrite)]
        if complaints:
            raise BadInput("; ".join(complaints))
        probe = place.with_name(f"{place.name}.il") / "probe"
        try:
            write_text(probe, "")
            remove(probe)
        except FileNotFoundError as error:
            raise DestinationError(
                f"a bucket to write to was wanted for {place}; got {error}; make it, or choose another destination"
            ) from error


def _apart_in_store(place: UPath, source: str | os.PathLike[str] | None) -> Iterator[str]:
    own, other = f"{place}/", f"{'' if source is None else normalised(source)}/"
    if own.startswith(other) or other.startswith(own):
        yield (
            f"a destination apart from the source was wanted, got {place} for {source}: one lies inside the other and "
            "the source would be damaged; choose another destination"
        )


def _replaceable_in_store(place: UPath, overwrite: bool) -> Iterator[str]:
    # Generations that no root leads to are ours, in the making.
    found = {entry.name for entry in entries(place)}
    if found & set(ZARR_MARKS):
        if not overwrite:
            yield f"a new destination was wanted, {place} is there already; choose another, or ask to overwrite it"
    elif place.is_file() or any(not GENERATION.fullmatch(name) for name in found):
        yield f"an earlier result to overwrite was wanted, {place} is no Zarr folder; move it away yourself"


def estimated_bytes(volume: Volume) -> int:
    """Return the disk space that a restoration needs at most: scratch tiles, result and pyramid, uncompressed."""
    count = math.prod(volume.shape)
    return int(count * (volume.dtype.itemsize * PYRAMID_SHARE + SCRATCH_BYTES * SCRATCH_SHARE))


def attributes_of(place: Place) -> Mapping[str, Any]:
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
