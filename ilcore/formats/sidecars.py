"""Files beside a picture that say where it lies: world files, projections, GDAL's own; the others are named."""

import os
from collections.abc import Iterator
from contextlib import suppress
from itertools import chain
from xml.etree import ElementTree

from ilcore.stores.leads import check_led, check_regular
from ilcore.volumes.georeference import affine_of, affine_of_gdal, wkt2_of
from ilcore.volumes.scan_metadata import Affine

WORLD = (".tfw", ".tifw", ".tiffw", ".wld")
PROJECTION, GDAL = ".prj", ".aux.xml"
#: What instruments and archives put beside a picture. GDAL reads some of them, see `READ_BY_GDAL`.
OTHERS = (
    ".imd", ".rpb", "_rpc.txt", ".rpc", ".pvl", ".met", ".xml", ".json", ".hdr", ".txt", ".csv", ".tab", ".points",
    "_metadata.txt", "_mtl.txt", "_metadata.xml",
)  # fmt: skip
READ_BY_GDAL = {"IMD": (".imd",), "rpcs": (".rpb", "_rpc.txt", ".rpc")}
#: A description is short; what is longer is something else.
MOST_BYTES = 16 * 2**20


def world(path: str) -> Affine | None:
    """Return the transform of a world file, which leads to the middle of the first voxel: A, D, B, E, C, F."""
    for place in _beside(path, WORLD):
        words = _text(place).replace(",", ".").split()
        found = affine_of([words[at] for at in (0, 2, 4, 1, 3, 5)]) if len(words) == 6 else None
        if found is not None:
            a, b, c, d, e, f = found
            return (a, b, c - (a + b) / 2, d, e, f - (d + e) / 2)
    return None


def projection(path: str) -> str | None:
    """Return the system of a projection file, or of GDAL's, as WKT 2."""
    told = [_text(place) for place in _beside(path, (PROJECTION,))]
    told += [said for each in _auxiliary(path) if (said := each.findtext("SRS"))]
    return next((wkt for said in told if (wkt := wkt2_of(said))), None)


def transform(path: str) -> Affine | None:
    """Return the transform that GDAL wrote beside a picture."""
    told = (each.findtext("GeoTransform") for each in _auxiliary(path))
    return next((found for said in told if said and (found := affine_of_gdal(said))), None)


def no_data(path: str) -> tuple[float, ...]:
    """Return the marks for missing values that GDAL wrote beside a picture."""
    found: dict[float, None] = {}
    for each in _auxiliary(path):
        for said in each.iterfind("PAMRasterBand/NoDataValue"):
            with suppress(ValueError):
                found[float(said.text or "")] = None
    return tuple(found)


def is_placed(path: str) -> bool:
    """Tell whether a file beside a picture says anything that is read."""
    return any(True for _ in _beside(path, (*WORLD, PROJECTION, GDAL, *chain(*READ_BY_GDAL.values()))))


def unread(path: str, kept: str | None = None) -> tuple[str, ...]:
    """Return a sentence for each file beside a picture that is not read.

    Args:
        path: The picture.
        kept: Attributes as JSON in which GDAL may have told what it read there.
    """
    known = tuple(chain(*(ends for key, ends in READ_BY_GDAL.items() if kept and f'"{key}"' in kept)))
    names = dict.fromkeys(
        os.path.basename(place) for place in _beside(path, OTHERS) if not place.lower().endswith(known)
    )
    return tuple(f"{name} beside the file is not read" for name in names)


def _beside(path: str, ends: tuple[str, ...]) -> Iterator[str]:
    """Find files whose names are that of a picture with another end, or with one more."""
    stem = os.path.splitext(path)[0].removesuffix(".ome")
    seen = set()
    for end in ends:
        for place in (head + each for head in (stem, path) for each in (end, end.upper())):
            if place == path or not os.path.lexists(place):
                continue
            check_led(place, path)
            check_regular(place)
            if os.path.isfile(place) and (real := os.path.realpath(place)) not in seen:
                seen.add(real)
                yield place


def _auxiliary(path: str) -> Iterator[ElementTree.Element]:
    for place in _beside(path, (GDAL,)):
        try:
            yield ElementTree.fromstring(_text(place))
        except ElementTree.ParseError:
            continue


def _text(place: str) -> str:
    with open(place, "rb") as file:
        return file.read(MOST_BYTES).decode("utf-8", "replace")
