"""Volumes: opened from many formats, read by region, written as OME-Zarr."""

from ilcore.volumes.open import from_array, is_remote, open_volume
from ilcore.volumes.volume import Volume

__all__ = ["Volume", "from_array", "is_remote", "open_volume"]
