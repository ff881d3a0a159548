"""May the result be written there? Asked before the first tile, and again before the last rename."""

import json
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from upath import UPath

from ilcore.grammar.errors import BadInput, DestinationError
from ilcore.grammar.layers import Layer
from ilcore.stores.addresses import normalised
from ilcore.stores.leads import is_within
from ilcore.stores.places import answered, entries, place_of, read_text, store_of
from ilcore.stores.store import Place
from ilcore.volumes.volume import Volume

#: A folder with one of these is something that Zarr wrote, and may be replaced when asked.
ZARR_MARKS = ("zarr.json", ".zgroup", ".zarray")
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
    store = store_of(place)
    complaints = _complaints if store.renames else _complaints_of_generations
    with answered():
        if found := [*_apart(place, source), *complaints(place, overwrite)]:
            raise BadInput("; ".join(found))
        store.check_writable(place)
    _check_space(place, store.free_bytes(place), needed_bytes)
    return place


def place_of_result(destination: str | os.PathLike[str] | UPath) -> Place:
    """Return where a result shall be.

    Raises:
        BadInput: It is a URL that we cannot write to, or that carries credentials.
    """
    place = place_of(destination)
    if not store_of(place).takes_results(place):
        raise BadInput(
            f"a local folder or s3://bucket/name.ome.zarr was wanted for the result, got {place}; other stores are "
            "only read from: publish here, then copy it"
        )
    return place


def _complaints_of_generations(place: Place, overwrite: bool) -> Iterator[str]:
    # Generations that no root leads to are ours, in the making.
    found = {entry.name for entry in entries(place)}
    if found & set(ZARR_MARKS):
        if not overwrite:
            yield f"a new destination was wanted, {place} is there already; choose another, or ask to overwrite it"
    elif place.is_file() or any(not GENERATION.fullmatch(name) for name in found):
        yield f"an earlier result to overwrite was wanted, {place} is no Zarr folder; move it away yourself"


def estimated_bytes(volume: Volume, layers: Sequence[Layer] = ()) -> int:
    """Return the disk space that a restoration needs at most: scratch tiles, result and pyramid, uncompressed.

    Args:
        volume: What the result is.
        layers: What lies beside its image.
    """
    sizes = [volume.dtype.itemsize, *(np.dtype(layer.dtype).itemsize for layer in layers)]
    count = math.prod(volume.shape)
    return int(count * sum(itemsize * PYRAMID_SHARE + SCRATCH_BYTES * SCRATCH_SHARE for itemsize in sizes))


def attributes_of(place: Place) -> Mapping[str, Any]:
    """Return the attributes of a group that Zarr v3 or v2 wrote; none where there is no group, or a damaged one."""
    for name, inner in (("zarr.json", "attributes"), (".zattrs", None)):
        try:
            said = json.loads(read_text(place / name))
            return dict(said if inner is None else said[inner])
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return {}


def is_result(place: Place) -> bool:
    """Tell whether a folder is one that Zarr wrote."""
    return place.is_dir() and any((place / mark).is_file() for mark in ZARR_MARKS)


def _apart(place: Place, source: str | os.PathLike[str] | None) -> Iterator[str]:
    if source is None:
        return
    own, other = str(place), normalised(source)
    if is_within(own, other) or is_within(other, own):
        yield (
            f"a destination apart from the source was wanted, got {place} for {source}: one lies inside the other and "
            "the source would be damaged; choose another destination"
        )


def _complaints(place: Place, overwrite: bool) -> Iterator[str]:
    if not os.path.lexists(str(place)) or (place.is_dir() and not any(place.iterdir())):
        return
    if not overwrite:
        yield f"a new destination was wanted, {place} is there already; choose another, or ask to overwrite it"
    elif not is_result(place):
        yield f"an earlier result to overwrite was wanted, {place} is no Zarr folder; move it away yourself"


def _check_space(place: Place, free: int | None, needed_bytes: int) -> None:
    if free is not None and free < needed_bytes:
        raise DestinationError(
            f"{needed_bytes / 2**30:.2f} GiB of free space were wanted for {place}, got {free / 2**30:.2f} GiB; "
            "free some space or choose another disk"
        )
