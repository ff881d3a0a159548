"""One door for every format."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from ilcore.formats.axes_adapter import adapted
from ilcore.formats.openers import format_of
from ilcore.formats.protocol import OpenOptions
from ilcore.grammar.errors import BadVolume, ILError
from ilcore.stores.addresses import normalised
from ilcore.stores.leads import held_to
from ilcore.stores.places import trouble
from ilcore.volumes.marks import Mark
from ilcore.volumes.volume import Volume, make_volume


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
        options = OpenOptions(axes, level, image, missing, storage_options)
        source, facts = format_of(place).open(place, options)
        return make_volume(place, *adapted(source, facts.with_mark(missing)), image)


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
        return format_of(place).images(place, OpenOptions(storage=storage_options))


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
