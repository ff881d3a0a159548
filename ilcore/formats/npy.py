"""Files of NumPy with one array (.npy) as sources."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ilcore.formats.in_memory import array_info
from ilcore.formats.npy_header import DAMAGE, read_header
from ilcore.formats.plain_file import PlainArray
from ilcore.formats.protocol import FirstLook, Format, Opened, OpenOptions, check_single
from ilcore.grammar.errors import BadVolume
from ilcore.volumes.volume import Reopened

MARK = b"\x93NUMPY"


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


class Npy:
    """Files of NumPy with one array."""

    name = "npy"

    def recognises(self, look: FirstLook) -> bool:
        return look.mark.startswith(MARK)

    def open(self, address: str, options: OpenOptions) -> Opened:
        check_single(address, options)
        source = NpySource(address)
        try:
            array = source.array
        except DAMAGE as error:
            raise BadVolume(
                f"a .npy file of numbers was wanted at {address}; it is truncated, damaged or holds objects ({error})"
            ) from error
        facts = array_info(array, options.axes, "npy", address)
        array.check_length()
        return source, facts

    def images(self, address: str, options: OpenOptions) -> tuple[str, ...]:
        return ()


FORMAT: Format = Npy()
