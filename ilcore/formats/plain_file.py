"""Arrays that lie plain in a file, read by ordinary reads.

Not mapped into memory: a mapped file that becomes shorter while it is read ends the process with a signal (SIGBUS).
"""

import itertools
import math
import os
from dataclasses import dataclass
from io import RawIOBase
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ilcore.grammar.errors import BadVolume

#: Rows that lie at most so many bytes apart are read together with what lies between them.
GAP_BYTES = 8 * 2**10
#: So much is read at once where gaps are read as well.
MOST_AT_ONCE = 16 * 2**20


@dataclass(frozen=True)
class PlainArray:
    """An array in a file, without any compression.

    Args:
        path: The file.
        dtype: Type of a voxel, in the byte order of the file.
        offset: Where it begins, in bytes.
        shape: Its size.
        is_fortran: Whether its first axis is the fastest.
    """

    path: str
    dtype: np.dtype[Any]
    offset: int
    shape: tuple[int, ...]
    is_fortran: bool = False

    @property
    def nbytes(self) -> int:
        """Size in bytes; exact, however much a damaged header claims."""
        return math.prod(self.shape) * self.dtype.itemsize

    def check_length(self) -> None:
        """Refuse a file that is shorter than the array.

        Raises:
            BadVolume: It is.
        """
        length = os.stat(self.path).st_size
        if self.offset < 0 or self.offset + self.nbytes > length:
            raise BadVolume(
                f"{self.nbytes} bytes of voxels were wanted in {self.path} from byte {self.offset} on; it is "
                f"truncated or damaged: it has {length} bytes in all; take a fresh copy"
            )

    def read(self, index: tuple[slice, ...]) -> NDArray[Any]:
        """Return a fresh block.

        Raises:
            EOFError: The file has become shorter.
        """
        if self.is_fortran:
            turned = PlainArray(self.path, self.dtype, self.offset, self.shape[::-1])
            return turned.read(index[::-1]).transpose()
        block = np.empty([part.stop - part.start for part in index], self.dtype)
        if block.size:
            with open(self.path, "rb", buffering=0) as file:
                self._fill(file, block, index)
        return block

    def _fill(self, file: RawIOBase, block: NDArray[Any], index: tuple[slice, ...]) -> None:
        strides = _strides(self.shape, self.dtype.itemsize)
        axis = self._first_of_run(index)
        outer = [range(part.start, part.stop) for part in index[:axis]]
        inner = index[axis].start * strides[axis] if axis < len(index) else 0
        runs = block.reshape(math.prod(block.shape[:axis]), -1)
        gap = strides[axis - 1] - runs.shape[1] * self.dtype.itemsize if axis else 0
        if axis and gap <= GAP_BYTES and len(outer[-1]) > 1:
            self._fill_slabs(file, runs, outer, (inner, strides))
            return
        for run, place in zip(runs, itertools.product(*outer), strict=True):
            _read_into(file, run, self.offset + inner + sum(at * by for at, by in zip(place, strides, strict=False)))

    def _fill_slabs(
        self, file: RawIOBase, runs: NDArray[Any], outer: list[range], begin: tuple[int, tuple[int, ...]]
    ) -> None:
        """Read rows that lie close together at once, with what is between them."""
        inner, strides = begin
        pitch = strides[len(outer) - 1] // self.dtype.itemsize
        rows, width = outer[-1], runs.shape[1]
        step = max(1, MOST_AT_ONCE // strides[len(outer) - 1])
        at = 0
        for place in itertools.product(*outer[:-1]):
            start = self.offset + inner + sum(n * by for n, by in zip(place, strides, strict=False))
            for first in range(rows.start, rows.stop, step):
                count = min(step, rows.stop - first)
                slab = np.empty((count - 1) * pitch + width, self.dtype)
                _read_into(file, slab, start + first * strides[len(outer) - 1])
                whole = np.lib.stride_tricks.as_strided(slab, (count, width), (pitch * slab.itemsize, slab.itemsize))
                runs[at : at + count] = whole
                at += count

    def _first_of_run(self, index: tuple[slice, ...]) -> int:
        """Return the first axis from which on an index is one piece of the file."""
        axis = len(index)
        while axis and (axis == len(index) or index[axis] == slice(0, self.shape[axis])):
            axis -= 1
        return axis


def _strides(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    return tuple(itemsize * math.prod(shape[at + 1 :]) for at in range(len(shape)))


def _read_into(file: RawIOBase, run: NDArray[Any], offset: int) -> None:
    # Not "B" by memoryview's cast, which knows no foreign byte order.
    rest = run.view(np.uint8).reshape(-1).data
    file.seek(offset)
    while rest:
        count = file.readinto(rest)
        if not count:
            raise EOFError(f"the file ends {len(rest)} bytes too early; it has become shorter")
        rest = rest[count:]
