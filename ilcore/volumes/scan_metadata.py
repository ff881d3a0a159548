"""What a scan says of itself beyond its voxels; carried from source to result."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

Affine: TypeAlias = tuple[float, float, float, float, float, float]


@dataclass(frozen=True, kw_only=True)
class About:
    """Georeference, meaning of the values, time; everything is optional.

    Args:
        crs: Coordinate reference system of y and x, as WKT 2.
        affine: a, b, c, d, e, f of level 0: a column and a row (counted from the corner of the first voxel) lie at
            `a * column + b * row + c` eastwards and `d * column + e * row + f` northwards, as in rasterio.
        value_scale: A stored value times this, plus `value_offset`, is the physical value (CF `scale_factor`).
        value_offset: See `value_scale` (CF `add_offset`).
        acquired: When the scan was taken, ISO 8601.
        attributes: Other attributes of the source as JSON, kept as they are.
    """

    crs: str | None = None
    affine: Affine | None = None
    value_scale: float = 1.0
    value_offset: float = 0.0
    acquired: str | None = None
    attributes: str | None = None

    def cut(self, row: float, column: float, factor: float = 1.0) -> "About":
        """Return the same for a part that begins at a row and a column, with voxels larger by a factor.

        Args:
            row: First row of the part, in voxels of this image.
            column: First column of the part.
            factor: Side of a voxel of the part over that of this image, along y and along x.
        """
        if self.affine is None:
            return self
        a, b, c, d, e, f = self.affine
        place = (a * column + b * row + c, d * column + e * row + f)
        moved = (a * factor, b * factor, place[0], d * factor, e * factor, place[1])
        return About(**{**self.__dict__, "affine": moved})


def with_more(attributes: str | None, more: Mapping[str, Any]) -> str | None:
    """Return attributes as JSON with more of them; those that are there already win."""
    if not more:
        return attributes
    held = json.loads(attributes) if attributes else {}
    return json.dumps({**more, **held}, sort_keys=True, default=str)


#: A source that says nothing.
NOTHING = About()
