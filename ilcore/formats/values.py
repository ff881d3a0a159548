"""What attributes say of stored values: their type, their marks, their range, their unit, and whether they measure."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ilcore.volumes.marks import Mark, marks_in, numbers_in
from ilcore.volumes.volume import Kind, Range

#: Names of marks for missing values: CF, xarray, rioxarray, GDAL, and what people write.
MARKS = ("_FillValue", "missing_value", "fill_value", "nodata", "nodatavals", "nodata_value", "no_data")
#: Names of scale and offset: CF; lists with one for each band, as rasterio has them.
SCALES = (("scale_factor", "add_offset"), ("scales", "offsets"))
#: Scale and offset of something, but of what?
UNCLEAR = ("scale", "offset")
#: Lists with what STAC says of each band.
BANDS = ("raster:bands", "bands")
#: What a measured variable has, and a table of classes has not.
MEASURED = ("units", "scale_factor", "add_offset", "valid_range", "valid_min", "valid_max")


@dataclass(frozen=True, kw_only=True)
class Values:
    """What is said of values.

    Args:
        dtype: What they are, where that is not what they are stored as.
        missing: The first mark for missing values.
        also_missing: The others.
        valid_range: Least and largest valid value.
        scale: A stored value times this, plus `offset`, is the physical value.
        offset: See `scale`.
        kind: Whether they measure.
        used: Names of the attributes that were used; all others are kept.
        remarks: What could not be used.
    """

    dtype: np.dtype[Any]
    missing: Mark | None = None
    also_missing: tuple[Mark, ...] = ()
    valid_range: Range = (None, None)
    scale: float = 1.0
    offset: float = 0.0
    kind: Kind = "image"
    used: frozenset[str] = frozenset()
    remarks: tuple[str, ...] = ()


def read_values(attributes: Mapping[str, Any], stored: np.dtype[Any]) -> Values:
    """Read all that attributes say of values stored in a type; what is null is as good as absent."""
    said = {key: value for key, value in attributes.items() if value is not None}
    found = _with_kind(_typed(said, stored), said)
    found = _with_marks(found, said, stored)
    return _with_scale(_with_range(found, said, stored), said)


def with_marks(found: Values, marks: Sequence[Mark], remarks: Sequence[str] = (), used: Sequence[str] = ()) -> Values:
    """Return the same with further marks."""
    held = () if found.missing is None else (found.missing, *found.also_missing)
    all_marks = tuple(dict.fromkeys((*held, *marks)))
    return replace(
        found, missing=next(iter(all_marks), None), also_missing=all_marks[1:],
        remarks=(*found.remarks, *remarks), used=found.used | set(used),
    )  # fmt: skip


def _typed(said: Mapping[str, Any], stored: np.dtype[Any]) -> Values:
    """NetCDF 3 has no unsigned types: there `_Unsigned` says so."""
    word = str(said.get("_Unsigned", "")).lower()
    other = {("i", "true"): "u", ("u", "false"): "i"}.get((stored.kind, word))
    if other is not None:
        return Values(dtype=np.dtype(f"{other}{stored.itemsize}"), used=frozenset({"_Unsigned"}))
    is_plain = {("u", "true"), ("i", "false")} & {(stored.kind, word)}
    return Values(dtype=stored, used=frozenset({"_Unsigned"}) if is_plain else frozenset())


def _with_kind(found: Values, said: Mapping[str, Any]) -> Values:
    is_measured = any(key in said for key in MEASURED)
    is_flag = "flag_masks" in said or ("flag_values" in said and not is_measured)
    is_flag |= str(said.get("standard_name", "")).endswith(("status_flag", "quality_flag"))
    classes = any("classification:" in key for one in (said, *_bands(said)) for key in one)
    return replace(found, kind="labels") if is_flag or classes or "image-label" in said else found


def _with_marks(found: Values, said: Mapping[str, Any], stored: np.dtype[Any]) -> Values:
    named = [(key, said[key]) for key in MARKS if key in said]
    if found.kind == "image" and "flag_values" in said:
        # Special values among measured ones.
        named.append(("flag_values", said["flag_values"]))
    for key, value in named:
        marks, remarks = _stored(value, stored, found.dtype, key)
        is_used = not remarks and key not in ("flag_values",)
        found = with_marks(found, marks, remarks, (key,) if is_used else ())
    for key in BANDS:
        each = [one.get("nodata") for one in _bands(said, key) if one.get("nodata") is not None]
        marks, remarks = _stored(each, stored, found.dtype, f"nodata of {key}")
        found = with_marks(found, marks, tuple(dict.fromkeys(remarks)))
    return found


def _stored(
    said: Any, stored: np.dtype[Any], dtype: np.dtype[Any], name: str
) -> tuple[tuple[Mark, ...], tuple[str, ...]]:
    """Return marks as the values are, however the type that they are stored in writes them."""
    marks, remarks = marks_in(said, stored, name)
    if dtype == stored:
        return marks, remarks
    seen = tuple(int(np.asarray(mark, stored).astype(dtype)) for mark in marks)
    more, remarks = marks_in(said, dtype, name) if remarks else ((), ())
    return tuple(dict.fromkeys((*seen, *more))), remarks


def _with_range(found: Values, said: Mapping[str, Any], stored: np.dtype[Any]) -> Values:
    ends: list[Mark | None] = [None, None]
    used: set[str] = set()
    told: list[str] = []
    for key, places in (("valid_range", (0, 1)), ("valid_min", (0,)), ("valid_max", (1,))):
        if key not in said:
            continue
        marks, remarks = _stored(said[key], stored, found.dtype, key)
        numbers = numbers_in(said[key])
        if key == "valid_range" and len(numbers) == 2 and numbers[0] == numbers[1]:
            marks = (*marks, *marks)
        if remarks or len(marks) != len(places):
            told.append(f"{key} {said[key]!r} is no range of {found.dtype.name}: no voxel is taken for missing by it")
            continue
        used.add(key)
        for place, mark in zip(places, marks, strict=True):
            ends[place] = mark
    low, high = ends
    if low is not None and high is not None and low > high:
        return replace(found, remarks=(*found.remarks, f"a valid range from {low} to {high} holds nothing: not used"))
    return replace(found, valid_range=(low, high), used=found.used | used, remarks=(*found.remarks, *told))


def _with_scale(found: Values, said: Mapping[str, Any]) -> Values:
    for pair in SCALES:
        if any(key in said for key in pair):
            return _scaled(found, {key: said[key] for key in pair if key in said}, pair)
    for key in BANDS:
        held = _bands(said, key)
        lists = {name: [one[name] for one in held if one.get(name) is not None] for name in UNCLEAR}
        lists = {name: values for name, values in lists.items() if values}
        if lists:
            whole = all(len(values) == len(held) for values in lists.values())
            told = lists if whole else {name: [*values, math.nan] for name, values in lists.items()}
            return replace(_scaled(found, told, UNCLEAR), used=found.used)
    unclear = [f"{key} {said[key]}" for key in UNCLEAR if len(numbers_in(said.get(key))) == 1]
    told_of = f"{' and '.join(unclear)} may be of values or of voxels: kept as attributes, not applied"
    return replace(found, remarks=(*found.remarks, told_of)) if unclear else found


def _scaled(found: Values, said: Mapping[str, Any], pair: tuple[str, str]) -> Values:
    """Apply one scale and one offset; several, which hold for one band each, are kept and told."""
    numbers = {key: numbers_in(value) for key, value in said.items()}
    unread = [f"{key} {said[key]!r}" for key, held in numbers.items() if not _is_read(said[key], held, key == pair[0])]
    if unread:
        told = f"{' and '.join(unread)} cannot be read as finite numbers: kept as attributes, not applied"
        return replace(found, remarks=(*found.remarks, told[:400]))
    if any(len(set(held)) > 1 for held in numbers.values()):
        told = f"{' and '.join(numbers)} differ from band to band: kept as attributes, not applied"
        return replace(found, remarks=(*found.remarks, told))
    scale, offset = (
        float(numbers[key][0]) if key in numbers else absent for key, absent in zip(pair, (1.0, 0.0), strict=True)
    )
    return replace(found, scale=scale, offset=offset, used=found.used | set(said))


def _is_read(said: Any, numbers: Sequence[Mark], is_scale: bool) -> bool:
    count = len(said) if isinstance(said, list | tuple) else 1
    return len(numbers) >= count > 0 and all(math.isfinite(one) and not (is_scale and one == 0) for one in numbers)


def _bands(said: Mapping[str, Any], *keys: str) -> list[Mapping[str, Any]]:
    return [one for key in keys or BANDS for one in _listed(said.get(key)) if isinstance(one, Mapping)]


def _listed(said: Any) -> Iterator[Any]:
    yield from said if isinstance(said, list | tuple) else ()
