"""The first bytes of an array as NumPy stores it, read without trust."""

import io
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy

#: No header of an array of numbers is longer; a damaged one may announce gigabytes.
MOST_HEADER = 64 * 2**10
#: What a damaged header makes NumPy's reader raise.
DAMAGE = (ValueError, EOFError, OSError, SyntaxError, TypeError, KeyError, IndexError, OverflowError, RecursionError)


def read_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """Return shape, whether the first axis is the fastest, type, and where the voxels begin.

    Raises:
        ValueError: It is no such header, or one of an array of Python objects.
    """
    head = io.BytesIO(file.read(MOST_HEADER))
    version = npy.read_magic(head)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, is_fortran, dtype = read(head)
    if dtype.hasobject:
        raise ValueError("an array of objects, which only unpickling could read")
    if any(length < 0 for length in shape):
        raise ValueError(f"a shape of {shape}")
    return tuple(map(int, shape)), bool(is_fortran), dtype, head.tell()
