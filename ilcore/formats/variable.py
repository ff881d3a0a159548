"""A Zarr array as a variable of a dataset: what xarray, CF and GeoZarr say of it, beside it and above it."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ilcore.formats.coordinates import KEPT, MOST_VALUES, is_small, told_beside, uneven
from ilcore.formats.decompression_limits import guarded
from ilcore.formats.geozarr import is_ours
from ilcore.formats.values import Values, read_values, with_marks
from ilcore.formats.zarr_node import Array, dimension_names
from ilcore.grammar.errors import BadVolume
from ilcore.volumes.axes import LEFT_OUT, find_axes
from ilcore.volumes.georeference import (
    affine_of,
    affine_of_gdal,
    affine_of_steps,
    even_step,
    sides,
    unit_of,
    wkt2_of,
)  # fmt: skip
from ilcore.volumes.marks import marks_in
from ilcore.volumes.scan_metadata import About, Affine, with_more
from ilcore.volumes.times import acquired_of, cf_times, cf_unit, own_words
from ilcore.volumes.units import full_unit
from ilcore.volumes.volume import Facts

#: Attributes of the form of a store, which a result writes anew.
UNDERSTOOD = frozenset((
    "grid_mapping", "coordinates", "_ARRAY_DIMENSIONS",
    "multiscales", "zarr_conventions", "spatial:transform", "spatial:dimensions", "spatial:shape", "spatial:bbox",
    "spatial:registration", "ome", "omero", "ilcore",
))  # fmt: skip
#: What of the OME part of a group a result writes anew.
OME_OWN = ("version", "multiscales", "omero", "plate", "well", "series", "bioformats2raw.layout")
CRS_KEYS = ("proj:wkt2", "proj:projjson", "proj:code", "proj:epsg")
#: Names under which a grid mapping, or an array itself, says its system; rioxarray, GDAL, odc, old xarray and others.
MAPPING_KEYS = ("crs_wkt", "spatial_ref", "projjson", "epsg_code", "epsg", "proj4", "proj4text", "proj4_params")
ARRAY_KEYS = (*MAPPING_KEYS, "crs", "srs", "esri_pe_string")
#: Names under which they say a transform, in the order of rasterio or of GDAL.
TRANSFORM_KEYS, GDAL_KEYS = ("spatial:transform", "proj:transform", "transform", "affine"), ("GeoTransform",)
GEOGRAPHIC = frozenset(("lat", "latitude", "northing", "lon", "longitude", "easting"))


@dataclass(frozen=True)
class Variable:
    """An array with what lies around it.

    Args:
        array: The array.
        url: Where it lies.
        neighbours: The arrays of its group by name, itself among them.
        inherited: Attributes of its group.
    """

    array: Array
    url: str
    neighbours: Mapping[str, Array] = field(default_factory=dict)
    inherited: Mapping[str, Any] = field(default_factory=dict)

    @property
    def attributes(self) -> dict[str, Any]:
        """Attributes of the group, and of the array, which come first."""
        return {**self.inherited, **self.array.attrs.asdict()}

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the axes; those that `spatial:dimensions` names are y and x."""
        own = dimension_names(self.array)
        said = tuple(map(str, self.attributes.get("spatial:dimensions") or ()))
        if not own and len(said) == self.array.ndim:
            own = said
        return tuple({**dict(zip(said[-2:], "yx", strict=False))}.get(name, name) for name in own)

    def coordinate(self, place: int) -> Array | None:
        """Return the array of coordinates along an axis, if there is one."""
        names = dimension_names(self.array)
        found = self.neighbours.get(names[place]) if names else None
        return found if found is not None and found.shape == (self.array.shape[place],) else None


@dataclass(frozen=True)
class Along:
    """Where the voxels lie along one axis: step, first middle, unit."""

    step: float = 1.0
    first: float = 0.0
    unit: str | None = None
    is_known: bool = False


def variable_facts(variable: Variable, told: str | None) -> Facts:
    """Describe an array by all that is said of it.

    Raises:
        BadVolume: 0-d, or axes that cannot be understood.
    """
    array, attributes = variable.array, variable.attributes
    if array.ndim == 0:
        raise BadVolume(f"a volume with at least y and x was wanted, {variable.url} is a single number (0-d)")
    axes = find_axes(told, variable.names, array.shape, variable.url)
    along = {axis: _along(variable, place) for place, axis in enumerate(axes) if axis != LEFT_OUT}
    crs, mapping = crs_of(variable)
    affine = _affine(attributes, mapping, along, is_geographic=crs is not None or _is_geographic(variable))
    placed = along if affine is None else {**along, **_by_affine(affine, along, crs)}
    values = values_of(variable)
    said = meant(values)
    about, lost = _with_surroundings(variable, axes, about_of(variable, crs, affine, _first_time(variable, axes)))
    return Facts(
        shape=array.shape,
        dtype=values.dtype,
        chunks=array.chunks,
        axes=axes,
        format=f"zarr v{array.metadata.zarr_format}",
        scale=tuple(abs(placed.get(axis, Along()).step) for axis in axes),
        origin=tuple(_origin(placed.get(axis, Along())) for axis in axes),
        units=tuple(placed.get(axis, Along()).unit for axis in axes),
        channels=_channels(variable, axes),
        about=about,
        **{**said, "remarks": (*said["remarks"], *lost)},
    )


