"""The root of an OME-Zarr image, 0.5 or 0.4: what turns stored levels into a result. It is written last."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import zarr
from numpy.typing import DTypeLike, NDArray

from ilcore.formats import geozarr
from ilcore.formats.stored_mask import MASK
from ilcore.grammar.errors import BadVolume
from ilcore.grammar.region import Five, Region, intersect, region_of, whole
from ilcore.results.cf_attributes import mark_of, scan_attributes, voxel_attributes
from ilcore.results.layout import ResultFormat
from ilcore.results.write import WriteTarget, create_array, open_target, store_errors
from ilcore.stores.places import opened_by
from ilcore.volumes.axes import canonical, pick
from ilcore.volumes.display import usable_display
from ilcore.volumes.level import Level
from ilcore.volumes.volume import Volume

__all__ = ["Level", "WriteTarget", "create_array", "create_finest", "open_target", "write_root"]

TYPES = {"t": "time", "c": "channel", "z": "space", "y": "space", "x": "space"}
COLOURS = ("FFFFFF", "00FF00", "FF00FF", "00FFFF", "FFFF00", "FF0000", "0000FF")
#: Share of the voxels that a viewer shows as black and as white.
DARK, BRIGHT = 0.001, 0.999
#: Planes of the coarsest level that are looked at for the display range.
LOOKED_AT = 16


def create_finest(
    path: str,
    *,
    shape: Five,
    dtype: DTypeLike,
    axes: str,
    missing: float | None = None,
    result_format: ResultFormat = "ome-zarr 0.5",
    overwrite: bool = False,
) -> WriteTarget:
    """Make the empty array of the finest level; the coarser ones follow its format.

    Args:
        path: Where.
        shape: Size, t c z y x.
        dtype: Type of a voxel.
        axes: The axes to store.
        missing: The value that means "no data".
        result_format: "ome-zarr 0.5" (Zarr v3, in shards, with checksums) or "ome-zarr 0.4" (Zarr v2, neither).
        overwrite: Replace an array that is there.

    Raises:
        As `create_array`.
    """
    if result_format == "ome-zarr 0.5":
        return create_array(path, shape=shape, dtype=dtype, axes=axes, overwrite=overwrite)
    # Xarray takes the fill value of Zarr v2 for the mark of missing values: a plain 0 would make zeros vanish.
    fill = mark_of(missing, np.dtype(dtype))
    return create_array(path, shape=shape, dtype=dtype, axes=axes, fill=fill, overwrite=overwrite, zarr_format=2)


@dataclass(frozen=True)
class Told:
    """What the metadata of an image say otherwise than usual.

    Args:
        ome: What they say of colours and windows; None takes what suits an image.
        downscaling: How coarser levels are made; None for the means, or first voxels, of cells.
        about: What our own reader is told.
    """

    ome: Mapping[str, Any] | None = None
    downscaling: Mapping[str, Any] | None = None
    about: Mapping[str, Any] = field(default_factory=dict)


def write_root(
    root: str,
    *,
    volume: Volume,
    levels: Sequence[Level],
    name: str,
    attributes: Mapping[str, Any] | None = None,
    told: Told | None = None,
) -> None:
    """Write the metadata of the whole image; before this no reader finds an image there.

    The format follows the arrays: OME-Zarr 0.5 over Zarr v3, 0.4 over Zarr v2.

    Args:
        root: The group that holds the levels.
        volume: The source; the result keeps its axes, scale, units, origin, channels, display settings, missing
            value, and all that it says about place, values and time.
        levels: The levels, finest first; their arrays must be complete.
        name: Name of the image.
        attributes: More attributes of the group, for example where the result comes from.
        told: What is said otherwise than usual.

    Raises:
        DestinationError: The place cannot be written to.
    """
    zarr_format = _describe_levels(root, volume, levels)
    told = told or Told()
    shown = {"omero": _display(root, volume, levels[-1])} if told.ome is None else told.ome
    image = {**_image(volume, levels, name), **(told.downscaling or {})}
    given = {"ilcore": dict(told.about), **(attributes or {})} if told.about else attributes or {}
    with store_errors(root):
        if volume.mask is not None:
            _put(f"{root.rstrip('/')}/{MASK}", _ome(_image(volume, levels, MASK), zarr_format), zarr_format)
        _put(root, _root_attributes(volume, levels, image, given, shown, zarr_format), zarr_format)


def write_group(root: str, ome: Mapping[str, Any], zarr_format: int) -> None:
    """Write a group of OME-Zarr that is no image itself."""
    with store_errors(root):
        _put(root, {"ome": {"version": "0.5", **ome}} if zarr_format == 3 else dict(ome), zarr_format)


def check_metadata(volume: Volume, levels: Sequence[Level], name: str, result_format: ResultFormat) -> None:
    """Make all metadata of a result as `write_root` will, so that nothing of them stops a run at its end.

    Raises:
        BadVolume: Some of it cannot be written.
    """
    zarr_format = 3 if result_format == "ome-zarr 0.5" else 2
    windows = [dict.fromkeys(("min", "max", "start", "end"), 0.0)] * volume.shape[1]
    try:
        made = [
            _root_attributes(
                volume, levels, _image(volume, levels, name), {}, {"omero": _completed(volume, windows)}, zarr_format
            ),
            *(
                {**voxel_attributes(volume, zarr_format), **geozarr.array_attributes(volume.about, level)}
                for level in levels
            ),
            geozarr.mapping_attributes(volume.about) if geozarr.is_placed(volume.about) else {},
        ]
        json.dumps(made, allow_nan=False).encode()
    except (ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
        raise BadVolume(
            f"metadata that can be written into a result were wanted of {volume.name}; got {type(error).__name__}: "
            f"{error}; repair the metadata of the source"
        ) from error


def _root_attributes(
    volume: Volume,
    levels: Sequence[Level],
    image: Mapping[str, Any],
    given: Mapping[str, Any],
    shown: Mapping[str, Any],
    zarr_format: int,
) -> dict[str, Any]:
    """Return the attributes of the group: those of the scan, what its place is, what the caller and what OME says."""
    placed = geozarr.group_attributes(volume.about, levels, has_layout=zarr_format == 3)
    ome = _ome(image, zarr_format, shown)
    said = scan_attributes(volume.about)
    # What a source says there beyond what a result has words for stays beside it.
    held = said.pop("ome", None)
    beyond = held if isinstance(held, Mapping) else {}
    ome = {"ome": {**beyond, **ome["ome"]}} if zarr_format == 3 else {**beyond, **ome}
    conventions = _conventions(said.get("zarr_conventions"), placed.get("zarr_conventions"))
    return {**said, **placed, **conventions, **given, **_ours(volume, given), **ome}


def _conventions(said: Any, ours: Any) -> dict[str, Any]:
    """Return the conventions that a group follows: ours, then the others that the source names."""
    names = {json.dumps(each, sort_keys=True) for each in ours or ()}
    others = [each for each in said or () if json.dumps(each, sort_keys=True) not in names]
    return {"zarr_conventions": [*(ours or ()), *others]} if ours or others else {}


def _ours(volume: Volume, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what only our own reader understands, under one key beside what the caller says there."""
    kind = {} if volume.kind == "image" else {"kind": volume.kind}
    mask = {} if volume.mask is None else {"mask": MASK}
    said = {**given.get("ilcore", {}), **mask, **kind}
    return {"ilcore": said} if said else {}


