"""Arrays in .npz files as images: read where they lie there plain, else unpacked whole on the first read."""

import math
import os
import struct
import zipfile
import zlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ilcore.formats.in_memory import mapped_chunks
from ilcore.formats.npy_header import DAMAGE, read_header
from ilcore.formats.plain_file import PlainArray
from ilcore.grammar.errors import BadVolume
from ilcore.volumes.axes import find_axes
from ilcore.volumes.volume import Facts, Reopened, check_dtype

ZIP_MARK = b"PK\x03\x04"
SUFFIX = ".npy"
#: How NumPy packs, whose unpacking takes no more memory than is asked for: nothing, and deflate.
PACKED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
#: So much is unpacked at once.
STEP = 2**20
_DAMAGE = (zipfile.BadZipFile, zlib.error, struct.error, NotImplementedError, RuntimeError, *DAMAGE)
#: Bytes of a local header before the name, and where in them the lengths of name and extra field stand.
_LOCAL_BYTES, _LENGTHS = 30, 26


@dataclass(frozen=True)
class Header:
    """What the first bytes of an array say, and where it begins.

    That is a place in the archive where the array lies there plain, else one in its own unpacked bytes.
    """

    shape: tuple[int, ...]
    is_fortran: bool
    dtype: np.dtype[Any]
    offset: int
    is_plain: bool


@dataclass(frozen=True)
class NpzSource(Reopened):
    """One array of a .npz file."""

    path: str
    image: str

    @cached_property
    def array(self) -> NDArray[Any] | PlainArray:
        """The array in the file where it lies there plain, else unpacked."""
        with zipfile.ZipFile(self.path) as archive:
            header = _header(archive, self.image + SUFFIX)
            if not header.is_plain:
                return _unpacked(archive, self.image + SUFFIX, header)
        return PlainArray(self.path, header.dtype, header.offset, header.shape, header.is_fortran)

    def read(self, index: tuple[slice, ...]) -> NDArray[Any]:
        array = self.array
        return array.read(index) if isinstance(array, PlainArray) else array[index]


def npz_images(path: str) -> tuple[str, ...]:
    """Return the names of the arrays in a .npz file.

    Raises:
        BadVolume: The file is damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return tuple(name.removesuffix(SUFFIX) for name in archive.namelist() if name.endswith(SUFFIX))
    except _DAMAGE as error:
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
    except _DAMAGE as error:
        raise BadVolume(_damaged(path, error)) from error
    place = f"{path} [{name}]"
    if not header.shape:
        raise BadVolume(f"a volume with at least y and x was wanted, {place} is a single number (0-d)")
    check_dtype(place, header.dtype)
    found = find_axes(axes, (), header.shape, place)
    # What is packed is unpacked whole, so it counts as one chunk.
    chunks = header.shape if not header.is_plain else mapped_chunks(header.shape, found, header.dtype.itemsize)
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
    if info.compress_type not in PACKED:
        raise NotImplementedError(f"packed by method {info.compress_type} of zip, not by deflate")
    with archive.open(info) as file:
        shape, is_fortran, dtype, begin = read_header(file)
    # What a member unpacks to is believed nowhere below: more than the array is never read.
    wanted = begin + math.prod(shape) * dtype.itemsize
    if info.file_size != wanted:
        raise ValueError(f"{member} has {info.file_size} bytes, its header wants {wanted}")
    is_plain = info.compress_type == zipfile.ZIP_STORED and 0 not in shape
    offset = _begin(archive, info) + begin if is_plain else begin
    if is_plain and offset + wanted - begin > os.stat(str(archive.filename)).st_size:
        raise ValueError(f"{member} reaches beyond the end of the file")
    return Header(shape, is_fortran, dtype, offset, is_plain)


def _unpacked(archive: zipfile.ZipFile, member: str, header: Header) -> NDArray[Any]:
    held = np.empty(header.shape[:: -1 if header.is_fortran else 1], header.dtype)
    rest = held.view(np.uint8).reshape(-1).data if held.size else memoryview(b"")
    with archive.open(member) as file:
        file.read(header.offset)
        while rest:
            piece = file.read(min(len(rest), STEP))
            if not piece:
                raise EOFError(f"{member} ends {len(rest)} bytes too early")
            rest[: len(piece)] = piece
            rest = rest[len(piece) :]
    return held.transpose() if header.is_fortran else held


def _begin(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> int:
    """Return where the content of a member begins: its local header may differ in length from the central one."""
    with open(str(archive.filename), "rb") as file:
        file.seek(info.header_offset + _LENGTHS)
        name, extra = struct.unpack("<HH", file.read(4))
    return int(info.header_offset) + _LOCAL_BYTES + name + extra


def _damaged(path: str, error: BaseException) -> str:
    return f"a .npz file of numbers was wanted at {path}; it is truncated, damaged or holds objects ({error})"
