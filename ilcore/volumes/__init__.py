"""Volumes: opened from many formats, read by region, written as OME-Zarr, published in one step."""

from ilcore.volumes.addresses import is_remote
from ilcore.volumes.destination import check_destination, estimated_bytes
from ilcore.volumes.layout import Layout, layout_for
from ilcore.volumes.ome_zarr import Level, write_root
from ilcore.volumes.open import from_array, images_in, open_volume
from ilcore.volumes.pyramid import write_pyramid
from ilcore.volumes.volume import Volume
from ilcore.volumes.write import WriteTarget, create_array, open_target

__all__ = [
    "Layout",
    "Level",
    "Volume",
    "WriteTarget",
    "check_destination",
    "create_array",
    "estimated_bytes",
    "from_array",
    "images_in",
    "is_remote",
    "layout_for",
    "open_target",
    "open_volume",
    "write_pyramid",
    "write_root",
]