def _ome(image: Mapping[str, Any], zarr_format: int, more: Mapping[str, Any] | None = None) -> dict[str, Any]:
    if zarr_format == 3:
        return {"ome": {"version": "0.5", "multiscales": [image], **(more or {})}}
    return {"multiscales": [{"version": "0.4", **image}], **(more or {})}


def _image(volume: Volume, levels: Sequence[Level], name: str) -> dict[str, Any]:
    averaged = {
        "type": "local mean",
        "metadata": {
            "method": "ilcore.volumes.pyramid.mean_of_cells",
            "description": "mean of neighbouring voxels, whole numbers rounded; missing values are left out",
        },
    }
    picked = {
        "type": "nearest",
        "metadata": {"method": "ilcore.volumes.pyramid", "description": "first voxel of each cell"},
    }
    return {
        "name": name,
        "axes": _axes(volume),
        "datasets": [_dataset(level, volume) for level in levels],
        **(averaged if volume.kind == "image" else picked),
    }


def _describe_levels(root: str, volume: Volume, levels: Sequence[Level]) -> int:
    """Let every array say what it is to readers that open it alone; return the Zarr format of the arrays."""
    targets = [open_target(f"{root.rstrip('/')}/{level.path}") for level in levels]
    zarr_format = targets[0].zarr_format
    said = voxel_attributes(volume, zarr_format)
    with store_errors(root):
        for target, level in zip(targets, levels, strict=True):
            target.array.update_attributes({**said, **geozarr.array_attributes(volume.about, level)})
        if geozarr.is_placed(volume.about):
            _put_mapping(root, volume, zarr_format)
    return zarr_format


