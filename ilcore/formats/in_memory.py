"""Arrays in memory and .npy files as sources."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ilcore.formats.npy_header import DAMAGE, read_header
from ilcore.formats.plain_file import PlainArray
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
    """A .npy file, of which only what is touched is read."""

    path: str

    @cached_property
    def array(self) -> PlainArray:
        """The array in the file."""
        with Path(self.path).open("rb") as file:
            shape, is_fortran, dtype, offset = read_header(file)
        return PlainArray(self.path, dtype, offset, shape, is_fortran)

    def read(self, index: tuple[slice, ...]) -> NDArray[Any]:
        return self.array.read(index)


def open_npy(path: str, axes: str | None) -> tuple[NpySource, Facts]:
    """Open a .npy file.

    Raises:
        BadVolume: The file is damaged or holds no volume.
    """
    source = NpySource(path)
    try:
        array = source.array
    except DAMAGE as error:
        raise BadVolume(
            f"a .npy file of numbers was wanted at {path}; it is truncated, damaged or holds objects ({error})"
        ) from error
    facts = array_facts(array, axes, "npy", path)
    array.check_length()
    return source, facts


def array_facts(array: NDArray[Any] | PlainArray, axes: str | None, format_name: str, uri: str) -> Facts:
    """Describe an array that says nothing about itself but shape and type.

    Raises:
        BadVolume: 0-d, no numbers, or axes that do not fit.
    """
    if not array.shape:
        raise BadVolume(f"a volume with at least y and x was wanted, {uri} is a single number (0-d)")
    check_dtype(uri, array.dtype)
    found = find_axes(axes, (), array.shape, uri)
    chunks = mapped_chunks(array.shape, found, array.dtype.itemsize)
    return Facts(shape=array.shape, dtype=array.dtype, axes=found, format=format_name, chunks=chunks)


def mapped_chunks(shape: tuple[int, ...], axes: str, itemsize: int) -> tuple[int, ...]:
    """Return what to read at once from an array without chunks: one plane, of which at most one GiB."""
    row = itemsize * shape[axes.index("x")]
    most = {"x": shape[axes.index("x")], "y": max(1, 2**30 // max(1, row))}
    return tuple(min(length, most.get(axis, 1)) for axis, length in zip(axes, shape, strict=True))
