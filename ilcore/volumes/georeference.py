"""Where a picture lies on the Earth: coordinate reference systems and affine transforms out of metadata."""

import math
import re
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyproj import CRS
from pyproj.exceptions import CRSError

from ilcore.volumes.scan_metadata import Affine
from ilcore.volumes.units import full_unit

#: Steps between coordinates may differ by so much of a step, for they are often stored as float32.
EVEN = 1e-3
_WKT = re.compile(r"^\s*[A-Z][A-Z_0-9]+\s*\[")
_WKT2 = re.compile(r"^\s*[A-Z]+CRS\s*\[")
_CODE = re.compile(r'(?:ID|AUTHORITY)\["([A-Za-z]+)",\s*"?(\d+)"?\]\s*\]\s*$')
_OLD_CODE = re.compile(r"^\+init=epsg:\d+( |$)", re.IGNORECASE)
_METRE = re.compile(r'UNIT\["met(?:re|er)",\s*1(?:\.0*)?[,\]]', re.IGNORECASE)


def wkt2_of(said: Any) -> str | None:
    """Return a coordinate reference system as WKT 2.

    Args:
        said: WKT of any version, a code such as "EPSG:32633", 32633 or "urn:ogc:def:crs:EPSG::32633", PROJJSON, a text
            of PROJ, or the attributes of a grid mapping of CF.

    A WKT that nobody understands comes back as it is, and anything else is none: None.
    """
    text = "" if isinstance(said, Mapping) else str(said or "").strip()
    # PROJ words some systems anew each time: what is WKT 2 already stays as it is.
    if _WKT2.match(text):
        return text
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # codes written in PROJ's old way are codes all the same
        try:
            return str(_system(said, text).to_wkt("WKT2_2019"))
        except (CRSError, ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError):
            return text if _WKT.match(text) else None


def _system(said: Any, text: str) -> CRS:
    if isinstance(said, Mapping):
        return CRS.from_json_dict(dict(said)) if "type" in said else CRS.from_cf(dict(said))
    if text.isdecimal():
        return CRS.from_epsg(int(text))
    # A file of definitions might be named, which lies elsewhere.
    if "+init=" in text and not _OLD_CODE.match(text):
        raise ValueError(text)
    return CRS.from_user_input(_plain(text))


def short_name(wkt: str) -> str:
    """Return the name of a coordinate reference system and its code, for example "WGS 84 (EPSG:4326)"."""
    name = re.search(r'"([^"]*)"', wkt)
    code = _CODE.search(wkt)
    told = name.group(1) if name else wkt[:40]
    return f"{told} ({code.group(1)}:{code.group(2)})" if code else told


def unit_of(wkt: str | None) -> str | None:
    """Return the unit in which a projected system counts, else None: a degree is no length."""
    if not wkt or not wkt.lstrip().startswith("PROJ"):
        return None
    try:
        return full_unit(CRS.from_wkt(wkt).axis_info[0].unit_name)
    except (CRSError, IndexError):
        return "meter" if _METRE.search(wkt) else None


def affine_of(numbers: Any) -> Affine | None:
    """Return six numbers, or nine of a matrix, in the order of rasterio as a transform; None where they are none."""
    try:
        a, b, c, d, e, f = (float(number) for number in list(numbers)[:6])
    except (TypeError, ValueError, OverflowError):
        return None
    found = (a, b, c, d, e, f)
    return found if all(map(math.isfinite, found)) and a * e != b * d else None


def affine_of_gdal(said: Any) -> Affine | None:
    """Return GDAL's GeoTransform, six numbers or a text of them, as an affine transform."""
    held = re.split(r"[\s,;]+", said.strip(" []()")) if isinstance(said, str) else said
    if not isinstance(held, list | tuple) or len(held) != 6:
        return None
    return affine_of([held[1], held[2], held[0], held[4], held[5], held[3]])


def affine_of_steps(y: tuple[float, float], x: tuple[float, float]) -> Affine:
    """Return the transform of evenly spaced middles of voxels.

    Args:
        y: First coordinate and step.
        x: First coordinate and step.
    """
    return (x[1], 0.0, x[0] - x[1] / 2, 0.0, y[1], y[0] - y[1] / 2)


def even_step(values: NDArray[Any]) -> tuple[float, float] | None:
    """Return the first of evenly spaced coordinates and the step; None where they are not even, or only one."""
    if values.ndim != 1 or len(values) < 2 or values.dtype.kind not in "iuf":
        return None
    held = values.astype(np.float64)
    step = float((held[-1] - held[0]) / (len(held) - 1))
    # Not from one to the next: rounding of large coordinates must not add up to "uneven".
    expected = held[0] + step * np.arange(len(held))
    is_even = math.isfinite(step) and step != 0 and bool(np.all(np.abs(held - expected) <= EVEN * abs(step)))
    return (float(held[0]), step) if is_even else None


def sides(affine: Affine) -> tuple[float, float]:
    """Return the length of a voxel along y and along x."""
    a, b, _, d, e, _ = affine
    return math.hypot(b, e), math.hypot(a, d)


def coarsened(affine: Affine, rows: float, columns: float) -> Affine:
    """Return the transform of an image whose voxels are larger by factors along y and x, from the same corner."""
    a, b, c, d, e, f = affine
    return (a * columns, b * rows, c, d * columns, e * rows, f)


def bounds(affine: Affine, height: int, width: int) -> tuple[float, float, float, float]:
    """Return left, bottom, right, top of a picture, as rasterio does."""
    a, b, c, d, e, f = affine
    corners = [(a * x + b * y + c, d * x + e * y + f) for x in (0, width) for y in (0, height)]
    across, along = zip(*corners, strict=True)
    return min(across), min(along), max(across), max(along)


def _plain(text: str) -> str:
    found = re.fullmatch(r"urn:ogc:def:crs:(\w+):[^:]*:(\w+)", text.strip())
    if found is None:
        return text
    return "OGC:CRS84" if found.group(2) == "CRS84" else f"{found.group(1)}:{found.group(2)}"
