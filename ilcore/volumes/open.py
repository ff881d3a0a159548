"""One door for every format."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ilcore.grammar.errors import BadVolume
from ilcore.volumes.in_memory import ArraySource, array_facts, open_npy
from ilcore.volumes.stored_zarr import open_zarr
from ilcore.volumes.tiff import open_tiff
from ilcore.volumes.volume import Facts, Source, Volume, make_volume

TIFF_MARKS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
NPY_MARK = b"\x93NUMPY"


def open_volume(
    uri: str | os.PathLike[str],
    *,
    axes: str | None = None,
    level: int = 0,
    missing: float | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> Volume:
    """Open a volume; voxels are read later, region by region.

    Understood are OME-Zarr 0.4 and 0.5, plain Zarr v2 and v3 arrays (local or by URL, `s3://bucket/scan.zarr`),
    TIFF, ImageJ and OME-TIFF stacks, and .npy files. The content decides, not the name.

    Args:
        uri: Path or URL.
        axes: Names of the axes in the order of the source, for example "zyx"; only needed where the source does not
            say. Unnamed axes are taken as yx, zyx, czyx, tczyx.
        level: Level of the pyramid, 0 the finest.
        missing: The value that means "no data here"; overrides what the source says.
        storage_options: Options of a remote store (fsspec).

    Raises:
        BadVolume: There is no volume there that we can read; one sentence says why and what to do.
    """
    place = _place(uri)
    source, facts = _open(place, axes, level, storage_options)
    if missing is not None:
        facts = replace(facts, missing=float(missing))
    return make_volume(place, source, facts)


def from_array(
    array: ArrayLike,
    axes: str | None = None,
    *,
    scale: Sequence[float] | None = None,
    units: Sequence[str | None] | None = None,
    channels: Sequence[str] = (),
    missing: float | None = None,
) -> Volume:
    """Give an array in memory the face of a volume.

    Args:
        array: Two to five axes.
        axes: Their names, for example "czyx"; without them yx, zyx, czyx, tczyx.
        scale: Size of a voxel, one number an axis of the array.
        units: Units of `scale`.
        channels: Names of the channels.
        missing: The value that means "no data here".

    Raises:
        BadVolume: The array is no volume.
    """
    held = np.asarray(array)
    facts = replace(
        array_facts(held, axes, "array", "the array"),
        scale=tuple(map(float, scale)) if scale is not None else None,
        units=tuple(units) if units is not None else None,
        channels=tuple(channels),
        missing=missing,
    )
    return make_volume("memory", ArraySource(held), facts)


def is_remote(uri: str | os.PathLike[str]) -> bool:
    """Tell whether a place is a URL of a remote store rather than a local path."""
    return "://" in os.fspath(uri) and not os.fspath(uri).startswith("file://")


def _place(uri: str | os.PathLike[str]) -> str:
    text = os.fspath(uri)
    return text if is_remote(text) else os.path.abspath(text.removeprefix("file://"))


def _open(place: str, axes: str | None, level: int, storage_options: Mapping[str, Any] | None) -> tuple[Source, Facts]:
    if is_remote(place) or Path(place).is_dir():
        return open_zarr(place, axes, level, storage_options)
    if not Path(place).exists():
        raise BadVolume(f"a volume was wanted at {place}; there is nothing; check the path")
    with Path(place).open("rb") as file:
        mark = file.read(6)
    if mark[:4] in TIFF_MARKS:
        return open_tiff(place, axes, level)
    if mark == NPY_MARK:
        if level:
            raise BadVolume(f"level {level} was wanted of {place}, which is a single array; leave level at 0")
        return open_npy(place, axes)
    raise BadVolume(
        f"OME-Zarr, Zarr, TIFF or .npy was wanted, {place} is none of them; convert it to one of these formats"
    )
