"""GDAL, held to what a file holds itself: only drivers that read pixels, no network, no other place.

GDAL knows many formats that are descriptions of what lies elsewhere (VRT, WMS, tile indices, STAC lists): a text of a
few lines called `.tif` would read any file of this machine, or ask any web server.
"""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ilcore.grammar.errors import BadVolume
from ilcore.stores.leads import check_led, check_regular

#: Formats whose pixels lie in the file itself, or in one of the same name beside it.
DRIVERS = (
    "GTiff", "JP2OpenJPEG", "JP2KAK", "JP2ECW", "PNG", "JPEG", "BMP", "GIF", "BIGGIF", "WEBP", "JPEGXL", "HFA", "GPKG",
    "AAIGrid", "GSAG", "GSBG", "GS7BG", "SRTMHGT", "DTED", "USGSDEM", "GRIB", "FITS", "SGI", "TGA", "PNM", "Terragen",
)  # fmt: skip
#: How descriptions of other places begin that GDAL would follow.
_LEADS = (b"<VRTDataset", b"<GDAL_WMS", b"<GDAL_WMTS", b"<WMS_", b"<WCS_", b"<GDALTileIndex", b"<MRF_META", b"<OGR")
#: No address has such an ending, so that none is asked.
_OPTIONS = {
    "CPL_VSIL_CURL_ALLOWED_EXTENSIONS": ".none",
    "GDAL_HTTP_CONNECTTIMEOUT": "1",
    "GDAL_HTTP_TIMEOUT": "1",
    "GDAL_HTTP_MAX_RETRY": "0",
    "GDAL_HTTP_PROXY": "127.0.0.1:9",
}
#: Pictures beside a raster that GDAL opens by itself, with all the formats it knows.
_BESIDE = (".ovr", ".msk", ".msk.ovr", ".aux", ".rrd")
#: How these begin: TIFF, and Erdas Imagine.
_OWN_MARKS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"EHFA")


def opened(name: str, level: int = 0) -> Any:
    """Open a raster by GDAL's name, or one of its overviews.

    Raises:
        BadVolume: It, or a file beside it, leads elsewhere.
        rasterio.errors.RasterioIOError: It is none that may be read.
    """
    import rasterio

    # Not `rasterio.open`, which takes one driver or all.
    with not_georeferenced(), rasterio.Env(**_OPTIONS):
        held = rasterio.io.DatasetReader(name, driver=list(DRIVERS))
        if held.tags(ns="OVERVIEWS").get("OVERVIEW_FILE"):
            held.close()
            raise BadVolume(f"a raster with its own overviews was wanted, {name} names a file elsewhere; remove that")
        if not level:
            return held
        held.close()
        return rasterio.io.DatasetReader(name, driver=list(DRIVERS), overview_level=level - 1)


def read_block(dataset: Any, bands: list[int], window: tuple[tuple[int, int], tuple[int, int]]) -> NDArray[Any]:
    """Return voxels of some bands.

    Raises:
        ValueError: The file is damaged there.
    """
    from rasterio.errors import RasterioIOError

    try:
        return np.asarray(dataset.read(bands, window=window))
    except RasterioIOError as error:  # an OSError, though no disk has failed
        raise ValueError(f"{error} ({error.__cause__})") from error


def check_own(path: str) -> None:
    """Refuse a file that is a description of other places, or has one beside it.

    Raises:
        BadVolume: It is, or has.
    """
    if os.path.isfile(path):
        with open(path, "rb") as file:
            head = file.read(1024).lstrip(b"\xef\xbb\xbf \t\r\n")
        if b"<?xml" in head[:5]:
            head = head.partition(b"?>")[2].lstrip()
        if head.startswith(_LEADS):
            raise BadVolume(
                f"a raster with its own pixels was wanted, {path} is a description of what lies elsewhere "
                f"({head[1:20].decode('latin-1').split()[0]}); convert it with gdal_translate"
            )
    check_beside(path)


def check_beside(path: str) -> None:
    """Refuse pictures beside a raster that are none, or lie elsewhere: GDAL would open them, whatever they are.

    Raises:
        BadVolume: There is one.
    """
    stem = os.path.splitext(path)[0]
    for place in (head + end for head in (path, stem) for end in (*_BESIDE, *map(str.upper, _BESIDE))):
        if not os.path.lexists(place):
            continue
        check_regular(place)
        check_led(place, path)
        with suppress(OSError), open(place, "rb") as file:
            mark = file.read(4)
            if mark not in _OWN_MARKS:
                raise BadVolume(
                    f"a TIFF or Imagine file of overviews or masks was wanted at {place}, it is none; remove it"
                )


@contextmanager
def not_georeferenced() -> Iterator[None]:
    """A picture that lies nowhere on the Earth is nothing to warn of."""
    from rasterio.errors import NotGeoreferencedWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        yield
