"""Chunks that would unpack to more than they may hold: refused where they are unpacked, by every codec of every chain.

What a chunk holds stands in the metadata, but a codec believes the chunk: a few kilobytes may announce terabytes. So no
codec of a chain, inner chunks and indices of shards included, may make more of a chunk than the metadata allow. A codec
whose unpacking cannot be bounded is refused.
"""

import copy
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import zarr
from numcodecs.abc import Codec as Numcodec
from zarr.abc.codec import ArrayBytesCodec, BytesBytesCodec, Codec
from zarr.codecs import ShardingCodec
from zarr.core.buffer import NDBuffer

from ilcore.formats.unpacking import UNPACKED, announced_by, refused_above
from ilcore.grammar.errors import BadVolume
from ilcore.volumes.volume import LARGEST_CHUNK_BYTES

if TYPE_CHECKING:
    from zarr.core.array_spec import ArraySpec
    from zarr.core.buffer import Buffer

#: Codecs that make no more bytes of a chunk than a few times what it has.
_HARMLESS: Final = frozenset((
    "bytes", "transpose", "crc32c", "crc32", "adler32", "fletcher32", "jenkins_lookup3", "shuffle", "delta", "astype",
    "fixedscaleoffset", "quantize", "bitround", "packbits", "endian", "cast_value", "scale_offset",
))  # fmt: skip
#: Codecs of texts, which announce how many there are.
_TEXTS: Final = frozenset(("vlen-utf8", "vlen-bytes", "vlen-array"))
#: What a codec may add to what it cannot pack.
_SLACK, _SLACK_BYTES = 1.25, 64 * 2**10
#: Texts have no size of their own: so much may a chunk of them be.
_MOST_TEXT: Final = 128 * 2**20
#: Bytes of a voxel while filters are at work.
_WIDEST = 8


def guarded(array: "zarr.Array[Any]", most: int = LARGEST_CHUNK_BYTES) -> "zarr.Array[Any]":
    """Return an array that refuses to unpack a chunk to more than its size, and ever to more than `most` bytes.

    Raises:
        BadVolume: A codec cannot be bounded; and when it is read: a chunk would unpack to more.
    """
    metadata = copy.copy(array.metadata)
    if metadata.zarr_format == 2:
        size = _most_of(metadata.chunks, metadata.dtype.to_native_dtype(), most)
        count = math.prod(metadata.chunks)
        filters = tuple(_bounded_v2(each, size, count) for each in metadata.filters or ())
        object.__setattr__(metadata, "filters", filters or None)
        if metadata.compressor is not None:
            object.__setattr__(metadata, "compressor", _bounded_v2(metadata.compressor, size, count))
    else:
        object.__setattr__(metadata, "codecs", _bounded_v3(metadata.codecs, most))
    return zarr.Array(zarr.AsyncArray(metadata, array.store_path))


def _most_of(shape: Iterable[int], dtype: np.dtype[Any], most: int) -> int:
    """Return the most bytes that a chunk may be while it is unpacked."""
    if dtype.kind not in "iufbcmM":
        return min(most, _MOST_TEXT)
    return min(most, int(math.prod(shape) * max(dtype.itemsize, _WIDEST) * _SLACK) + _SLACK_BYTES)


def _name(codec: Any) -> str:
    told = getattr(codec, "codec_id", None) or getattr(codec, "codec_name", None)
    if told is None:
        told = (
            type(codec)
            .__name__.removesuffix("Codec")
            .replace("VLenUTF8", "vlen-utf8")
            .replace("VLenBytes", "vlen-bytes")
        )
    return str(told).removeprefix("numcodecs.").lower()


def _refuse_unknown(codec: Any) -> None:
    """Refuse a codec of which nobody knows what it makes of a chunk, and types that make a voxel large."""
    name = _name(codec)
    if name not in (_HARMLESS | _TEXTS | set(UNPACKED)):
        raise BadVolume(
            f"codecs whose unpacking can be bounded ({', '.join(sorted(UNPACKED))} ...) were wanted, got {name!r}; "
            "rewrite the array with one of these"
        )
    settings = getattr(codec, "codec_config", None) or vars(codec)
    for key in ("dtype", "astype", "encode_dtype", "decode_dtype"):
        said = settings.get(key) if name != "bytes" else None
        if isinstance(said, str | np.dtype) and np.dtype(said).itemsize > _WIDEST:
            raise BadVolume(f"numbers of at most 64 bits were wanted from the codec {name!r}, got {said}; rewrite it")


