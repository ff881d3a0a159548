"""Volumes that say all they can, and how they are stored as results."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ilcore.formats.open import from_array, open_volume
from ilcore.grammar.region import blocks, whole
from ilcore.results.layout import ResultFormat
from ilcore.results.ome_zarr import create_finest, write_root
from ilcore.results.pyramid import write_pyramid
from ilcore.volumes.georeference import wkt2_of
from ilcore.volumes.scan_metadata import About
from ilcore.volumes.volume import Volume

RESULT_FORMATS: tuple[ResultFormat, ...] = ("ome-zarr 0.5", "ome-zarr 0.4")
#: The fields that a result must keep.
FIELDS = ("axes", "scale", "units", "origin", "channels", "display", "missing", "about")


def store(root: Path | str, volume: Volume, result_format: ResultFormat = "ome-zarr 0.5", **more: Any) -> Volume:
    """Write a volume as a result is written, and open it."""
    target = create_finest(
        f"{root}/0", shape=volume.shape, dtype=volume.dtype, axes=volume.axes, missing=volume.missing,
        result_format=result_format,
    )  # fmt: skip
    for region in blocks(target.shape, target.unit):
        target.write(region, volume.read(region))
    write_root(str(root), volume=volume, levels=write_pyramid(str(root), volume), name="scan", **more)
    return open_volume(root)


def channel(label: str, colour: str) -> dict[str, Any]:
    """Return complete display settings of a channel."""
    window = {"min": 0.0, "max": 65535.0, "start": 10.0, "end": 1000.5}
    return {"label": label, "color": colour, "active": True, "window": window}


def scan(height: int = 600, width: int = 500) -> Volume:
    """Return two bands of the Earth that say all they can."""
    values = np.random.default_rng(0).integers(10, 4000, (2, height, width)).astype("u2")
    values[0, :50] = 7
    volume = from_array(
        values, "cyx", scale=(1, 20, 10), units=(None, "meter", "meter"), channels=("red", "nir"), missing=7
    )
    about = About(
        crs=wkt2_of("EPSG:32633"), affine=(10.0, 0.0, 500000.0, 0.0, -20.0, 5200000.0), value_scale=0.0001,
        value_offset=-0.1, acquired="2024-05-06T07:08:09.250000+02:00", attributes='{"mission": "S2"}',
    )  # fmt: skip
    display = json.dumps({"channels": [channel("red", "FF0000"), channel("nir", "880000")]}, sort_keys=True)
    return replace(volume, about=about, display=display)


def voxels(volume: Volume) -> Any:
    """Return all voxels, t c z y x."""
    return volume.read(whole(volume.shape))
