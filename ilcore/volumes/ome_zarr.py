"""The root of an OME-Zarr 0.5 image: what turns stored levels into a result. It is written last."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from ilcore.volumes.axes import canonical, pick
from ilcore.volumes.region import Five, Region, intersect, region_of, whole
from ilcore.volumes.stores import opened_by
from ilcore.volumes.volume import Volume
from ilcore.volumes.write import WriteTarget, create_array, open_target, store_errors

__all__ = ["Level", "WriteTarget", "create_array", "open_target", "write_root"]

VERSION = "0.5"
TYPES = {"t": "time", "c": "channel", "z": "space", "y": "space", "x": "space"}
COLOURS = ("FFFFFF", "00FF00", "FF00FF", "00FFFF", "FFFF00", "FF0000", "0000FF")
#: Share of the voxels that a viewer shows as black and as white.
DARK, BRIGHT = 0.001, 0.999
#: Planes of the coarsest level that are looked at for the display range.
LOOKED_AT = 16


@dataclass(frozen=True)
class Level:
    """One level of the pyramid: where it lies under the root, its size, and how much coarser it is than the finest."""

    path: str
    shape: Five
    factors: Five = (1, 1, 1, 1, 1)


def write_root(
    root: str, *, volume: Volume, levels: Sequence[Level], name: str, attributes: Mapping[str, Any] | None = None
) -> None:
    """Write the metadata of the whole image; before this no reader finds an image there.

    Args:
        root: The group that holds the levels.
        volume: The source, whose axes, scale, units, origin, channels and display settings the result keeps.
        levels: The levels, finest first; their arrays must be complete.
        name: Name of the image.
        attributes: More attributes of the group, for example where the result comes from.

    Raises:
        DestinationError: The place cannot be written to.
    """
    image = {
        "name": name,
        "axes": _axes(volume),
        "datasets": [_dataset(level, volume) for level in levels],
        "type": "local mean",
    }
    ome = {"version": VERSION, "multiscales": [image], "omero": _display(root, volume, levels[-1])}
    with store_errors(root):
        _put(root, {**(attributes or {}), "ome": ome})


def _put(root: str, attributes: dict[str, Any]) -> None:
    """One write: a reader sees no group, or all of its attributes."""
    try:
        zarr.create_group(**opened_by(root), zarr_format=3, attributes=attributes)
    except zarr.errors.ContainsGroupError:
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
    said = json.loads(volume.display) if volume.display else {}
    own = said.get("channels", [])
    own = own if len(own) == volume.shape[1] else [{} for _ in volume.channels]
    target = open_target(f"{root.rstrip('/')}/{coarsest.path}")
    channels = [
        {
            "label": label,
            "color": COLOURS[at % len(COLOURS)],
            "active": True,
            **given,
            "window": _window(target, at) | given.get("window", {}),
        }
        for at, (label, given) in enumerate(zip(volume.channels, own, strict=True))
    ]
    return {**said, "channels": channels}


def _window(target: WriteTarget, channel: int) -> dict[str, float]:
    values = target.read(_middle(target.shape, channel))
    finite = values[np.isfinite(values)]
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