def _with_surroundings(variable: Variable, axes: str, about: About) -> tuple[About, tuple[str, ...]]:
    """Keep what no step, transform or system says: uneven coordinates, single values, a mapping nobody understands."""
    array = variable.array
    single, lost = told_beside(array, variable.neighbours)
    kept: dict[str, Any] = {}
    for place, axis in enumerate(axes):
        coordinate = variable.coordinate(place)
        if axis == LEFT_OUT or coordinate is None or _along(variable, place).is_known or array.shape[place] < 2:
            continue
        if coordinate.dtype.kind not in "iuf" or not is_small(coordinate) or coordinate.size > MOST_VALUES:
            is_named = axis == "c" and coordinate.dtype.kind in "UTOS"
            lost += () if is_named else (f"coordinates along {axis} are no numbers, or too many: left out",)
        else:
            kept[axis] = uneven(coordinate, guarded(coordinate)[:])
    more = {key: held for key, held in ((KEPT, kept), ("scalar_coordinates", single)) if held}
    _, mapping = crs_of(variable)
    if about.crs is None and mapping:
        more["grid_mapping_attributes"] = mapping
        lost += ("the coordinate reference system of the grid mapping is not understood: its attributes are kept",)
    return replace(about, attributes=with_more(about.attributes, more)), lost


def meant(values: Values) -> dict[str, Any]:
    """Return what is said of values as fields of facts."""
    return {name: getattr(values, name) for name in ("missing", "also_missing", "valid_range", "kind", "remarks")}


def about_of(variable: Variable, crs: str | None, affine: Affine | None, first: str | None = None) -> About:
    """Return what is said beyond voxels and axes.

    Args:
        variable: The array and its attributes.
        crs: Coordinate reference system found.
        affine: Transform found.
        first: First point in time, where no attribute says when the scan was taken.
    """
    attributes, values = variable.attributes, values_of(variable)
    used = (*(() if crs is None else CRS_KEYS), *own_words(attributes), *values.used)
    return About(
        crs=crs,
        affine=affine,
        value_scale=values.scale,
        value_offset=values.offset,
        acquired=acquired_of(attributes) or first,
        attributes=other_attributes(attributes, used),
    )


def image_about(variable: Variable) -> About:
    """Return what the attributes of an OME-Zarr image say beyond OME's own."""
    crs, mapping = crs_of(variable)
    return about_of(variable, crs, _affine(variable.attributes, mapping, {}, is_geographic=False))


def other_attributes(attributes: Mapping[str, Any], also: tuple[str, ...] = ()) -> str | None:
    """Return as JSON the attributes that are not understood, and `also` not these."""
    kept = {key: value for key, value in attributes.items() if key not in UNDERSTOOD and key not in also}
    ome = attributes.get("ome")
    if isinstance(ome, Mapping) and (beyond := {key: ome[key] for key in ome if key not in OME_OWN}):
        kept["ome"] = beyond
    said = attributes.get("zarr_conventions")
    if foreign := [each for each in said if not is_ours(each)] if isinstance(said, list) else []:
        kept["zarr_conventions"] = foreign
    return json.dumps(kept, sort_keys=True, default=str) if kept else None


def values_of(variable: Variable) -> Values:
    """Return what the attributes of a variable, and of its group, say of its values.

    Zarr's own fill value only says what an absent chunk holds, except where xarray wrote Zarr v2: it keeps the mark
    there. A fill value of 0 is what Zarr takes by itself, so it counts only among other variables.
    """
    attributes = variable.array.attrs.asdict()
    found = read_values(variable.attributes, variable.array.dtype)
    if variable.array.metadata.zarr_format == 2 and "_ARRAY_DIMENSIONS" in attributes:
        fill: Any = variable.array.metadata.fill_value
        if found.missing is None and (fill or len(variable.neighbours) > 1):
            marks, _ = marks_in(fill, found.dtype, "fill_value")
            found = with_marks(found, marks)
    return found


