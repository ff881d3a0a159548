"""One door for every format."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ilcore.formats import raster
from ilcore.formats.axes_adapter import fitted
from ilcore.formats.eopatch import is_patch, open_patch, patch_images
from ilcore.formats.in_memory import ArraySource, array_facts, open_npy
from ilcore.formats.microscope import is_microscope, microscope_images, open_microscope
from ilcore.formats.npz import ZIP_MARK, npz_images, open_npz
from ilcore.formats.stored_zarr import Asked, open_zarr, zarr_images
from ilcore.formats.tiff import open_tiff, tiff_images
from ilcore.grammar.errors import BadVolume, ILError
from ilcore.stores.addresses import check_there, is_remote, normalised
from ilcore.stores.leads import check_regular, held_to
from ilcore.stores.places import trouble
from ilcore.volumes.marks import Mark, marks_in
from ilcore.volumes.volume import Facts, Source, Volume, make_volume

TIFF_MARKS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
NPY_MARK = b"\x93NUMPY"


def open_volume(
    uri: str | os.PathLike[str],
    *,
    axes: str | None = None,
    level: int = 0,
    missing: Mark | None = None,
    storage_options: Mapping[str, Any] | None = None,
    image: str | None = None,
    roots: Sequence[str] = (),
) -> Volume:
    """Open a volume; voxels are read later, region by region.

    Understood are OME-Zarr 0.4 to 0.6, plates among it, Zarr v2 and v3 arrays, xarray datasets and GeoZarr (local or
    by URL, `s3://bucket/scan.zarr`), TIFF, ImageJ, OME-TIFF and GeoTIFF, .npy and .npz files, folders of eo-learn;
    with rasterio JPEG 2000 and other rasters that hold their own pixels; with bioio the formats of microscopes. The
    content decides, not the name, except for microscopes.

    Args:
        uri: Path or URL; a chain such as zip://scan.ome.zarr::s3://bucket/scans.zip is one too.
        axes: Names of the axes in the order of the source, for example "zyx"; only needed where the source does not
            say. Unnamed axes are taken as x, yx, zyx, czyx, tczyx; axes of length 1 may be left out.
        level: Level of the pyramid, 0 the finest.
        missing: The value that means "no data here"; overrides the marks that the source names.
        storage_options: Options of a remote store (fsspec).
        image: Which image, where the place holds several; `images_in` names them.
        roots: Folders that links and names in metadata may lead to; without them that of the volume.

    Raises:
        BadInput: The URL carries credentials.
        BadVolume: There is no volume there that we can read; one sentence says why and what to do.
        StoreError: A store does not answer, or refuses us.
    """
    place = normalised(uri)
    with held_to(place, roots), _sound(place):
        source, facts = _open(place, Asked(axes, level, storage_options), image)
        return make_volume(place, *fitted(source, with_mark(facts, missing)), image)


def images_in(
    uri: str | os.PathLike[str], *, storage_options: Mapping[str, Any] | None = None, roots: Sequence[str] = ()
) -> tuple[str, ...]:
    """Return the names of the images at a place; none where it is one image itself, which opens without a name.

    These are fields of the wells of a plate, series of a slide, variables of a dataset (`*` for all of a group as
    channels), numbers of the images in a TIFF file, arrays of a .npz file, features of an EOPatch, scenes.

    Args:
        uri: Path or URL.
        storage_options: Options of a remote store (fsspec).
        roots: As in `open_volume`.

    Raises:
        BadVolume: There is nothing that we can read.
    """
    place = normalised(uri)
    with held_to(place, roots), _sound(place):
        kind, _ = _kind(place)
        if kind == "zarr":
            return zarr_images(place, storage_options)
        listed = _IMAGES.get(kind)
        return listed(place) if listed else ()


def from_array(
    array: ArrayLike,
    axes: str | None = None,
    *,
    scale: Sequence[float] | None = None,
    units: Sequence[str | None] | None = None,
    channels: Sequence[str] = (),
    missing: Mark | None = None,
) -> Volume:
    """Give an array in memory the face of a volume.

    Args:
        array: One to five axes.
        axes: Their names, for example "czyx"; without them x, yx, zyx, czyx, tczyx.
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
    )
    return make_volume("memory", *fitted(ArraySource(held), with_mark(facts, missing)))


