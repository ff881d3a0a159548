"""What the tags of a GeoTIFF say, with rasterio or without."""

from dataclasses import replace
from typing import Any

import tifffile

from ilcore.volumes.about import About, Affine
from ilcore.volumes.gdal_metadata import TAG, gdal_words
from ilcore.volumes.georeference import affine_of
from ilcore.volumes.raster import Georeference, georeference
from ilcore.volumes.times import iso

#: Size of a pixel, transform, keys of the coordinate reference system, GDAL's own words.
GEO_TAGS = (33550, 34264, 34735, 42112)
DATE_TAG = "DateTime"
PIXEL_IS_POINT = 2


def geotiff_told(file: tifffile.TiffFile, path: str) -> Georeference:
    """Return what a file says beyond its voxels; without rasterio that is the transform and the date."""
    tags = file.pages.first.tags
    date = iso(tags.valueof(DATE_TAG, ""))
    if not any(tag in tags for tag in GEO_TAGS):
        return Georeference(About(acquired=date), ())
    found = georeference(path)
    if found is not None:
        return found
    words = gdal_words(str(tags.valueof(TAG, "")), file.pages.first.samplesperpixel)
    about = replace(words.about, affine=_affine(file.geotiff_metadata or {}), acquired=date)
    return Georeference(about, words.names, remarks=words.remarks)


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
