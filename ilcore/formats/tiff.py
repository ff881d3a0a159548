"""TIFF, ImageJ and OME-TIFF stacks as sources."""

import json
import logging
import math
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from itertools import islice
from typing import Any

import numpy as np
import tifffile
import zarr
from numpy.typing import NDArray

from ilcore.formats import ome_xml
from ilcore.formats.beside_masks import OpacityMask, WrittenMask
from ilcore.formats.geotiff import GEO_TAGS, geotiff_told
from ilcore.formats.imagej import Calibration, calibration
from ilcore.formats.in_memory import mapped_chunks
from ilcore.formats.ome_files import open_file
from ilcore.formats.pictures import bounded_decoder
from ilcore.formats.plain_file import PlainArray
from ilcore.formats.raster import Georeference, has_categories
from ilcore.formats.tiff_masks import mask_beside, written_shape
from ilcore.formats.tiff_pixels import kind_of, opacity_of, remarks_of
from ilcore.formats.tiff_scale import NODATA_TAG, Sizes, unused_resolution, voxel_size
from ilcore.grammar.errors import BadVolume
from ilcore.stores.leads import allowed, held_to
from ilcore.volumes.axes import find_axes
from ilcore.volumes.georeference import affine_of
from ilcore.volumes.marks import Mark, marks_in
from ilcore.volumes.scan_metadata import About
from ilcore.volumes.validity import all_of
from ilcore.volumes.volume import Facts, Reopened, check_dtype


@dataclass(frozen=True)
class TiffSource(Reopened):
    """One image of a TIFF file: read from where it lies there plain, else decoded strip by strip."""

    path: str
    level: int = 0
    series: int = 0
    fill: Mark = 0
    within: tuple[str, ...] = field(default_factory=allowed, compare=False)

    @cached_property
    def array(self) -> Any:
        """The array in the file, or a Zarr view of strips or tiles."""
        with held_to(self.path, self.within):
            file = open_file(self.path)
        image = file.series[self.series].levels[self.level]
        if _is_plain(image):
            with file:
                return _plain(file.byteorder, image)
        _bound(image)
        # The view keeps the file open for as long as this source lives.
        weakref.finalize(self, file.close)
        view = file.series[self.series].aszarr(level=self.level, maxworkers=1, fillvalue=self.fill)
        return zarr.open_array(view, mode="r")

    def absent_pieces(self, pages: int) -> tuple[int, int]:
        """Return how many strips and tiles of the first pages were never written, and how many there should be."""
        with held_to(self.path, self.within), open_file(self.path) as file:
            image = file.series[self.series].levels[self.level]
            each = [0] * len(image.keyframe.databytecounts)
            counts = [
                count
                for page in islice(image.pages, pages)
                for count in (each if page is None else page.databytecounts)
            ]
        return sum(count == 0 for count in counts), len(counts)

    def read(self, index: tuple[slice, ...]) -> NDArray[Any]:
        array = self.array
        return array.read(index) if isinstance(array, PlainArray) else np.asarray(array[index])