def with_mark(facts: Facts, missing: Mark | None) -> Facts:
    """Return facts with another mark for missing values than the source names; None keeps those."""
    if missing is None or missing == facts.missing:
        return facts
    marks, remarks = marks_in(missing, facts.dtype, "the value for missing voxels")
    return replace(facts, missing=next(iter(marks), None), also_missing=marks[1:], remarks=(*facts.remarks, *remarks))


#: How the images of a file or folder are listed, by kind; the other kinds hold one.
_IMAGES: dict[str, Callable[[str], tuple[str, ...]]] = {
    "patch": patch_images,
    "tiff": tiff_images,
    "npz": npz_images,
    "microscope": microscope_images,
    "raster": raster.raster_images,
}


@contextmanager
def _sound(place: str) -> Iterator[None]:
    """Turn whatever a library raises on a description it does not expect into one sentence.

    Each opener says itself what it knows to be damage; this is the net below them all.
    """
    try:
        yield
    except (ILError, MemoryError):
        raise
    except Exception as error:
        if trouble(error) is not None:
            raise
        raise BadVolume(
            f"a sound volume was wanted at {place}; it is damaged, or says what nobody expects "
            f"({type(error).__name__}: {error}); take a fresh copy, or repair what it says of itself"
        ) from error


def _kind(place: str) -> tuple[str, bytes]:
    """Return how a place is to be read, and its first bytes if it is a file.

    Raises:
        BadVolume: There is nothing.
    """
    if is_remote(place) or Path(place).is_dir():
        return ("patch" if not is_remote(place) and is_patch(place) else "zarr"), b""
    check_there(place)
    check_regular(place)
    with Path(place).open("rb") as file:
        mark = file.read(12)
    if is_microscope(place):
        return "microscope", mark
    if mark[:4] in TIFF_MARKS:
        return "tiff", mark
    if mark.startswith(NPY_MARK):
        return "npy", mark
    return ("npz" if mark.startswith(ZIP_MARK) else "raster"), mark


def _open(place: str, asked: Asked, image: str | None) -> tuple[Source, Facts]:
    kind, mark = _kind(place)
    axes, level = asked.axes, asked.level
    match kind:
        case "zarr":
            return open_zarr(place, asked, image)
        case "patch":
            return open_patch(place, axes, level, image)
        case "tiff":
            return open_tiff(place, axes, level, image)
        case "microscope":
            return open_microscope(place, axes, level, image)
    if kind in ("npy", "npz") and level:
        raise BadVolume(f"level {level} was wanted of {place}, which is a single array; leave level at 0")
    if kind == "npz":
        return open_npz(place, axes, image)
    if kind == "npy" and image is not None:
        raise BadVolume(f"image {image!r} was wanted of {place}, which is a single array; leave image out")
    return open_npy(place, axes) if kind == "npy" else _open_raster(place, asked, image, mark)


def _open_raster(place: str, asked: Asked, image: str | None, mark: bytes) -> tuple[Source, Facts]:
    found = raster.open_raster(place, asked.axes, asked.level, image)
    if found is not None:
        return found
    if not raster.is_installed() and raster.needs_rasterio(place, mark):
        raise BadVolume(f"rasterio was wanted to read {place}, it is not installed; pip install 'ilcore[geo]'")
    raise BadVolume(
        f"OME-Zarr, Zarr, TIFF, .npy or .npz was wanted, {place} is none of them"
        + (
            ", nor a raster that holds its own pixels; "
            if raster.is_installed()
            else "; for other rasters install ilcore[geo], "
        )
        + "convert it to one of these formats"
    )
