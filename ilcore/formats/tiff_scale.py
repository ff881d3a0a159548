"""Voxel sizes out of the several places where TIFF files keep them."""

import math
from collections.abc import Iterator
from typing import Any, TypeAlias

import tifffile

from ilcore.formats.ome_xml import pixels_of
from ilcore.volumes.units import full_unit

#: Size and unit by axis letter; an axis of unknown size is absent.
Sizes: TypeAlias = dict[str, tuple[float, str | None]]

CENTIMETER = 3
#: GDAL's mark for missing values.
NODATA_TAG = 42113
INCH = 2
#: Tags by which a GeoTIFF says its size.
GEO_SIZES = (33550, 34264)
MICROMETERS = {CENTIMETER: 1e4, INCH: 25_400.0}
#: Resolutions an inch that screens, printers and cameras write without meaning them.
USUAL_PER_INCH = (1, 72, 75, 90, 96, 100, 120, 144, 150, 180, 200, 240, 300, 350, 360, 400, 600, 720, 1200, 2400, 4800)


def voxel_size(file: tifffile.TiffFile, series: int = 0) -> Sizes:
    """Return what a file says about the size of its voxels: OME first, then ImageJ, then the resolution tags."""
    if file.is_ome:
        return _of_ome(file, series)
    if file.is_imagej:
        return _of_imagej(file)
    return _of_tags(file)


def _of_ome(file: tifffile.TiffFile, series: int) -> Sizes:
    pixels = pixels_of(file, series)
    if pixels is None:
        return {}
    found = [(axis, pixels.get(f"PhysicalSize{axis.upper()}"), f"PhysicalSize{axis.upper()}Unit") for axis in "xyz"]
    found.append(("t", pixels.get("TimeIncrement"), "TimeIncrementUnit"))
    defaults = {"t": "s"}
    told = ((axis, size, pixels.get(key, defaults.get(axis, "µm"))) for axis, size, key in found)
    return dict(_known(told))


def _of_imagej(file: tifffile.TiffFile) -> Sizes:
    said = file.imagej_metadata or {}
    unit = said.get("unit")
    found: list[tuple[str, Any, Any]] = [
        (axis, _per_unit(file, f"{axis.upper()}Resolution"), said.get(f"{axis}unit", unit)) for axis in "xy"
    ]
    found.append(("z", said.get("spacing"), said.get("zunit", unit)))
    found.append(("t", said.get("finterval"), str(said.get("tunit", "s"))))
    return dict(_known(found))


def unused_resolution(file: tifffile.TiffFile) -> str | None:
    """Return what a file says of its resolution and is not taken for a size, in words."""
    if file.is_ome or file.is_imagej or any(tag in file.pages.first.tags for tag in GEO_SIZES) or not _is_usual(file):
        return None
    per_inch = " x ".join(f"{1 / (_per_unit(file, f'{axis}Resolution') or 1):g}" for axis in "XY")
    return f"the resolution of {per_inch} an inch is what screens and printers write: no size is taken from it"


def _of_tags(file: tifffile.TiffFile) -> Sizes:
    tags = file.pages.first.tags
    unit = int(tags.valueof("ResolutionUnit", INCH))
    if _is_usual(file):
        return {}
    factor, name = MICROMETERS.get(unit, 1.0), "micrometer" if unit in MICROMETERS else None
    sizes = {axis: _per_unit(file, f"{axis.upper()}Resolution") for axis in "xy"}
    return dict(_known((axis, size and size * factor, name) for axis, size in sizes.items()))


def _is_usual(file: tifffile.TiffFile) -> bool:
    tags = file.pages.first.tags
    sizes = [_per_unit(file, f"{axis}Resolution") for axis in "XY"]
    if int(tags.valueof("ResolutionUnit", INCH)) != INCH or None in sizes:
        return False
    return all(any(abs(1 / (size or 1) - usual) < 1e-3 for usual in USUAL_PER_INCH) for size in sizes)


def _per_unit(file: tifffile.TiffFile, tag: str) -> float | None:
    """Size of a pixel from a resolution tag, which counts pixels a unit as a fraction."""
    value = file.pages.first.tags.valueof(tag)
    is_fraction = isinstance(value, tuple) and len(value) == 2 and all(value)
    return value[1] / value[0] if is_fraction else None


def _known(found: Any) -> Iterator[tuple[str, tuple[float, str | None]]]:
    for axis, said, unit in found:
        size = _number(said)
        if size is not None and math.isfinite(size) and size > 0:
            yield axis, (size, full_unit(unit))


def _number(said: Any) -> float | None:
    try:
        return None if said is None else float(said)
    except (TypeError, ValueError):
        return None
