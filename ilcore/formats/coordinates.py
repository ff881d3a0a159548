"""Coordinates that no step and no transform can say: uneven, beside a single value, or along two axes at once.

They are kept among the attributes of a volume, under `KEPT` by axis, and cut with it.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ilcore.formats.decompression_limits import guarded
from ilcore.formats.zarr_node import Array, dimension_names

#: Attributes under which they are kept.
KEPT = "axis_coordinates"
#: More values of an axis than these make no attributes.
MOST_VALUES = 10_000
#: Coordinates beyond this are not even looked at, in bytes.
MOST_BYTES = 128 * 2**20


def is_small(coordinate: Array) -> bool:
    """Tell whether coordinates can be read at once."""
    return int(coordinate.nbytes) <= MOST_BYTES


def uneven(coordinate: Array, values: Any) -> dict[str, Any]:
    """Return coordinates of an axis with all that is said of them."""
    said = {key: value for key, value in coordinate.attrs.asdict().items() if key != "_ARRAY_DIMENSIONS"}
    return {"values": np.asarray(values).tolist(), **said}


def beside(array: Array, neighbours: Mapping[str, Array]) -> Iterator[tuple[str, Array]]:
    """Find the coordinates of no axis of its own that an array names, as CF wants it: `coordinates = "lat lon"`."""
    for name in str(array.attrs.get("coordinates", "")).split():
        found = neighbours.get(name)
        if found is not None and name not in dimension_names(array):
            yield name, found


def told_beside(array: Array, neighbours: Mapping[str, Array]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return single values beside an array, and sentences on coordinates that are not carried over."""
    kept: dict[str, Any] = {}
    lost: list[str] = []
    for name, found in beside(array, neighbours):
        if found.ndim == 0 and found.dtype.kind in "iufb":
            kept[name] = uneven(found, guarded(found)[...])
        else:
            lost.append(f"coordinates {name!r} along {', '.join(dimension_names(found)) or found.ndim} are left out")
    return kept, tuple(lost)


def cut_coordinates(attributes: str | None, spans: Mapping[str, tuple[int, int]]) -> str | None:
    """Return attributes whose coordinates are those of a part.

    Args:
        attributes: As JSON.
        spans: Half-open span of each axis by its letter.
    """
    held = json.loads(attributes) if attributes else {}
    kept = held.get(KEPT) if isinstance(held, dict) else None
    if not isinstance(kept, dict):
        return attributes
    cut = {axis: _cut(said, spans.get(axis)) for axis, said in kept.items()}
    return json.dumps({**held, KEPT: cut}, sort_keys=True)


def _cut(said: Any, span: Sequence[int] | None) -> Any:
    if span is None or not isinstance(said, dict) or not isinstance(said.get("values"), list):
        return said
    return {**said, "values": said["values"][span[0] : span[1]]}