def open_tiff(path: str, axes: str | None, level: int, image: str | None = None) -> tuple[TiffSource, Facts]:
    """Open an image of a TIFF file.

    Raises:
        BadVolume: The file is damaged or truncated, its compression is unknown, it holds no volume, or several.
    """
    with _opened(path) as file:
        series = _chosen(file, path, image)
        facts = _facts(file, path, axes, Part(series, level))
        held = file.series[series].levels[level]
        if _is_plain(held):
            _plain(file.byteorder, held).check_length()
            source = TiffSource(path, level, series)
        else:
            source = TiffSource(path, level, series, facts.missing or 0)
            other = replace(source, fill=1 if not source.fill else 0)
            facts = replace(
                facts, mask=WrittenMask(source, other, math.prod(facts.shape) // math.prod(held.keyframe.shape))
            )
        page, masks = held.keyframe, mask_beside(file, path, series, facts, TiffSource)
        opacity = opacity_of(page)
        alpha = (
            None if opacity is None or "c" not in facts.axes else OpacityMask(source, facts.axes.index("c"), opacity)
        )
    return source, replace(facts, mask=all_of((facts.mask, alpha, masks)))


def tiff_images(path: str) -> tuple[str, ...]:
    """Return the names of the images in a TIFF file: their numbers; none where there is only one.

    Raises:
        BadVolume: The file is damaged or truncated.
    """
    with _opened(path) as file:
        names = tuple(map(str, _pictures(file)))
    return names if len(names) > 1 else ()


@dataclass(frozen=True)
class Part:
    """A level of one of the images in a file."""

    series: int
    level: int


@contextmanager
def _opened(path: str) -> Iterator[tifffile.TiffFile]:
    try:
        with _errors_raised(), open_file(path) as file:
            len(file.pages)  # walks the chain of pages: a truncated file breaks it
            yield file
    except (tifffile.TiffFileError, ValueError, IndexError, KeyError, OSError) as error:
        raise BadVolume(
            f"a whole TIFF file was wanted at {path}; it is truncated or damaged ({error}); take a fresh copy"
        ) from error


def _pictures(file: tifffile.TiffFile) -> list[int]:
    """Return the numbers of the images; masks of transparency, which GDAL stores beside pictures, are none."""
    return [at for at, each in enumerate(file.series) if each.shape and not each.keyframe.is_mask]


def _chosen(file: tifffile.TiffFile, path: str, image: str | None) -> int:
    held = _pictures(file)
    if not held:
        raise BadVolume(f"a TIFF with an image was wanted, {path} has none")
    if image is None and len(held) == 1:
        return held[0]
    few = ", ".join(f"{at} ({' x '.join(map(str, file.series[at].shape))})" for at in held[:6])
    if image is None:
        raise BadVolume(
            f"one image was wanted, {path} holds {len(held)}: {few}; choose one with image= (--image), "
            f"for example {held[0]}"
        )
    if image not in map(str, held):
        raise BadVolume(f"an image of {path} was wanted, got {image!r}; it has {few}")
    return int(image)


def _facts(file: tifffile.TiffFile, path: str, axes: str | None, part: Part) -> Facts:
    image = _image(file, path, part)
    kind = kind_of(image.keyframe)
    dtype = np.dtype(image.dtype)
    check_dtype(path, dtype)
    found = find_axes(axes, _letters(image.axes), image.shape, path)
    finest = file.series[part.series].levels[0].shape
    told, lost = geotiff_told(path, file.series[part.series].levels[0].keyframe)
    beyond = ome_xml.beyond_ome(file)
    sizes = _sizes(file, told, part) | _own_sizes(beyond)
    shrunk = [_factor(whole, length) for whole, length in zip(finest, image.shape, strict=True)]
    shape, absent = written_shape(image, file, path, found)
    marks, unread = _nodata(image.keyframe, told, dtype)
    meant = calibration(file.imagej_metadata or {}) if file.is_imagej else Calibration()
    return Facts(
        shape=shape,
        dtype=dtype,
        axes=found,
        format=_format(file),
        chunks=_chunks(image, found),
        scale=tuple(sizes.get(axis, (1.0, None))[0] * factor for axis, factor in zip(found, shrunk, strict=True)),
        units=tuple(sizes.get(axis, (1.0, None))[1] for axis in found),
        origin=_origin(beyond, found, sizes, shrunk),
        channels=ome_xml.channel_names(file, part.series) or told.channels,
        missing=next(iter(marks), None),
        also_missing=marks[1:],
        kind="labels" if kind == "image" and has_categories(path) else kind,
        remarks=(
            *beyond.get("not_carried_over", ()),
            *told.remarks,
            *unread,
            *absent,
            *meant.remarks,
            *remarks_of(image.keyframe),
            *lost,
            *_unused(file, part.series),
        ),
        display=beyond.get("display") or ome_xml.display(file, part.series) or _lookup_tables(file),
        level=part.level,
        levels=len(file.series[part.series].levels),
        about=_about(_calibrated(told.about, meant), beyond, ome_xml.acquired(file, part.series)),
    )


def _unused(file: tifffile.TiffFile, series: int) -> Iterator[str]:
    yield from filter(None, (unused_resolution(file), ome_xml.unmatched(file, series)))


def _factor(whole: int, length: int) -> float:
    """Return how much coarser a level is: a whole number where only a rest at the edge was rounded up."""
    ratio = whole / length
    return round(ratio) if -(-whole // max(1, round(ratio))) == length else ratio


def _origin(beyond: Mapping[str, Any], axes: str, sizes: Sizes, shrunk: Sequence[float]) -> tuple[float, ...] | None:
    """Return the middle of the first voxel, half a voxel further in where voxels were averaged."""
    said = dict(zip("tczyx", beyond.get("origin", ()), strict=False))
    if not said:
        return None
    return tuple(
        said.get(axis, 0.0) + sizes.get(axis, (1.0, None))[0] * (factor - 1) / 2
        for axis, factor in zip(axes, shrunk, strict=True)
    )


def _about(told: About, beyond: Mapping[str, Any], acquired: str | None) -> About:
    said = {each.name: beyond[each.name] for each in fields(About) if each.name in beyond}
    if "affine" in said:
        said["affine"] = affine_of(said["affine"])
    return replace(told, **{**said, "acquired": acquired or told.acquired})


def _sizes(file: tifffile.TiffFile, told: Georeference, part: Part) -> Sizes:
    if told.sides is None:
        return voxel_size(file, part.series)
    return {axis: (side, told.unit) for axis, side in zip("yx", told.sides, strict=True)}


def _own_sizes(beyond: Mapping[str, Any]) -> Sizes:
    """Return sizes as a file of ours says them: OME has no word for some units."""
    pairs = zip("tczyx", beyond.get("scale", ()), beyond.get("units", ()), strict=False)
    return {axis: (float(size), unit) for axis, size, unit in pairs}


def _lookup_tables(file: tifffile.TiffFile) -> str | None:
    """Return ImageJ's colour of each channel, which is the last entry of its table, in the form of OME-Zarr."""
    tables = (file.imagej_metadata or {}).get("LUTs") if file.is_imagej else None
    if not tables:
        return None
    colours = ["".join(f"{int(part):02X}" for part in np.asarray(table)[:, -1]) for table in tables]
    return json.dumps({"channels": [{"color": colour} for colour in colours]})


def _image(file: tifffile.TiffFile, path: str, part: Part) -> Any:
    levels = file.series[part.series].levels
    if not 0 <= part.level < len(levels):
        raise BadVolume(f"a level from 0 to {len(levels) - 1} was wanted of {path}, got {part.level}")
    compression = levels[part.level].keyframe.compression
    if compression not in tifffile.TIFF.DECOMPRESSORS:
        raise BadVolume(f"a known compression was wanted in {path}, got {compression!r}; rewrite it with deflate")
    return levels[part.level]


def _letters(axes: str) -> str:
    """Return tifffile's axis codes as ours: samples are channels, pages of unknown meaning are z, else t."""
    letters = axes.lower().replace("s", "c")
    for code in "iq":
        free = next((axis for axis in "zt" if axis not in letters), code)
        letters = letters.replace(code, free, 1)
    return letters


def _format(file: tifffile.TiffFile) -> str:
    if file.is_ome:
        return "ome-tiff"
    if any(tag in file.pages.first.tags for tag in GEO_TAGS):
        return "geotiff"
    return "imagej tiff" if file.is_imagej else "tiff"


def _chunks(image: Any, axes: str) -> tuple[int, ...]:
    if _is_plain(image):
        return mapped_chunks(tuple(image.shape), axes, image.dtype.itemsize)
    store = image.aszarr(level=0, multiscales=False, fillvalue=0)
    try:
        return tuple(zarr.open_array(store, mode="r").chunks)
    finally:
        store.close()


def _is_plain(image: Any) -> bool:
    return image.dataoffset is not None and image.keyframe.is_memmappable and image.transform is None


def _bound(image: Any) -> None:
    """Let no tile announce more than it holds; all pages of an image share the decoder of this one."""
    page = image.keyframe
    sides = (page.tilelength, page.tilewidth) if page.is_tiled else (page.rowsperstrip, page.imagewidth)
    samples = page.samplesperpixel if page.planarconfig == 1 else 1
    most = math.prod(sides) * max(1, page.tiledepth if page.is_tiled else 1) * samples * page.dtype.itemsize
    page.__dict__["decode"] = bounded_decoder(page.decode, page.compression, most)


def _plain(byteorder: str, image: Any) -> PlainArray:
    dtype = np.dtype(image.dtype).newbyteorder("<" if byteorder == "<" else ">")
    # An image of a set of files need not lie in the one that was opened.
    return PlainArray(str(image.keyframe.parent.filehandle.path), dtype, int(image.dataoffset), tuple(image.shape))


def _nodata(keyframe: Any, told: Georeference, dtype: np.dtype[Any]) -> tuple[tuple[Mark, ...], tuple[str, ...]]:
    """Read GDAL's mark for missing values, in its tag, else beside the file; tifffile answers 0 where it cannot."""
    said = keyframe.tags.valueof(NODATA_TAG)
    return marks_in(list(told.nodata) if said is None else said, dtype, "GDAL_NODATA")


def _calibrated(about: About, meant: Calibration) -> About:
    """Add what ImageJ says of the numbers."""
    if meant == Calibration():
        return about
    kept = {**json.loads(about.attributes or "{}"), **dict(meant.attributes)}
    attributes = json.dumps(kept, sort_keys=True) if kept else None
    return replace(about, value_scale=meant.scale, value_offset=meant.offset, attributes=attributes)


@contextmanager
def _errors_raised() -> Iterator[None]:
    """Turn what tifffile only logs as an error into one: a truncated stack would open with fewer pages."""
    heard = _Heard()
    logger = logging.getLogger("tifffile")
    before = (logger.level, logger.propagate, logger.disabled)
    logger.addHandler(heard)
    # Whatever the application did to this logger must not make us deaf.
    logger.setLevel(logging.ERROR)
    logger.propagate, logger.disabled = False, False
    try:
        yield
    finally:
        logger.removeHandler(heard)
        logger.setLevel(before[0])
        logger.propagate, logger.disabled = before[1:]
    if heard.messages:
        raise tifffile.TiffFileError(heard.messages[0])


def _is_news(record: logging.LogRecord) -> bool:
    """Tell whether a message of tifffile's says what we do not find out ourselves: marks we read on our own."""
    return "GDAL_NODATA" not in record.getMessage()


# Every worker would write them, for each file that it opens.
logging.getLogger("tifffile").addFilter(_is_news)


class _Heard(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())