def _along(variable: Variable, place: int) -> Along:
    coordinate = variable.coordinate(place)
    if coordinate is None or coordinate.dtype.kind not in "iuf":
        return Along()
    if not is_small(coordinate):
        return Along()
    values = np.asarray(guarded(coordinate)[:])
    unit = full_unit(cf_unit(str(coordinate.attrs.get("units", ""))))
    if len(values) == 1:
        return Along(first=float(values[0]), unit=unit)
    found = even_step(values)
    return Along() if found is None else Along(step=found[1], first=found[0], unit=unit, is_known=True)


def _origin(along: Along) -> float:
    """Scales are positive: a place can be told only where coordinates grow."""
    return along.first if along.step > 0 and math.isfinite(along.first) else 0.0


def crs_of(variable: Variable) -> tuple[str | None, dict[str, Any]]:
    """Return the coordinate reference system, and the attributes of the grid mapping variable."""
    attributes = variable.attributes
    # "crs: x y" of CF's longer form begins with the name too.
    name = str(attributes.get("grid_mapping") or "spatial_ref").split(":")[0].split(" ")[0]
    beside = variable.neighbours.get(name)
    mapping = {} if beside is None else beside.attrs.asdict()
    said = [attributes.get(key) for key in CRS_KEYS] + [mapping.get(key) for key in MAPPING_KEYS]
    said += [mapping] if "grid_mapping_name" in mapping else []
    said += [attributes.get(key) for key in ARRAY_KEYS]
    return next((wkt for one in said if one and (wkt := wkt2_of(one))), None), mapping


def _affine(
    attributes: Mapping[str, Any], mapping: Mapping[str, Any], along: Mapping[str, Along], *, is_geographic: bool
) -> Affine | None:
    told = [affine_of(said[key]) for said in (attributes, mapping) for key in TRANSFORM_KEYS if key in said]
    told += [affine_of_gdal(said[key]) for said in (mapping, attributes) for key in GDAL_KEYS if key in said]
    found = next(filter(None, told), None)
    if found is not None:
        is_node = "spatial:transform" in attributes and attributes.get("spatial:registration") == "node"
        return _of_pixels(found) if is_node else found
    y, x = along.get("y", Along()), along.get("x", Along())
    if not (y.is_known and x.is_known) or not (is_geographic or y.step < 0 or x.step < 0):
        return None
    return affine_of_steps((y.first, y.step), (x.first, x.step))


def _of_pixels(nodes: Affine) -> Affine:
    """Move a transform that leads to the middles of voxels to their corners."""
    a, b, c, d, e, f = nodes
    return (a, b, c - (a + b) / 2, d, e, f - (d + e) / 2)


def _by_affine(affine: Affine, along: Mapping[str, Along], crs: str | None) -> dict[str, Along]:
    """Where voxels lie as a transform says; places can be told beside it only where it does not turn or flip."""
    height, width = sides(affine)
    a, b, c, d, e, f = affine
    is_upright = a > 0 and e > 0 and b == 0 and d == 0
    places = (f + e / 2, c + a / 2) if is_upright else (0.0, 0.0)
    return {
        axis: Along(step=side, first=place, unit=unit_of(crs) or along.get(axis, Along()).unit)
        for axis, side, place in zip("yx", (height, width), places, strict=True)
    }


def _is_geographic(variable: Variable) -> bool:
    return bool(GEOGRAPHIC & {name.lower() for name in dimension_names(variable.array)})


def _channels(variable: Variable, axes: str) -> tuple[str, ...]:
    """Return names of the bands: as coordinates in words, or as rioxarray writes them into `long_name`."""
    place = axes.find("c")
    if place < 0:
        return ()
    coordinate = variable.coordinate(place)
    if coordinate is not None and coordinate.dtype.kind in "UTOS":
        return tuple(_word(name) for name in np.asarray(guarded(coordinate)[:]).tolist())
    said = variable.array.attrs.get("long_name")
    return tuple(map(str, said)) if isinstance(said, list | tuple) else ()


def _word(name: Any) -> str:
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)


def _first_time(variable: Variable, axes: str) -> str | None:
    """Return the first point in time: of the t axis, or of a picture with one time beside it."""
    place = axes.find("t")
    beside = variable.coordinate(place) if place >= 0 else variable.neighbours.get("time")
    return None if beside is None else first_time(beside)


def first_time(coordinate: Array) -> str | None:
    """Return the first of coordinates that count time from a date."""
    units = str(coordinate.attrs.get("units", ""))
    if coordinate.dtype.kind not in "iuf" or coordinate.size == 0 or " since " not in units:
        return None
    held = guarded(coordinate)
    values: NDArray[Any] = np.atleast_1d(np.asarray(held[:1] if coordinate.ndim else held[...]))
    found = cf_times(values, units, str(coordinate.attrs.get("calendar", "standard")))
    return found[0] if found else None