def _put_mapping(root: str, volume: Volume, zarr_format: int) -> None:
    """Write the variable without axes whose attributes CF reads the coordinate reference system from."""
    names: dict[str, Any] = {"_ARRAY_DIMENSIONS": []} if zarr_format == 2 else {}
    zarr.create_array(
        **opened_by(f"{root.rstrip('/')}/{geozarr.GRID_MAPPING}"),
        shape=(),
        dtype="int32",
        fill_value=0 if zarr_format == 3 else None,
        attributes={**names, **geozarr.mapping_attributes(volume.about)},
        zarr_format=2 if zarr_format == 2 else 3,
        overwrite=True,
    )[...] = 0


def _put(root: str, attributes: dict[str, Any], zarr_format: int) -> None:
    """One write decides: a reader sees no image, or all of its attributes."""
    try:
        if zarr_format == 3:
            zarr.create_group(**opened_by(root), zarr_format=3, attributes=attributes)
            return
        zarr.create_group(**opened_by(root), zarr_format=2)
    except zarr.errors.ContainsGroupError:
        pass
    zarr.open_group(**opened_by(root), mode="r+").attrs.put(attributes)


def _axes(volume: Volume) -> list[dict[str, str]]:
    units = dict(zip("tczyx", volume.units, strict=True))
    axes: list[dict[str, str]] = []
    for axis in canonical(volume.axes):
        unit = units[axis]
        axes.append({"name": axis, "type": TYPES[axis]} | ({"unit": unit} if unit else {}))
    return axes


def _dataset(level: Level, volume: Volume) -> dict[str, Any]:
    """Scale, then the place of the first voxel's middle: half a voxel further in where voxels were averaged."""
    scale = [size * factor for size, factor in zip(volume.scale, level.factors, strict=True)]
    origin = [
        first + size * (factor - 1) / 2
        for first, size, factor in zip(volume.origin, volume.scale, level.factors, strict=True)
    ]
    kept = canonical(volume.axes)
    return {
        "path": level.path,
        "coordinateTransformations": [
            {"type": "scale", "scale": list(pick(scale, kept))},
            {"type": "translation", "translation": list(pick(origin, kept))},
        ],
    }


def _display(root: str, volume: Volume, coarsest: Level) -> dict[str, Any]:
    """Return the display settings of the source, completed where it said nothing."""
    target = open_target(f"{root.rstrip('/')}/{coarsest.path}")
    return _completed(volume, [_window(target, volume, at) for at in range(volume.shape[1])])


def _completed(volume: Volume, windows: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    said = usable_display(json.loads(volume.display)) if volume.display else None
    own = (said or {}).get("channels", [])
    own = own if len(own) == volume.shape[1] else [{} for _ in volume.channels]
    channels = [
        {
            "color": COLOURS[at % len(COLOURS)],
            "active": True,
            **given,
            "label": label,
            "window": {**window, **given.get("window", {})},
        }
        for at, (label, given, window) in enumerate(zip(volume.channels, own, windows, strict=True))
    ]
    return {**(said or {}), "channels": channels}


def _window(target: WriteTarget, volume: Volume, channel: int) -> dict[str, float]:
    values = target.read(_middle(target.shape, channel))
    finite = values[volume.validity.holds(values)]
    low, high = np.quantile(finite, [DARK, BRIGHT]) if finite.size else (0.0, 1.0)
    least, most = _range(np.dtype(target.dtype), finite)
    return {"min": least, "max": most, "start": float(low), "end": float(high if high > low else low + 1)}


def _middle(shape: Five, channel: int) -> Region:
    first = max(0, (shape[2] - LOOKED_AT) // 2)
    wanted = region_of([(0, 1), (channel, channel + 1), (first, first + LOOKED_AT), (0, shape[3]), (0, shape[4])])
    return intersect(wanted, whole(shape))


def _range(dtype: np.dtype[Any], finite: NDArray[Any]) -> tuple[float, float]:
    if dtype.kind in "iu" and dtype.itemsize <= 2:
        return float(np.iinfo(dtype).min), float(np.iinfo(dtype).max)
    return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
