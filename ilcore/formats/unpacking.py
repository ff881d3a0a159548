"""Unpacking of bytes that ends where too much comes out.

Deflate, bzip2 and LZMA do not say before how much it will be: they are unpacked here, piece by piece. Zstandard, Blosc
and LZ4 announce it, or bound it by their blocks: there the announcement is looked at.
"""

import bz2
import lzma
import zlib
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol, TypeAlias

from ilcore.grammar.errors import BadVolume

#: Takes packed bytes, the most they may become and the codec's settings; returns what they become.
Unpack: TypeAlias = Callable[[memoryview, int, Any], bytes]

_ZSTD_MAGIC: Final = 0xFD2FB528
_ZSTD_SKIPPED: Final = range(0x184D2A50, 0x184D2A60)
_ZSTD_BLOCK: Final = 128 * 2**10
#: Dictionaries of LZMA above this cost more memory than chunks are allowed.
_LZMA_MEMORY: Final = 2**28


class _Unpacker(Protocol):
    eof: bool
    unused_data: bytes

    def decompress(self, data: bytes, max_length: int = ...) -> bytes: ...


def refused_above(size: int, most: int) -> None:
    """Refuse what becomes more than it may.

    Raises:
        BadVolume: It does.
    """
    if size > most:
        raise BadVolume(
            f"a chunk of at most {_told(most)} was wanted, it unpacks to {_told(size)} or more; "
            "it is damaged, or a trap: replace it"
        )


def announced_by(codec: str, packed: memoryview) -> int:
    """Return how many bytes a chunk says that it becomes, or a bound of it."""
    if codec == "zstd":
        return _zstd(packed)
    place = 4 if codec == "blosc" else 0
    return int.from_bytes(packed[place : place + 4], "little")


def _zstd(packed: memoryview) -> int:
    """Return what all frames announce, or where one does not, what its blocks can hold (RFC 8878, section 3.1)."""
    size = place = 0
    while place + 8 <= len(packed):
        magic = int.from_bytes(packed[place : place + 4], "little")
        if magic in _ZSTD_SKIPPED:
            place += 8 + int.from_bytes(packed[place + 4 : place + 8], "little")
            continue
        if magic != _ZSTD_MAGIC:
            break
        announced, place = _zstd_frame(packed, place + 4)
        size += announced
    return size


def _zstd_frame(packed: memoryview, place: int) -> tuple[int, int]:
    """Return what a frame becomes at most, and where it ends."""
    flags = packed[place]
    is_single = flags >> 5 & 1
    start = place + 1 + (not is_single) + (0, 1, 2, 4)[flags & 3]
    length = (is_single, 2, 4, 8)[flags >> 6]
    announced = int.from_bytes(packed[start : start + length], "little") + 256 * (length == 2)
    end, blocks = _zstd_blocks(packed, start + length)
    return (announced if length else blocks * _ZSTD_BLOCK), end + 4 * (flags >> 2 & 1)


def _zstd_blocks(packed: memoryview, place: int) -> tuple[int, int]:
    count = 0
    while place + 3 <= len(packed):
        header = int.from_bytes(packed[place : place + 3], "little")
        count += 1
        is_repeated = header >> 1 & 3 == 1
        place += 3 + (1 if is_repeated else header >> 3)
        if header & 1:
            break
    return place, count


def _gzip(packed: memoryview, most: int, _: Any) -> bytes:
    return _streams(packed, most, lambda: zlib.decompressobj(wbits=31), padding=b"\0")


def _zlib(packed: memoryview, most: int, _: Any) -> bytes:
    return _streams(packed, most, zlib.decompressobj, is_one=True)


def _bz2(packed: memoryview, most: int, _: Any) -> bytes:
    return _streams(packed, most, bz2.BZ2Decompressor)


def _lzma(packed: memoryview, most: int, codec: Any) -> bytes:
    filters = getattr(codec, "filters", None)
    for each in filters or ():
        if int(each.get("dict_size", 0)) > _LZMA_MEMORY:
            raise BadVolume(f"an LZMA dictionary of at most {_told(_LZMA_MEMORY)} was wanted, got {each}; rewrite it")
    is_raw = getattr(codec, "format", lzma.FORMAT_XZ) == lzma.FORMAT_RAW
    made: dict[str, Any] = {"format": getattr(codec, "format", lzma.FORMAT_AUTO)}
    made |= {"filters": filters} if is_raw else {"memlimit": 2 * _LZMA_MEMORY}
    return _streams(packed, most, lambda: lzma.LZMADecompressor(**made))


def _streams(
    packed: memoryview, most: int, begin: Callable[[], Any], *, padding: bytes = b"", is_one: bool = False
) -> bytes:
    """Unpack streams one after the other, as the programs of these formats do.

    Raises:
        BadVolume: More than `most` bytes come out.
        EOFError: The last stream does not end.
    """
    found, rest = bytearray(), bytes(packed)
    while rest:
        unpacker: _Unpacker = begin()
        rest = _stream(unpacker, rest, most, found)
        if not unpacker.eof:
            raise EOFError("the packed bytes end too early")
        rest = b"" if is_one else rest.lstrip(padding) if padding else rest
    return bytes(found)


def _stream(unpacker: Any, rest: bytes, most: int, found: bytearray) -> bytes:
    """Unpack one stream, and return what follows it."""
    while not unpacker.eof:
        try:
            piece = unpacker.decompress(rest, most - len(found) + 1)
        except OSError as error:  # bzip2's word for damage; no disk has failed
            raise ValueError(str(error)) from error
        found += piece
        refused_above(len(found), most)
        rest = getattr(unpacker, "unconsumed_tail", b"")
        if not piece and not rest and not unpacker.eof:
            break
    return bytes(unpacker.unused_data)


#: By the name of a codec, how it is unpacked here; None where the codec itself does it once its announcement was seen.
UNPACKED: Final[Mapping[str, Unpack | None]] = {
    "gzip": _gzip,
    "zlib": _zlib,
    "bz2": _bz2,
    "lzma": _lzma,
    "zstd": None,
    "blosc": None,
    "lz4": None,
}


def _told(size: int) -> str:
    return f"{size / 2**30:,.3g} GiB" if size >= 2**20 else f"{size} bytes"
