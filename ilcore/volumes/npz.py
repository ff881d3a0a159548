"""Arrays in .npz files as images: mapped where they lie there plain, else unpacked whole on the first read."""

import struct
import zipfile
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from ilcore.grammar.errors import BadVolume
from ilcore.volumes.axes import find_axes
from ilcore.volumes.in_memory import mapped_chunks
from ilcore.volumes.volume import Facts, Reopened, check_dtype

ZIP_MARK = b"PK\x03\x04"
SUFFIX = ".npy"
#: Bytes of a local header before the name, and where in them the lengths of name and extra field stand.
_LOCAL_BYTES, _LENGTHS = 30, 26


@dataclass(frozen=True)
class Header:
    """What the first bytes of an array say, and where it begins in the archive; None where it is packed."""

    shape: tuple[int, ...]
    is_fortran: bool
    dtype: np.dtype[Any]
    offset: int | None


@dataclass(frozen=True)
class NpzSource(Reopened):
    """One array of a .npz file."""

    path: str
    image: str

    @cached_property
    def array(self) -> NDArray[Any]:
        """The array, mapped where it can be."""
        with zipfile.ZipFile(self.path) as archive:
            header = _header(archive, self.image + SUFFIX)
            if header.offset is None:
                with archive.open(self.image + SUFFIX) as member:
                    return np.asarray(npy.read_array(member, allow_pickle=False))
        order: Any = "F" if header.is_fortran else "C"
        return np.memmap(self.path, header.dtype, "r", header.offset, header.shape, order)

    def read(self, index: tuple[slice, ...]) -> NDArray[Any]:
        return self.array[index]


def npz_images(path: str) -> tuple[str, ...]:
    """Return the names of the arrays in a .npz file.

    Raises:
        BadVolume: The file is damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return tuple(name.removesuffix(SUFFIX) for name in archive.namelist() if name.endswith(SUFFIX))
    except (zipfile.BadZipFile, OSError) as error:
        raise BadVolume(_damaged(path, error)) from error


def open_npz(path: str, axes: str | None, image: str | None) -> tuple[NpzSource, Facts]:
    """Open one array of a .npz file.

    Raises:
        BadVolume: The file is damaged, holds objects, or several arrays of which none was chosen.
    """
    name = _chosen(path, image)
    try:
        with zipfile.ZipFile(path) as archive:
            header = _header(archive, name + SUFFIX)
    except (zipfile.BadZipFile, ValueError, EOFError, OSError, struct.error, NotImplementedError) as error:
        raise BadVolume(_damaged(path, error)) from error
    place = f"{path} [{name}]"
    if not header.shape:
        raise BadVolume(f"a volume with at least y and x was wanted, {place} is a single number (0-d)")
    check_dtype(place, header.dtype)
    found = find_axes(axes, (), header.shape, place)
    # What is packed is unpacked whole, so it counts as one chunk.
    chunks = header.shape if header.offset is None else mapped_chunks(header.shape, found, header.dtype.itemsize)
    return NpzSource(path, name), Facts(shape=header.shape, dtype=header.dtype, axes=found, format="npz", chunks=chunks)


def _chosen(path: str, image: str | None) -> str:
    names = npz_images(path)
    few = ", ".join(names[:6])
    if not names:
        raise BadVolume(f"a .npz file with arrays was wanted, {path} has none; save one with numpy.savez")
    if image is None and len(names) > 1:
        raise BadVolume(
            f"one image was wanted, {path} holds {len(names)}: {few}; choose one with image= (--image), "
            f"for example {names[0]}"
        )
    if image is not None and image not in names:
        raise BadVolume(f"an image of {path} was wanted, got {image!r}; it has {few}")
    return names[0] if image is None else image


def _header(archive: zipfile.ZipFile, member: str) -> Header:
    info = archive.getinfo(member)
    with archive.open(info) as file:
        version = npy.read_magic(file)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, is_fortran, dtype = read(file)
        length = file.tell()
    if dtype.hasobject:
        raise ValueError("an array of objects, which only unpickling could read")
    is_plain = info.compress_type == zipfile.ZIP_STORED and 0 not in shape
    return Header(shape, is_fortran, dtype, _begin(archive, info) + length if is_plain else None)


def _begin(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> int:
    """Return where the content of a member begins: its local header may differ in length from the central one."""
    with open(str(archive.filename), "rb") as file:
        file.seek(info.header_offset + _LENGTHS)
        name, extra = struct.unpack("<HH", file.read(4))
    return int(info.header_offset) + _LOCAL_BYTES + name + extra


def _damaged(path: str, error: Exception) -> str:
    return f"a .npz file of numbers was wanted at {path}; it is truncated, damaged or holds objects ({error})"
