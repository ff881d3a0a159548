"""Chunks that would unpack to more than any chunk may hold: refused before they are unpacked.

What a chunk holds stands in the metadata, but a codec believes the chunk. A few kilobytes of Zstandard may announce
terabytes. Blosc and LZ4 cannot announce more than 2 GiB; LZMA is not looked into.
"""

import gzip
import zlib
from bz2 import BZ2File
from collections.abc import Callable
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import zarr
from zarr.storage import StorePath, WrapperStore

from ilcore.grammar.errors import BadVolume
from ilcore.volumes.volume import LARGEST_CHUNK_BYTES

if TYPE_CHECKING:
    from zarr.abc.store import ByteRequest, Store
    from zarr.core.buffer import Buffer, BufferPrototype

#: Takes a chunk as it is stored and the most it may become; returns what it becomes, or a bound above the most.
Look: TypeAlias = Callable[[memoryview, int], int]

_ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
_ZSTD_BLOCK: Final = 128 * 2**10
_STEP: Final = 16 * 2**20
#: The most that a byte of Deflate and of bzip2 can become: what is shorter than this allows is no bomb.
_DEFLATE, _BZIP2 = 1032, 20_000


def guarded(array: "zarr.Array[Any]", most: int = LARGEST_CHUNK_BYTES) -> "zarr.Array[Any]":
    """Return an array that refuses to unpack a chunk to more than `most` bytes.

    Raises, when it is read:
        BadVolume: A chunk would unpack to more.
    """
    if not array.compressors:
        return array
    store = _Guarded(array.store, _unpacked_by(array.compressors[-1]), most)
    return zarr.Array(zarr.AsyncArray(array.metadata, StorePath(store, array.path)))


class _Guarded(WrapperStore["Store"]):
    """A store whose chunks are looked at before a codec gets them."""

    def __init__(self, store: "Store", unpacked: Look, most: int) -> None:
        super().__init__(store)
        self._unpacked, self._most = unpacked, most

    def _with_store(self, store: "Store") -> "_Guarded":
        return type(self)(store, self._unpacked, self._most)

    async def get(
        self, key: str, prototype: "BufferPrototype", byte_range: "ByteRequest | None" = None
    ) -> "Buffer | None":
        found = await self._store.get(key, prototype, byte_range)
        if found is not None:
            size = self._unpacked(memoryview(found.as_buffer_like()), self._most)
            if size > self._most:
                raise BadVolume(
                    f"chunks of at most {self._most / 2**30:.3g} GiB were wanted, {key} in {self._store} unpacks to "
                    f"{size / 2**30:,.3g} GiB or more; it is damaged, or a trap: replace it"
                )
        return found


def _unpacked_by(codec: object) -> Look:
    name = str(getattr(codec, "codec_id", None) or type(codec).__name__.removesuffix("Codec").lower())
    return {"zstd": _zstd, "gzip": _gzip, "zlib": _zlib, "bz2": _bz2}.get(name, _unknown)


def _unknown(_: memoryview, __: int) -> int:
    return 0


def _zstd(packed: memoryview, _: int) -> int:
    """Return what the first frame announces, or where it does not, what its blocks can hold (RFC 8878, section 3.1)."""
    if bytes(packed[:4]) != _ZSTD_MAGIC or len(packed) < 6:
        return 0
    flags = packed[4]
    is_single = flags >> 5 & 1
    place = 5 + (not is_single) + (0, 1, 2, 4)[flags & 3]
    length = (is_single, 2, 4, 8)[flags >> 6]
    if length:
        return int.from_bytes(packed[place : place + length], "little") + 256 * (length == 2)
    count = 0
    while place + 3 <= len(packed):
        header = int.from_bytes(packed[place : place + 3], "little")
        count += 1
        is_repeated = header >> 1 & 3 == 1
        place += 3 + (1 if is_repeated else header >> 3)
        if header & 1:
            break
    return count * _ZSTD_BLOCK


def _gzip(packed: memoryview, most: int) -> int:
    return 0 if len(packed) * _DEFLATE <= most else _counted(gzip.GzipFile(fileobj=BytesIO(packed)), most)


def _bz2(packed: memoryview, most: int) -> int:
    return 0 if len(packed) * _BZIP2 <= most else _counted(BZ2File(BytesIO(packed)), most)


def _counted(file: Any, most: int) -> int:
    """Return how much a file holds, or a little more than `most`; damage is left for the codec to tell."""
    size = 0
    try:
        while size <= most and (piece := file.read(_STEP)):
            size += len(piece)
    except (OSError, EOFError, zlib.error):
        pass
    return size


def _zlib(packed: memoryview, most: int) -> int:
    if len(packed) * _DEFLATE <= most:
        return 0
    unpacking, left, size = zlib.decompressobj(), bytes(packed), 0
    try:
        while size <= most and left:
            size += len(unpacking.decompress(left, _STEP))
            left = unpacking.unconsumed_tail
    except zlib.error:
        pass
    return size