def _bounded_v2(codec: Any, most: int, count: int) -> Any:
    if isinstance(codec, _BoundedV2):
        return codec
    _refuse_unknown(codec)
    return codec if _name(codec) in _HARMLESS else _BoundedV2(codec, most, count)


def _bounded_v3(codecs: Iterable[Any], most: int) -> tuple[Codec, ...]:
    return tuple(_bounded(each, most) for each in codecs)


def _bounded(codec: Any, most: int) -> Codec:
    if isinstance(codec, _BoundedBytes | _BoundedTexts):
        return codec
    if isinstance(codec, ShardingCodec):
        inner, index = _bounded_v3(codec.codecs, most), _bounded_v3(codec.index_codecs, most)
        return replace(codec, codecs=inner, index_codecs=index)
    _refuse_unknown(codec)
    if _name(codec) in _HARMLESS:
        return codec
    return _BoundedTexts(codec) if _name(codec) in _TEXTS else _BoundedBytes(codec, most)


class _BoundedV2(Numcodec):
    """A codec of Zarr v2 that looks before it unpacks."""

    def __init__(self, inner: Any, most: int, count: int) -> None:
        self.codec_id, self._inner, self._most, self._count = inner.codec_id, inner, most, count

    def encode(self, buf: Any) -> Any:
        return self._inner.encode(buf)

    def decode(self, buf: Any, out: Any = None) -> Any:
        if self.codec_id in _TEXTS:
            _check_count(buf, self._count)
            return self._inner.decode(buf, out)
        return _unpack(self._inner, _view(buf), self._most, lambda: self._inner.decode(buf, out))

    def get_config(self) -> dict[str, Any]:
        return dict(self._inner.get_config())


@dataclass(frozen=True)
class _BoundedBytes(BytesBytesCodec):
    """A codec of Zarr v3 from bytes to bytes that looks before it unpacks."""

    inner: Any
    most: int
    is_fixed_size = False

    def evolve_from_array_spec(self, array_spec: "ArraySpec") -> "_BoundedBytes":
        return replace(self, inner=self.inner.evolve_from_array_spec(array_spec))

    def to_dict(self) -> dict[str, Any]:
        return dict(self.inner.to_dict())

    def compute_encoded_size(self, input_byte_length: int, chunk_spec: "ArraySpec") -> int:
        return int(self.inner.compute_encoded_size(input_byte_length, chunk_spec))

    async def _decode_single(self, chunk_bytes: "Buffer", chunk_spec: "ArraySpec") -> "Buffer":
        most = _most_of(chunk_spec.shape, chunk_spec.dtype.to_native_dtype(), self.most)
        codec = getattr(self.inner, "_codec", self.inner)
        found = _unpack(codec, _view(chunk_bytes.as_numpy_array()), most, lambda: None)
        if found is None:
            return await self.inner._decode_single(chunk_bytes, chunk_spec)
        return chunk_spec.prototype.buffer.from_bytes(found)


@dataclass(frozen=True)
class _BoundedTexts(ArrayBytesCodec):
    """A codec of texts that looks how many are announced."""

    inner: Any
    is_fixed_size = False

    def to_dict(self) -> dict[str, Any]:
        return dict(self.inner.to_dict())

    def compute_encoded_size(self, input_byte_length: int, chunk_spec: "ArraySpec") -> int:
        return int(self.inner.compute_encoded_size(input_byte_length, chunk_spec))

    async def _decode_single(self, chunk_bytes: "Buffer", chunk_spec: "ArraySpec") -> NDBuffer:
        _check_count(chunk_bytes.as_numpy_array(), math.prod(chunk_spec.shape))
        return await self.inner._decode_single(chunk_bytes, chunk_spec)


def _unpack(codec: Any, packed: memoryview, most: int, decode: Callable[[], Any]) -> Any:
    """Return what a chunk unpacks to by our own bounded hand, or else by the codec, where it announces no more."""
    unpacked = UNPACKED[_name(codec)]
    if unpacked is not None:
        return unpacked(packed, most, codec)
    refused_above(announced_by(_name(codec), packed), most)
    return decode()


def _check_count(packed: Any, most: int) -> None:
    count = int.from_bytes(bytes(_view(packed)[:4]), "little")
    if count > most:
        raise BadVolume(f"at most {most} texts were wanted in a chunk, it announces {count}; it is damaged: replace it")


def _view(packed: Any) -> memoryview:
    held = np.ascontiguousarray(packed).view(np.uint8).data if isinstance(packed, np.ndarray) else memoryview(packed)
    return held.cast("B")
