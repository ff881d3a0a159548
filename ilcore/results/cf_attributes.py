"""What a result says of its voxels and its scan, in the words of CF and xarray, so that others understand it."""

import base64
import json
import struct
from typing import Any

import numpy as np

from ilcore.formats.variable import UNDERSTOOD
from ilcore.volumes.marks import Mark
from ilcore.volumes.scan_metadata import About
from ilcore.volumes.times import OWN_TIME, acquired_of
from ilcore.volumes.volume import Volume

#: Names of the least and the largest valid value in CF.
ENDS = ("valid_min", "valid_max")
#: Attributes that a result shares with what its source says beyond it.
SHARED = ("ome", "zarr_conventions")
#: Attributes of a scan that CF keeps at the array itself.
OF_ARRAYS = ("units", "long_name", "standard_name")


def voxel_attributes(volume: Volume, zarr_format: int) -> dict[str, Any]:
    """Return the attributes of an array that holds voxels like those of a volume.

    Args:
        volume: The source.
        zarr_format: 2 or 3; xarray writes the mark for missing values differently into each.
    """
    about, said = volume.about, scan_attributes(volume.about)
    found: dict[str, Any] = {key: said[key] for key in OF_ARRAYS if _is_plain(said.get(key))}
    missing = mark_of(volume.missing, volume.dtype)
    if missing is not None:
        found["_FillValue"] = missing if zarr_format == 2 else _for_xarray(missing)
    if volume.also_missing:
        found["missing_value"] = list(volume.validity.marks)
    found |= {key: end for key, end in zip(ENDS, volume.valid_range, strict=True) if end is not None}
    if (about.value_scale, about.value_offset) != (1.0, 0.0):
        found |= {"scale_factor": about.value_scale, "add_offset": about.value_offset}
    return found


def scan_attributes(about: About) -> dict[str, Any]:
    """Return the attributes of the group: those of the source, and when the scan was taken."""
    # NaN and infinities are no JSON: a viewer would refuse the whole file.
    said = json.loads(about.attributes, parse_constant=str) if about.attributes else {}
    kept = {key: value for key, value in said.items() if key not in UNDERSTOOD or key in SHARED}
    is_told = about.acquired in (None, acquired_of(kept))
    return kept if is_told else {**kept, OWN_TIME: about.acquired}


def mark_of(missing: Mark | None, dtype: np.dtype[Any]) -> int | float | None:
    """Return the mark for missing values as the type holds it; None where no voxel of this type can be it."""
    if missing is None or dtype.kind == "f":
        return missing
    info = np.iinfo(dtype)
    return int(missing) if missing == int(missing) and info.min <= missing <= info.max else None


def _for_xarray(missing: int | float) -> int | str:
    """Xarray keeps floats in Zarr v3 as their eight bytes."""
    return missing if isinstance(missing, int) else base64.standard_b64encode(struct.pack("<d", missing)).decode()


def _is_plain(said: Any) -> bool:
    """Tell whether a text says nothing that xarray would turn into dates."""
    return isinstance(said, str) and " since " not in said
