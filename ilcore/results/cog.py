"""Volumes as Cloud Optimized GeoTIFF, through rasterio."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ilcore.formats.gdal import not_georeferenced
from ilcore.formats.raster import is_installed
from ilcore.grammar.errors import BadInput
from ilcore.grammar.region import Region, blocks, five
from ilcore.results.cf_attributes import mark_of, scan_attributes
from ilcore.results.writer import Writer
from ilcore.volumes.volume import STREAM_BYTES, Volume

#: Side of a tile.
SIDE = 512
#: What GDAL may keep in memory.
CACHE_BYTES = 64 * 2**20


def check(volume: Volume, path: Path) -> None:
    """Refuse what a GeoTIFF cannot hold.

    Raises:
        BadInput: Several planes or points in time, a type that GDAL does not know, or rasterio is not installed.
    """
    if not is_installed():
        raise BadInput(f"rasterio was wanted to write {path}, it is not installed; pip install 'ilcore[geo]'")
    t, _, z, _, _ = volume.shape
    if t * z > 1:
        raise BadInput(
            f"one plane was wanted for the GeoTIFF {path}, got {t} points in time and {z} planes; choose one with "
            "roi= (--roi z=0:1), or write an OME-TIFF (*.ome.tif)"
        )
    if volume.dtype.name == "float16":
        raise BadInput(f"a type that GDAL knows was wanted for the GeoTIFF {path}, got float16; convert it to float32")


def write_cog(path: Path, volume: Volume) -> None:
    """Write a volume of one plane; its channels become bands. Needs free space for a second copy beside the file.

    Args:
        path: The file; its folder holds the copy.
        volume: What `check` lets pass.
    """
    import rasterio
    from rasterio.shutil import copy

    plain = path.with_name(f"{path.name}.plain.tif")
    with rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES, GDAL_TIFF_INTERNAL_MASK=True), not_georeferenced():
        _write_plain(plain, volume)
        # GDAL makes a COG only out of a file that is complete.
        copy(
            str(plain), str(path), driver="COG", compress="deflate", predictor="yes", blocksize=SIDE,
            overview_resampling="average", bigtiff="if_safer",
        )  # fmt: skip
    plain.unlink()


def _write_plain(path: Path, volume: Volume) -> None:
    import rasterio
    from rasterio.windows import Window

    with rasterio.open(path, "w", **_profile(volume)) as to:
        for region in _strips(volume):
            _, _, _, (top, bottom), (left, right) = region
            window = Window(left, top, right - left, bottom - top)
            to.write(volume.read(region)[0, :, 0], window=window)
            if volume.mask is not None:
                # One mask for all bands: what none of them shows.
                to.write_mask(volume.shown(region)[0, :, 0].any(axis=0), window=window)
        about = volume.about
        to.descriptions = volume.channels
        to.scales, to.offsets = (about.value_scale,) * to.count, (about.value_offset,) * to.count
        if volume.remarks:
            to.update_tags(not_carried_over=_word(list(volume.remarks)))
        to.update_tags(**{key: _word(value) for key, value in scan_attributes(about).items()})


def _profile(volume: Volume) -> dict[str, Any]:
    from rasterio.crs import CRS
    from rasterio.transform import Affine

    about, count = volume.about, volume.shape[1]
    return {
        "driver": "GTiff", "height": volume.shape[3], "width": volume.shape[4], "count": count,
        "dtype": volume.dtype.name, "nodata": mark_of(volume.missing, volume.dtype),
        "crs": CRS.from_user_input(about.crs) if about.crs else None,
        "transform": Affine(*about.affine) if about.affine else None,
        "tiled": True, "blockxsize": SIDE, "blockysize": SIDE, "compress": "deflate", "zlevel": 1,
        "interleave": "pixel", "bigtiff": "if_safer",
        # Otherwise GDAL takes a fourth band for transparency.
        **({} if count == 3 else {"photometric": "minisblack", "alpha": "unspecified"}),
    }  # fmt: skip


def _strips(volume: Volume) -> Iterator[Region]:
    """Yield blocks of whole tiles and all bands, as wide as memory allows."""
    tile = SIDE * SIDE * volume.shape[1] * volume.dtype.itemsize
    wide = SIDE * max(1, STREAM_BYTES // tile)
    return blocks(volume.shape, five([1, volume.shape[1], 1, SIDE, wide]))


def _word(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def _write(path: Path, levels: Sequence[Volume]) -> None:
    write_cog(path, levels[0])


WRITER = Writer((".tif", ".tiff"), lambda volume, path: True, check, _write, takes_levels=False)
