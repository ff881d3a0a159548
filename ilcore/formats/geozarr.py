"""The place on the Earth in the words of GeoZarr (the conventions spatial, proj and multiscales) and of CF.

Reference:
    github.com/zarr-conventions: spatial v1, proj v1, multiscales v1; CF conventions, section 5.6 (grid mappings).
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ilcore.volumes.georeference import bounds, coarsened
from ilcore.volumes.level import Level
from ilcore.volumes.scan_metadata import About

#: Name of the variable that holds the coordinate reference system, as rioxarray and GDAL call it.
GRID_MAPPING = "spatial_ref"

_SPATIAL = {
    "schema_url": "https://raw.githubusercontent.com/zarr-conventions/spatial/refs/tags/v1/schema.json",
    "spec_url": "https://github.com/zarr-conventions/spatial/blob/v1/README.md",
    "uuid": "689b58e2-cf7b-45e0-9fff-9cfc0883d6b4",
    "name": "spatial",
    "description": "Spatial coordinate information",
}
_PROJ = {
    "schema_url": "https://raw.githubusercontent.com/zarr-conventions/geo-proj/refs/tags/v1/schema.json",
    "spec_url": "https://github.com/zarr-conventions/geo-proj/blob/v1/README.md",
    "uuid": "f17cb550-5864-4468-aeb7-f3180cfb622f",
    "name": "proj:",
    "description": "Coordinate reference system information for geospatial data",
}
_MULTISCALES = {
    "schema_url": "https://raw.githubusercontent.com/zarr-conventions/multiscales/refs/tags/v1/schema.json",
    "spec_url": "https://github.com/zarr-conventions/multiscales/blob/v1/README.md",
    "uuid": "d35379db-88df-4056-af3a-620245f8e347",
    "name": "multiscales",
    "description": "Multiscale layout of zarr datasets",
}


def is_ours(convention: Any) -> bool:
    """Tell whether a convention that a source names is one of those that results follow, so that it is read."""
    ours = {each[key] for each in (_SPATIAL, _PROJ, _MULTISCALES) for key in ("uuid", "name")}
    return isinstance(convention, Mapping) and bool({convention.get("uuid"), convention.get("name")} & ours)


def is_placed(about: About) -> bool:
    """Tell whether anything is known of the place on the Earth."""
    return about.crs is not None or about.affine is not None


def array_attributes(about: About, level: Level) -> dict[str, Any]:
    """Return what one level says of its place; the transform leads from the corners of its own voxels."""
    if not is_placed(about):
        return {}
    return {
        "zarr_conventions": _conventions(about),
        **_proj(about),
        **({"spatial:dimensions": ["y", "x"]} if about.affine else {}),
        **_spatial(about, level),
        **_box(about, level),
        "grid_mapping": GRID_MAPPING,
    }


def group_attributes(about: About, levels: Sequence[Level], *, has_layout: bool) -> dict[str, Any]:
    """Return what the group says of the place of its levels.

    Args:
        about: Of the finest level.
        levels: The levels, finest first.
        has_layout: Whether the name `multiscales` is free for GeoZarr; before 0.5 OME-Zarr takes it.
    """
    if not is_placed(about):
        return {}
    found = {"zarr_conventions": _conventions(about), **_proj(about)}
    if about.affine:
        found |= {"spatial:dimensions": ["y", "x"], **_box(about, levels[0])}
    if not has_layout:
        return {**found, **_spatial(about, levels[0])}
    return {
        **found,
        "zarr_conventions": [_MULTISCALES, *found["zarr_conventions"]],
        # With a layout the convention wants the transform there, and nowhere else in the group.
        "multiscales": {"layout": _layout(about, levels), "resampling_method": "average"},
    }


def mapping_attributes(about: About) -> dict[str, Any]:
    """Return the attributes of CF's grid mapping variable, as GDAL and rioxarray write them."""
    found = {} if about.crs is None else {"crs_wkt": about.crs, "spatial_ref": about.crs}
    if about.affine is None:
        return found
    a, b, c, d, e, f = about.affine
    return {**found, "GeoTransform": " ".join(map(repr, (c, a, b, f, d, e)))}


def _conventions(about: About) -> list[Mapping[str, str]]:
    return [*([_PROJ] if about.crs else []), *([_SPATIAL] if about.affine else [])]


def _proj(about: About) -> dict[str, str]:
    """Return the system as WKT 2 alone: the convention's schema allows one of WKT 2, code and PROJJSON."""
    return {"proj:wkt2": about.crs} if about.crs else {}


def _spatial(about: About, level: Level) -> dict[str, Any]:
    if about.affine is None:
        return {}
    transform = coarsened(about.affine, *level.factors[3:])
    return {"spatial:shape": list(level.shape[3:]), "spatial:transform": list(transform)}


def _box(about: About, level: Level) -> dict[str, Any]:
    if about.affine is None:
        return {}
    return {"spatial:bbox": list(bounds(coarsened(about.affine, *level.factors[3:]), *level.shape[3:]))}


def _layout(about: About, levels: Sequence[Level]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for below, level in zip((None, *levels), levels, strict=False):
        before = below.factors if below else level.factors
        steps = [float(now / then) for now, then in zip(level.factors[3:], before[3:], strict=True)]
        source = {"derived_from": below.path} if below else {}
        found.append({"asset": level.path, **source, "transform": {"scale": steps}, **_spatial(about, level)})
    return found
