"""Voxel sizes out of the several places where TIFF files keep them."""

from collections.abc import Iterator
from typing import Any, TypeAlias

import tifffile

from ilcore.volumes.ome_xml import pixels_of
from ilcore.volumes.units import full_unit

#: Size and unit by axis letter; an axis of unknown size is absent.
Sizes: TypeAlias = dict[str, tuple[float, str | None]]

CENTIMETER = 3
#: GDAL's mark for missing values.
NODATA_TAG = 42113
#: How OME says that sizes are relative to each other only.
RELATIVE = ("pixel", "reference frame")


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
    return dict(_known(told, RELATIVE))


def _of_imagej(file: tifffile.TiffFile) -> Sizes:
    said = file.imagej_metadata or {}
    unit = str(said.get("unit", "pixel"))
    found: list[tuple[str, Any, str]] = [
        (axis, _per_unit(file, f"{axis.upper()}Resolution"), said.get(f"{axis}unit", unit)) for axis in "xy"
    ]
    found.append(("z", said.get("spacing"), said.get("zunit", unit)))
    found.append(("t", said.get("finterval"), str(said.get("tunit", "s"))))
    return dict(_known(found))


def _of_tags(file: tifffile.TiffFile) -> Sizes:
    tags = file.pages.first.tags
    # Inches are what printers and cameras write without meaning it.
    if tags.valueof("ResolutionUnit", 0) != CENTIMETER:
        return {}
    found = [(axis, _per_unit(file, f"{axis.upper()}Resolution"), "cm") for axis in "xy"]
    return {axis: (size * 1e4, "micrometer") for axis, (size, _) in _known(found)}


def _per_unit(file: tifffile.TiffFile, tag: str) -> float | None:
    """Size of a pixel from a resolution tag, which counts pixels a unit as a fraction."""
    value = file.pages.first.tags.valueof(tag)
    return value[1] / value[0] if value and value[0] and value[1] else None


def _known(found: Any, relative: tuple[str, ...] = ()) -> Iterator[tuple[str, tuple[float, str | None]]]:
    for axis, size, unit in found:
        name = full_unit(unit)
        if size is not None and (name is not None or unit in relative) and float(size) > 0:
            yield axis, (float(size), name)
