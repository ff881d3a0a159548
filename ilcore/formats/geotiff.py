"""What the tags of a GeoTIFF, and the files beside it, say of its place; with rasterio or without."""

from dataclasses import replace
from typing import Any

from ilcore.formats import sidecars
from ilcore.formats.gdal import check_beside
from ilcore.formats.gdal_metadata import TAG, gdal_words
from ilcore.formats.raster import Georeference, georeference
from ilcore.volumes.georeference import affine_of, wkt2_of
from ilcore.volumes.ground_control import points_of
from ilcore.volumes.scan_metadata import About, Affine, with_more
from ilcore.volumes.times import iso

#: Size of a pixel, tie points, transform, keys of the coordinate reference system, GDAL's own words, RPC coefficients.
GEO_TAGS = (33550, 33922, 34264, 34735, 42112, 50844)
TIE_POINTS, DATE_TAG = 33922, "DateTime"
PIXEL_IS_POINT = 2
#: Keys that hold the code of a system, the projected one first; this number means that there is no code.
CODE_KEYS, USER_DEFINED = ("ProjectedCSTypeGeoKey", "GeographicTypeGeoKey"), 32767


def geotiff_told(path: str, page: Any) -> tuple[Georeference, tuple[str, ...]]:
    """Return what a file says of one of its images beyond the voxels, and in sentences what is not carried over.

    Args:
        path: The file.
        page: The page that stands for the image: another image of the file may lie elsewhere.
    """
    is_first = page.index in (0, (0,))
    date = iso(page.tags.valueof(DATE_TAG, ""))
    has_tags = any(tag in page.tags for tag in GEO_TAGS)
    if not has_tags and not (is_first and sidecars.is_placed(path)):
        return Georeference(About(acquired=date), ()), sidecars.unread(path) if is_first else ()
    check_beside(path)
    found = georeference(path if is_first else f"GTIFF_DIR:{_number(page)}:{path}")
    told, lost = (found, ()) if found else _by_tags(page, date)
    if is_first:
        told = _with_beside(told, path)
        lost += sidecars.unread(path, told.about.attributes)
    return told, lost


def _number(page: Any) -> int:
    return 1 + int(page.index[0] if isinstance(page.index, tuple) else page.index)


def _with_beside(told: Georeference, path: str) -> Georeference:
    """Fill in what only files beside a picture say."""
    about = told.about
    affine = about.affine or sidecars.transform(path) or sidecars.world(path)
    placed = replace(about, affine=affine, crs=about.crs or sidecars.projection(path))
    return replace(told, about=placed, nodata=told.nodata or sidecars.no_data(path))


def _by_tags(page: Any, date: str | None) -> tuple[Georeference, tuple[str, ...]]:
    """Read the tags without GDAL: transform, and systems that have a code; of others the keys are kept."""
    said = page.geotiff_tags or {}
    crs = _crs(said)
    is_lost = crs is None and any(key.endswith("GeoKey") for key in said)
    keys = {key: value for key, value in said.items() if key.endswith("GeoKey")}
    points = points_of(page.tags.valueof(TIE_POINTS, ()), crs)
    words = gdal_words(str(page.tags.valueof(TAG, "")), page.samplesperpixel)
    kept = with_more(with_more(words.about.attributes, {"geotiff_keys": keys} if is_lost else {}), points)
    lost = ("the system of the GeoTIFF has no code: its keys are kept as attributes; ilcore[geo] reads it",)
    place = None if points else _affine(said)
    about = replace(words.about, affine=place, crs=None if points else crs, acquired=date, attributes=kept)
    return Georeference(about, words.names, remarks=words.remarks), lost if is_lost else ()


def _crs(said: dict[str, Any]) -> str | None:
    codes = (said.get(key) for key in CODE_KEYS)
    code = next((int(each) for each in codes if each is not None and int(each) != USER_DEFINED), None)
    is_projected = said.get(CODE_KEYS[0]) is not None
    if code is None or (is_projected and int(said[CODE_KEYS[0]]) == USER_DEFINED):
        text = str(said.get("PCSCitationGeoKey", "")) or str(said.get("GTCitationGeoKey", ""))
        return wkt2_of(text.partition("ESRI PE String = ")[2])
    return wkt2_of(code)


def _affine(said: dict[str, Any]) -> Affine | None:
    shift = 0.5 if said.get("GTRasterTypeGeoKey") == PIXEL_IS_POINT else 0.0
    if "ModelTransformation" in said:
        a, b, c, d, e, f = [float(number) for row in said["ModelTransformation"][:2] for number in (*row[:2], row[3])]
        return affine_of((a, b, c - shift * (a + b), d, e, f - shift * (d + e)))
    sizes, tie = said.get("ModelPixelScale"), said.get("ModelTiepoint")
    if not sizes or not tie:
        return None
    width, height = float(sizes[0]), float(sizes[1])
    left = float(tie[3]) - (float(tie[0]) + shift) * width
    top = float(tie[4]) + (float(tie[1]) + shift) * height
    return affine_of((width, 0.0, left, 0.0, -height, top))
