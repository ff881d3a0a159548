"""Rasters that GDAL reads, through rasterio: JPEG 2000, and whatever nobody else here knows."""

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ilcore.formats.gdal import check_own, opened, read_block
from ilcore.formats.tiff_pixels import is_ramp
from ilcore.grammar.errors import BadVolume
from ilcore.volumes.axes import find_axes
from ilcore.volumes.georeference import affine_of, sides, unit_of, wkt2_of
from ilcore.volumes.ground_control import kept_of
from ilcore.volumes.marks import marks_in
from ilcore.volumes.scan_metadata import About, Affine, with_more
from ilcore.volumes.times import acquired_of, own_words
from ilcore.volumes.validity import Mask
from ilcore.volumes.volume import LARGEST_CHUNK_BYTES, Facts, Kind, Reopened

JP2_MARKS = (b"\x00\x00\x00\x0cjP", b"\xff\x4f\xff\x51")
#: So many bytes of notes beside a file are looked at.
MOST_NOTES = 8 * 2**20
JP2_SUFFIXES = (".jp2", ".j2k", ".jpx", ".j2c")


@dataclass(frozen=True)
class RasterSource(Reopened):
    """A raster by its name, bands first where there are several; opened on the first read.

    Args:
        name: Path, or GDAL's name of a part of a file.
        level: 0, or the number of an overview.
        is_plane: Whether there is one band, and so no axis of bands.
    """

    name: str
    level: int
    is_plane: bool

    @cached_property
    def _open(self) -> Any:
        return opened(self.name, self.level)

    @cached_property
    def _alone(self) -> threading.Lock:
        """GDAL allows one thread at a time in a dataset."""
        return threading.Lock()

    def read(self, index: tuple[slice, ...]) -> NDArray[Any]:
        y, x = index[-2:]
        window = ((y.start, y.stop), (x.start, x.stop))
        bands = [1] if self.is_plane else [band + 1 for band in range(index[0].start, index[0].stop)]
        with self._alone:
            block = read_block(self._open, bands, window)
        return block[0] if self.is_plane else block

    def shown(self, index: tuple[slice, ...]) -> NDArray[np.bool_]:
        """Return where GDAL's masks show a pixel."""
        from rasterio.enums import ColorInterp

        y, x = index[-2:]
        window = ((y.start, y.stop), (x.start, x.stop))
        bands = [1] if self.is_plane else [band + 1 for band in range(index[0].start, index[0].stop)]
        with self._alone:
            block = np.asarray(self._open.read_masks(bands, window=window) != 0)
            opacity = [self._open.colorinterp[band - 1] == ColorInterp.alpha for band in bands]
        block[opacity] = False
        return block[0] if self.is_plane else block


@dataclass(frozen=True)
class RasterMask(Reopened, Mask):
    """Where GDAL's masks show a pixel; of a band of opacity nothing is data."""

    name: str
    level: int
    is_plane: bool

    @cached_property
    def _source(self) -> RasterSource:
        return RasterSource(self.name, self.level, self.is_plane)

    def read(self, index: tuple[slice, ...]) -> NDArray[np.bool_]:
        return self._source.shown(index)


