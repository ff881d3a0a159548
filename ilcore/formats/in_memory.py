"""Arrays in memory as volumes, and what is true of any array that says nothing of itself."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ilcore.formats.axes_adapter import adapted
from ilcore.formats.plain_file import PlainArray
from ilcore.grammar.errors import BadVolume
from ilcore.volumes.axes import find_axes
from ilcore.volumes.marks import Mark
from ilcore.volumes.volume import SourceInfo, Volume, check_dtype, make_volume


@dataclass(frozen=True)
class ArraySource:
    """An array in memory."""

    array: NDArray[Any] = field(compare=False, repr=False)

    def read(self, index: tuple[slice, ...]) -> NDArray[Any]:
        return self.array[index]


def from_array(
    array: ArrayLike,
    axes: str | None = None,
    *,
    scale: Sequence[float] | None = None,
    units: Sequence[str | None] | None = None,
    channels: Sequence[str] = (),
    missing: Mark | None = None,
) -> Volume:
    """Give an array in memory the face of a volume.

    Args:
        array: One to five axes.
        axes: Their names, for example "czyx"; without them x, yx, zyx, czyx, tczyx.
        scale: Size of a voxel, one number an axis of the array.
        units: Units of `scale`.
        channels: Names of the channels.
        missing: The value that means "no data here".

    Raises:
        BadVolume: The array is no volume.
    """
    held = np.asarray(array)
    facts = replace(
        array_info(held, axes, "array", "the array"),
        scale=tuple(map(float, scale)) if scale is not None else None,
        units=tuple(units) if units is not None else None,
        channels=tuple(channels),
    )
    return make_volume("memory", *adapted(ArraySource(held), facts.with_mark(missing)))


def array_info(array: NDArray[Any] | PlainArray, axes: str | None, format_name: str, uri: str) -> SourceInfo:
    """Describe an array that says nothing about itself but shape and type.

    Raises:
        BadVolume: 0-d, no numbers, or axes that do not fit.
    """
    if not array.shape:
        raise BadVolume(f"a volume with at least y and x was wanted, {uri} is a single number (0-d)")
    check_dtype(uri, array.dtype)
    found = find_axes(axes, (), array.shape, uri)
    chunks = mapped_chunks(array.shape, found, array.dtype.itemsize)
    return SourceInfo(shape=array.shape, dtype=array.dtype, axes=found, format=format_name, chunks=chunks)


def mapped_chunks(shape: tuple[int, ...], axes: str, itemsize: int) -> tuple[int, ...]:
    """Return what to read at once from an array without chunks: one plane, of which at most one GiB."""
    row = itemsize * shape[axes.index("x")]
    most = {"x": shape[axes.index("x")], "y": max(1, 2**30 // max(1, row))}
    return tuple(min(length, most.get(axis, 1)) for axis, length in zip(axes, shape, strict=True))
