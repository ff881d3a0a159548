"""Arrays in memory and .npy files as sources."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ilcore.grammar.errors import BadVolume
from ilcore.volumes.axes import find_axes
from ilcore.volumes.volume import Facts, Reopened, check_dtype


@dataclass(frozen=True)
class ArraySource:
    """An array in memory."""

    array: NDArray[Any] = field(compare=False, repr=False)

    def read(self, index: tuple[slice, ...]) -> NDArray[Any]:
        return self.array[index]


@dataclass(frozen=True)
class NpySource(Reopened):
    """A .npy file, mapped into memory: the operating system reads what is touched."""

    path: str

    @cached_property
    def array(self) -> NDArray[Any]:
        """The mapped array."""
        return np.load(self.path, mmap_mode="r", allow_pickle=False)

    def read(self, index: tuple[slice, ...]) -> NDArray[Any]:
        return self.array[index]


def open_npy(path: str, axes: str | None) -> tuple[NpySource, Facts]:
    """Open a .npy file.

    Raises:
        BadVolume: The file is damaged or holds no volume.
    """
    source = NpySource(path)
    try:
        array = source.array
    except (ValueError, EOFError, OSError, SyntaxError) as error:
        raise BadVolume(
            f"a .npy file of numbers was wanted at {path}; it is truncated, damaged or holds objects ({error})"
        ) from error
    return source, array_facts(array, axes, "npy", path)


def array_facts(array: NDArray[Any], axes: str | None, format_name: str, uri: str) -> Facts:
    """Describe an array that says nothing about itself but shape and type.

    Raises:
        BadVolume: 0-d, no numbers, or axes that do not fit.
    """
    if array.ndim == 0:
        raise BadVolume(f"a volume with at least y and x was wanted, {uri} is a single number (0-d)")
    check_dtype(uri, array.dtype)
    found = find_axes(axes, (), array.shape, uri)
    chunks = mapped_chunks(array.shape, found, array.itemsize)
    return Facts(shape=array.shape, dtype=array.dtype, axes=found, format=format_name, chunks=chunks)


def mapped_chunks(shape: tuple[int, ...], axes: str, itemsize: int) -> tuple[int, ...]:
    """Return what to read at once from an array without chunks: one plane, of which at most one GiB."""
    row = itemsize * shape[axes.index("x")]
    most = {"x": shape[axes.index("x")], "y": max(1, 2**30 // max(1, row))}
    return tuple(min(length, most.get(axis, 1)) for axis, length in zip(axes, shape, strict=True))
