"""TIFF, ImageJ and OME-TIFF stacks as sources."""

import logging
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import tifffile
import zarr
from numpy.typing import NDArray

from ilcore.grammar.errors import BadVolume
from ilcore.volumes.axes import read_axes
from ilcore.volumes.in_memory import mapped_chunks
from ilcore.volumes.tiff_scale import channel_names, voxel_size
from ilcore.volumes.volume import Facts, Reopened, check_dtype

NODATA_TAG = 42113


@dataclass(frozen=True)
class TiffSource(Reopened):
    """One image of a TIFF file: mapped into memory where it lies there plain, else decoded strip by strip."""

    path: str
    level: int = 0

    @cached_property
    def array(self) -> Any:
        """The mapped array, or a Zarr view of strips or tiles."""
        file = tifffile.TiffFile(self.path)
        image = file.series[0].levels[self.level]
        if _is_plain(image):
            with file:
                return _mapped(self.path, file.byteorder, image)
        # The view keeps the file open for as long as this source lives.
        weakref.finalize(self, file.close)
        return zarr.open_array(file.series[0].aszarr(level=self.level, maxworkers=1), mode="r")

    def read(self, index: tuple[slice, ...]) -> NDArray[Any]:
        return np.asarray(self.array[index])


def open_tiff(path: str, axes: str | None, level: int) -> tuple[TiffSource, Facts]:
    """Open the first image of a TIFF file.

    Raises:
        BadVolume: The file is damaged or truncated, its compression is unknown, or it holds no volume.
    """
    try:
        with _errors_raised(), tifffile.TiffFile(path) as file:
            len(file.pages)  # walks the chain of pages: a truncated file breaks it
            facts = _facts(file, path, axes, level)
            image = file.series[0].levels[level]
            if _is_plain(image):
                _mapped(path, file.byteorder, image)  # fails where the file is shorter than it says
    except (tifffile.TiffFileError, ValueError, IndexError, KeyError, OSError) as error:
        raise BadVolume(
            f"a whole TIFF file was wanted at {path}; it is truncated or damaged ({error}); take a fresh copy"
        ) from error
    return TiffSource(path, level), facts


def _facts(file: tifffile.TiffFile, path: str, axes: str | None, level: int) -> Facts:
    image = _image(file, path, level)
    check_dtype(path, np.dtype(image.dtype))
    found = read_axes(axes or _letters(image.axes), len(image.shape), path)
    finest = file.series[0].levels[0].shape
    sizes = voxel_size(file)
    shrunk = [whole / length for whole, length in zip(finest, image.shape, strict=True)]
    return Facts(
        shape=tuple(image.shape),
        dtype=np.dtype(image.dtype),
        axes=found,
        format=_format(file),
        chunks=_chunks(image, found),
        scale=tuple(sizes.get(axis, (1.0, None))[0] * factor for axis, factor in zip(found, shrunk, strict=True)),
        units=tuple(sizes.get(axis, (1.0, None))[1] for axis in found),
        channels=channel_names(file),
        missing=_nodata(image.keyframe),
        level=level,
        levels=len(file.series[0].levels),
    )


def _image(file: tifffile.TiffFile, path: str, level: int) -> Any:
    if not file.series or not file.series[0].shape:
        raise BadVolume(f"a TIFF with an image was wanted, {path} has none")
    levels = file.series[0].levels
    if not 0 <= level < len(levels):
        raise BadVolume(f"a level from 0 to {len(levels) - 1} was wanted of {path}, got {level}")
    compression = levels[level].keyframe.compression
    if compression not in tifffile.TIFF.DECOMPRESSORS:
        raise BadVolume(f"a known compression was wanted in {path}, got {compression!r}; rewrite it with deflate")
    return levels[level]


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
    return "imagej tiff" if file.is_imagej else "tiff"


def _chunks(image: Any, axes: str) -> tuple[int, ...]:
    if _is_plain(image):
        return mapped_chunks(tuple(image.shape), axes, image.dtype.itemsize)
    store = image.aszarr(level=0, multiscales=False)
    try:
        return tuple(zarr.open_array(store, mode="r").chunks)
    finally:
        store.close()


def _is_plain(image: Any) -> bool:
    return image.dataoffset is not None and image.keyframe.is_memmappable and image.transform is None


def _mapped(path: str, byteorder: str, image: Any) -> NDArray[Any]:
    dtype = np.dtype(image.dtype).newbyteorder("<" if byteorder == "<" else ">")
    return np.memmap(path, dtype=dtype, mode="r", offset=image.dataoffset, shape=tuple(image.shape))


def _nodata(keyframe: Any) -> float | None:
    """GDAL's mark for missing values; without its tag tifffile answers 0, which is a value like any other."""
    return float(keyframe.nodata) if NODATA_TAG in keyframe.tags else None


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


class _Heard(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())
