"""What ties a picture to the Earth without a transform: ground control points and rational polynomials.

They are kept as attributes: `gcps` as rioxarray writes them, a GeoJSON of points with their rows and columns, beside
the words of their system; `rpcs` by their usual names.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ilcore.volumes.georeference import wkt2_of

POINTS, SYSTEM, POLYNOMIALS = "gcps", "gcps_crs", "rpcs"
#: Domains of metadata in which GDAL keeps what lies beside pictures of some instruments.
DOMAINS = ("IMD",)


def kept_of(dataset: Any) -> dict[str, Any]:
    """Return as attributes what an open raster says in this way."""
    found: dict[str, Any] = {}
    points, system = dataset.gcps
    if points:
        found |= _collection([_feature(each) for each in points])
        found |= {SYSTEM: wkt2_of(system.to_wkt())} if system else {}
    if dataset.rpcs is not None:
        found[POLYNOMIALS] = dataset.rpcs.to_dict()
    return found | {name: said for name in DOMAINS if (said := dataset.tags(ns=name))}


def points_of(tie_points: Sequence[float], crs: str | None) -> dict[str, Any]:
    """Return the same from the tie points of a GeoTIFF, of which one alone makes no ground control.

    Args:
        tie_points: Column, row, depth, x, y, z of each.
        crs: Their system.
    """
    rows = [list(map(float, tie_points[at : at + 6])) for at in range(0, len(tie_points) - 5, 6)]
    if len(rows) < 2:
        return {}
    said = [({"id": str(at), "info": "", "row": row[1], "col": row[0]}, row[3:]) for at, row in enumerate(rows, 1)]
    return _collection([_pointed(about, place) for about, place in said]) | ({SYSTEM: crs} if crs else {})


def cut_points(
    attributes: str | None, row: float, column: float, factor: float, across: float | None = None
) -> str | None:
    """Return attributes whose points and polynomials are counted from the corner of a part, in its own voxels.

    Args:
        attributes: As JSON.
        row: First row of the part.
        column: First column of the part.
        factor: Side of a voxel of the part over that of the whole, along y.
        across: The same along x; None for the same factor.
    """
    wide = factor if across is None else across
    if attributes is None or not any(f'"{key}"' in attributes for key in (POINTS, POLYNOMIALS)):
        return attributes
    held = json.loads(attributes)
    for feature in held.get(POINTS, {}).get("features", ()):
        place = feature["properties"]
        place["row"], place["col"] = (place["row"] - row) / factor, (place["col"] - column) / wide
    polynomials = held.get(POLYNOMIALS)
    if isinstance(polynomials, Mapping):
        held[POLYNOMIALS] = {**polynomials, **_shifted(polynomials, (row, column), (factor, wide))}
    return json.dumps(held, sort_keys=True)


def _feature(point: Any) -> dict[str, Any]:
    place = [point.x, point.y] + ([] if point.z is None else [point.z])
    said = {"id": point.id, "info": point.info, "row": point.row, "col": point.col}
    return _pointed(said, place)


def _pointed(said: dict[str, Any], place: Sequence[float]) -> dict[str, Any]:
    return {"type": "Feature", "properties": said, "geometry": {"type": "Point", "coordinates": list(place)}}


def _collection(features: list[dict[str, Any]]) -> dict[str, Any]:
    return {POINTS: {"type": "FeatureCollection", "features": features}}


def _shifted(said: Mapping[str, Any], corner: tuple[float, float], factors: tuple[float, float]) -> dict[str, float]:
    return {
        "line_off": (float(said["line_off"]) - corner[0]) / factors[0],
        "samp_off": (float(said["samp_off"]) - corner[1]) / factors[1],
        "line_scale": float(said["line_scale"]) / factors[0],
        "samp_scale": float(said["samp_scale"]) / factors[1],
    }
