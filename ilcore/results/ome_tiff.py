"""Volumes as OME-TIFF, through tifffile."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from ilcore.formats.geozarr import is_placed
from ilcore.formats.ome_xml import NAMESPACE
from ilcore.formats.tiff_scale import NODATA_TAG
from ilcore.grammar.errors import BadInput
from ilcore.grammar.region import blocks, five, region_of
from ilcore.results.cf_attributes import mark_of
from ilcore.results.writer import Writer
from ilcore.volumes.units import symbol_of
from ilcore.volumes.volume import STREAM_BYTES, Volume

#: Side of a tile.
SIDE = 512
#: From this size on the offsets of a classic TIFF do not suffice.
LARGEST_CLASSIC_BYTES = 2**32 - 2**25
#: What OME has a name for.
TYPES = ("int8", "int16", "int32", "uint8", "uint16", "uint32", "float32", "float64")


def check(volume: Volume, path: Path) -> None:
    """Refuse what OME-TIFF cannot hold.

    Raises:
        BadInput: A type that OME has no name for.
    """
    if volume.dtype.name not in TYPES:
        raise BadInput(
            f"one of {', '.join(TYPES)} was wanted for the OME-TIFF {path}, got {volume.dtype}; convert it first"
            + (", or write a GeoTIFF (--cog)" if volume.dtype.kind in "iu" else "")
        )


def write_ome_tiff(path: Path, levels: Sequence[Volume]) -> None:
    """Write a volume, tile by tile.

    Args:
        path: The file.
        levels: The volume, then coarser levels of it; those that have fewer planes are left out, since OME-TIFF knows
            only pyramids of planes.
    """
    volume = levels[0]
    coarser = [level for level in levels[1:] if level.shape[:3] == volume.shape[:3]]
    is_big = sum(level.nbytes for level in levels) > LARGEST_CLASSIC_BYTES
    with tifffile.TiffWriter(path, bigtiff=is_big, ome=True) as to:
        _put(to, volume, subifds=len(coarser), metadata=_metadata(volume), extratags=_tags(volume))
        for level in coarser:
            _put(to, level, subfiletype=1, metadata=None)


def _put(to: tifffile.TiffWriter, volume: Volume, **told: Any) -> None:
    side = tuple(min(SIDE, -(-length // 16) * 16) for length in volume.shape[3:])
    to.write(
        _tiles(volume, side[0], side[1]), shape=volume.shape, dtype=volume.dtype, tile=side, photometric="minisblack",
        compression="zlib", predictor=volume.dtype.kind in "iu", maxworkers=1, **told,
    )  # fmt: skip


def _tiles(volume: Volume, height: int, width: int) -> Iterator[NDArray[Any]]:
    """Yield the tiles of all planes in order; as many planes are read at once as one chunk holds, if they fit."""
    for slab in _slabs(volume, height):
        for plane in range(slab.shape[2]):
            rows = slab[0, 0, plane]
            for top in range(0, rows.shape[0], height):
                for left in range(0, rows.shape[1], width):
                    yield _padded(rows[top : top + height, left : left + width], height, width)


def _slabs(volume: Volume, height: int) -> Iterator[NDArray[Any]]:
    _, _, depth, rows, columns = volume.shape
    plane = rows * columns * volume.dtype.itemsize
    if plane > STREAM_BYTES:
        # A tile's rows of one plane after the other: chunks of several planes are decoded for each of them.
        step = five([1, 1, 1, height * max(1, STREAM_BYTES // (height * columns * volume.dtype.itemsize)), columns])
    else:
        step = five([1, 1, min(depth, volume.chunks[2], STREAM_BYTES // plane), rows, columns])
    return (volume.read(region_of(region)) for region in blocks(volume.shape, step))


def _padded(tile: NDArray[Any], height: int, width: int) -> NDArray[Any]:
    missing = [(0, height - tile.shape[0]), (0, width - tile.shape[1])]
    return np.pad(tile, missing) if tile.shape != (height, width) else np.ascontiguousarray(tile)


def _metadata(volume: Volume) -> dict[str, Any]:
    about = volume.about
    return {
        "axes": "TCZYX",
        **_sizes(volume),
        "Channel": {"Name": list(volume.channels), **_colours(volume)},
        **({"AcquisitionDate": about.acquired} if about.acquired else {}),
        # What OME has no place for, in words that we read again.
        "MapAnnotation": {"Namespace": NAMESPACE, "Value": _rest(volume)},
    }


def _sizes(volume: Volume) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for at, axis in ((4, "X"), (3, "Y"), (2, "Z")):
        # Without a unit OME means micrometres: where nothing is known, nothing is said.
        if (volume.scale[at], volume.units[at]) != (1.0, None):
            unit = symbol_of(volume.units[at]) or "reference frame"
            found |= {f"PhysicalSize{axis}": volume.scale[at], f"PhysicalSize{axis}Unit": unit}
    symbol = symbol_of(volume.units[0])
    return found if symbol is None else {**found, "TimeIncrement": volume.scale[0], "TimeIncrementUnit": symbol}


def _colours(volume: Volume) -> dict[str, list[int]]:
    """Return red, green, blue and opacity of each channel as one signed number."""
    said = json.loads(volume.display).get("channels", []) if volume.display else []
    found = [each.get("color") for each in said]
    if len(found) != len(volume.channels) or not all(found):
        return {}
    return {"Color": [int.from_bytes(bytes.fromhex(f"{colour}FF"), "big", signed=True) for colour in found]}


def _rest(volume: Volume) -> dict[str, str]:
    sizes = {"scale": volume.scale, "units": volume.units}
    said = {**asdict(volume.about), **sizes, "origin": volume.origin, "display": volume.display}
    del said["acquired"]
    lost = ["a mask says which voxels are data: OME-TIFF has no place for it"] if volume.mask is not None else []
    if lost or volume.remarks:
        said["not_carried_over"] = [*lost, *volume.remarks]
    return {key: json.dumps(value) for key, value in said.items() if value is not None}


def _tags(volume: Volume) -> list[tuple[Any, ...]]:
    """Return GDAL's mark for missing values."""
    missing = mark_of(volume.missing, volume.dtype)
    return [] if missing is None else [(NODATA_TAG, "s", 0, repr(missing), True)]


def _suits(volume: Volume, path: Path) -> bool:
    """A place on the Earth is better kept in a GeoTIFF, unless the name asks for OME."""
    return not is_placed(volume.about) or path.name.lower().endswith((".ome.tif", ".ome.tiff"))


WRITER = Writer((".tif", ".tiff"), _suits, check, write_ome_tiff, takes_levels=True)