@dataclass(frozen=True)
class Georeference:
    """What GDAL says of a raster beyond its voxels."""

    about: About
    channels: tuple[str, ...]
    nodata: tuple[float, ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def sides(self) -> tuple[float, float] | None:
        """Length of a voxel along y and x, where it is known."""
        return None if self.about.affine is None else sides(self.about.affine)

    @property
    def unit(self) -> str | None:
        """Unit of the sides."""
        return unit_of(self.about.crs)


def open_raster(path: str, axes: str | None, level: int, image: str | None) -> tuple[RasterSource, Facts] | None:
    """Open a raster; None where rasterio is not installed, or GDAL does not know the format.

    Raises:
        BadVolume: It holds several images, or not the level.
    """
    check_own(path)
    found = _tried(_part(path, image))
    if found is None:
        return None
    with found as dataset:
        if dataset.count == 0:
            raise BadVolume(_several(dataset, path))
        levels = 1 + len(dataset.overviews(1))
        if not 0 <= level < levels:
            raise BadVolume(f"a level from 0 to {levels - 1} was wanted of {path}, got {level}")
        facts, is_masked = _facts(dataset, path, axes), _is_masked(dataset)
        name = str(dataset.name)
    if level:
        with opened(name, level) as coarse:
            facts = _coarser(facts, coarse, level)
    mask = RasterMask(name, level, len(facts.shape) == 2) if is_masked else None
    return RasterSource(name, level, len(facts.shape) == 2), replace(_with_levels(facts, levels, level), mask=mask)


def raster_images(path: str) -> tuple[str, ...]:
    """Return the names of the parts of a raster file that are images; none where it is one image itself."""
    found = _tried(path)
    if found is None:
        return ()
    with found as dataset:
        return tuple(_short(path, name) for name in dataset.subdatasets) if dataset.count == 0 else ()


def georeference(path: str) -> Georeference | None:
    """Return what GDAL says of a raster; None where rasterio is not installed, or GDAL does not know the format."""
    found = _tried(path)
    if found is None:
        return None
    with found as dataset:
        return _told_all(dataset)


def needs_rasterio(path: str, mark: bytes) -> bool:
    """Tell whether only rasterio can read a file, going by its first bytes and its name."""
    return mark.startswith(JP2_MARKS) or Path(path).suffix.lower() in JP2_SUFFIXES


def is_installed() -> bool:
    """Tell whether rasterio is there."""
    try:
        import rasterio  # noqa: F401
    except ImportError:
        return False
    return True


def _tried(name: str) -> Any:
    if not is_installed():
        return None
    from rasterio.errors import RasterioIOError

    try:
        return opened(name)
    except RasterioIOError:
        return None


def _facts(dataset: Any, path: str, axes: str | None) -> Facts:
    bands, told = dataset.count, _told_all(dataset)
    dtype = np.result_type(*dataset.dtypes)
    marks, unread = marks_in(list(told.nodata), dtype, "nodata")
    shape = (dataset.height, dataset.width) if bands == 1 else (bands, dataset.height, dataset.width)
    found = find_axes(axes, ("y", "x") if bands == 1 else ("c", "y", "x"), shape, path)
    block = dataset.block_shapes[0]
    _check_block(dataset, path)
    height, width = told.sides or (1.0, 1.0)
    steps = {"y": height, "x": width}
    return Facts(
        shape=shape,
        # GDAL converts bands of several types to the widest.
        dtype=dtype,
        axes=found,
        format=str(dataset.driver).lower(),
        chunks=block if bands == 1 else (1, *block),
        scale=tuple(steps.get(axis, 1.0) for axis in found),
        units=tuple(told.unit if axis in steps else None for axis in found),
        channels=told.channels,
        missing=next(iter(marks), None),
        also_missing=marks[1:],
        kind=_kind(dataset, path),
        remarks=(*told.remarks, *unread, *_opacity(dataset)),
        about=told.about,
    )


def _coarser(facts: Facts, dataset: Any, level: int) -> Facts:
    shape = (*facts.shape[:-2], dataset.height, dataset.width)
    ratios = [whole / length for whole, length in zip(facts.shape, shape, strict=True)]
    scale = tuple(a * b for a, b in zip(facts.scale or (1.0,) * len(shape), ratios, strict=True))
    block = dataset.block_shapes[0]
    return replace(facts, shape=shape, scale=scale, chunks=(*facts.chunks[:-2], *block), level=level)


def _with_levels(facts: Facts, levels: int, level: int) -> Facts:
    return replace(facts, levels=levels, level=level)


def _check_block(dataset: Any, path: str) -> None:
    """Refuse tiles of JPEG 2000 whose decoding takes too much: it keeps 32 bits of every sample of all bands."""
    height, width = dataset.block_shapes[0]
    needed = height * width * dataset.count * 4
    if str(dataset.driver).startswith("JP2") and needed > LARGEST_CHUNK_BYTES:
        raise BadVolume(
            f"tiles that unpack to at most {LARGEST_CHUNK_BYTES / 2**30:.0f} GiB were wanted, those of {path}, "
            f"{height} x {width} of {dataset.count} bands, take {needed / 2**30:.1f} GiB; write smaller tiles"
        )


def _told_all(dataset: Any) -> Georeference:
    told = _told(dataset)
    kept = kept_of(dataset)
    attributes = with_more(told.about.attributes, kept)
    return replace(told, about=replace(told.about, attributes=attributes))


def _told(dataset: Any) -> Georeference:
    tags = {key: value for key, value in dataset.tags().items() if key != "AREA_OR_POINT"}
    units = {unit for unit in dataset.units if unit}
    if len(units) == 1 and "units" not in tags:
        tags["units"] = units.pop()
    scales, offsets = set(dataset.scales), set(dataset.offsets)
    is_one = len(scales) == 1 and len(offsets) == 1
    if not is_one:
        # Bands that mean different things: nothing holds for all, so nothing is claimed.
        tags |= {"scales": list(dataset.scales), "offsets": list(dataset.offsets)}
    kept = {key: value for key, value in tags.items() if key not in own_words(tags)}
    about = About(
        crs=wkt2_of(dataset.crs.to_wkt()) if dataset.crs else None,
        affine=_affine(dataset),
        value_scale=float(scales.pop()) if is_one else 1.0,
        value_offset=float(offsets.pop()) if is_one else 0.0,
        acquired=acquired_of(tags),
        attributes=json.dumps(kept, sort_keys=True) if kept else None,
    )
    several = () if is_one else ("scales and offsets differ from band to band: kept as attributes, not applied",)
    nodata = tuple(value for value in dict.fromkeys(dataset.nodatavals) if value is not None)
    return Georeference(about, _names(dataset.descriptions), nodata, several)


def _affine(dataset: Any) -> Affine | None:
    return None if dataset.transform.is_identity else affine_of(tuple(dataset.transform)[:6])


def _names(descriptions: tuple[str | None, ...]) -> tuple[str, ...]:
    if not any(descriptions):
        return ()
    return tuple(name or f"channel {at}" for at, name in enumerate(descriptions))


def _is_masked(dataset: Any) -> bool:
    """Tell whether a mask or opacity says what is data."""
    from rasterio.enums import MaskFlags

    return any(MaskFlags.per_dataset in flags and MaskFlags.nodata not in flags for flags in dataset.mask_flag_enums)


def _opacity(dataset: Any) -> tuple[str, ...]:
    from rasterio.enums import ColorInterp

    held = [at for at, each in enumerate(dataset.colorinterp) if each == ColorInterp.alpha]
    return tuple(f"sample {at} is opacity: kept as it is, and where it is 0 there is no data" for at in held)


def _kind(dataset: Any, path: str) -> Kind:
    from rasterio.enums import ColorInterp

    if dataset.colorinterp[0] == ColorInterp.palette:
        try:
            table = dataset.colormap(1)
        except ValueError:
            return "palette"
        if not is_ramp(np.array([table[at][:3] for at in sorted(table)]).T):
            return "palette"
    is_thematic = dataset.tags(1).get("LAYER_TYPE", "").lower() == "thematic"
    return "labels" if is_thematic or has_categories(path) else "image"


def has_categories(path: str) -> bool:
    """Tell whether GDAL's notes beside a file name classes for its values."""
    beside = Path(f"{path}.aux.xml")
    if not beside.is_file():
        return False
    with beside.open("rb") as file:
        return b"<Category>" in file.read(MOST_NOTES)


def _part(path: str, image: str | None) -> str:
    if image is None:
        return path
    found = _tried(path)
    if found is None:
        return path
    with found as dataset:
        parts: Mapping[str, str] = {_short(path, name): name for name in dataset.subdatasets}
    if image not in parts:
        raise BadVolume(
            f"an image of {path} was wanted, got {image!r}; "
            + (f"it has {', '.join(list(parts)[:6])}" if parts else "it is a single image; leave image out")
        )
    return parts[image]


def _short(path: str, name: str) -> str:
    """Return the part of GDAL's name that follows the path."""
    return name.rpartition(path)[2].strip('":/') or name


def _several(dataset: Any, path: str) -> str:
    names = [_short(path, name) for name in dataset.subdatasets]
    if not names:
        return f"a raster with bands was wanted, {path} has none; export one from the program that wrote it"
    return (
        f"one image was wanted, {path} holds {len(names)}: {', '.join(names[:6])}; "
        f"choose one with image= (--image), for example {names[0]}"
    )
