"""What unpacks to more than a chunk may hold is refused before it is unpacked."""

import bz2
import gzip
import lzma
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import google_crc32c
import numcodecs
import numpy as np
import pytest
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec, GzipCodec, ZstdCodec

from ilcore.formats.decompression_limits import guarded
from ilcore.formats.open import open_volume
from ilcore.grammar.errors import BadVolume

#: Lets a chunk of 16 KiB pass, and nothing of several megabytes.
MOST = 2**20
NOTHING = bytes(4 * 2**20)


def made(folder: Path, compressor: Any, zarr_format: int, **more: Any) -> "zarr.Array[Any]":
    path = folder / "scan.zarr"
    array = zarr.create_array(
        path,
        shape=(128, 128),
        chunks=(64, 64),
        dtype="float32",
        compressors=compressor,
        zarr_format=zarr_format,
        **more,
    )
    array[:] = np.arange(128 * 128, dtype="float32").reshape(128, 128)
    return zarr.open_array(path, mode="r")


def chunk(array: "zarr.Array[Any]", folder: Path) -> Path:
    return folder / "scan.zarr" / ("c/0/0" if array.metadata.zarr_format == 3 else "0.0")


def zstd_of_unknown_size(count: int) -> bytes:
    """Repeated blocks of 128 KiB of one byte, in a frame that does not say how many."""
    block = (128 * 2**10 << 3 | 1 << 1).to_bytes(3, "little") + b"\0"
    last = (128 * 2**10 << 3 | 1 << 1 | 1).to_bytes(3, "little") + b"\0"
    return b"\x28\xb5\x2f\xfd\x00\x38" + block * (count - 1) + last


def test_blocks_written_by_hand_are_zstandard() -> None:
    assert numcodecs.Zstd().decode(zstd_of_unknown_size(3)) == bytes(3 * 128 * 2**10)


@pytest.mark.parametrize(
    ("compressor", "zarr_format", "bomb"),
    [
        (ZstdCodec(), 3, numcodecs.Zstd().encode(NOTHING)),
        (ZstdCodec(), 3, zstd_of_unknown_size(32)),
        (numcodecs.Zstd(), 2, numcodecs.Zstd().encode(NOTHING)),
        (GzipCodec(), 3, gzip.compress(NOTHING)),
        (GzipCodec(), 3, gzip.compress(NOTHING[: 2**19]) * 8),
        (numcodecs.Zlib(), 2, zlib.compress(NOTHING)),
        (numcodecs.BZ2(), 2, bz2.compress(NOTHING + bytes(8 * 2**20)) * 2),
    ],
    ids=["zstd", "zstd-unknown", "zstd-v2", "gzip", "gzip-members", "zlib", "bz2"],
)
def test_a_chunk_that_unpacks_to_too_much_is_refused(
    tmp_path: Path, compressor: Any, zarr_format: int, bomb: bytes
) -> None:
    array = made(tmp_path, compressor, zarr_format)
    whole = guarded(array, MOST)[:]
    assert np.array_equal(whole, array[:])
    chunk(array, tmp_path).write_bytes(bomb)
    with pytest.raises(BadVolume, match="unpacks to"):
        guarded(array, MOST)[:]
    assert np.array_equal(guarded(array, MOST)[64:], whole[64:]), "the other chunks are still there"


def test_a_shard_is_looked_at_by_its_chunks(tmp_path: Path) -> None:
    array = made(tmp_path, ZstdCodec(), 3, shards=(128, 128))
    assert np.array_equal(guarded(array, 16 * 2**10)[:], array[:])
    with pytest.raises(BadVolume, match="unpacks to"):
        guarded(array, 15 * 2**10)[:]


def test_what_no_codec_packs_is_read_as_it_is(tmp_path: Path) -> None:
    array = made(tmp_path, None, 3)
    assert np.array_equal(guarded(array)[:], array[:])


#: How often a chunk of 16 KiB is packed, innermost first, and with what codecs the array is declared.
ONE = numcodecs.Zstd()
CHAINS: dict[str, tuple[int, dict[str, Any], Callable[[], bytes]]] = {
    "lzma v2": (2, {"compressors": numcodecs.LZMA()}, lambda: numcodecs.LZMA().encode(NOTHING)),
    "lzma streams": (2, {"compressors": numcodecs.LZMA()}, lambda: lzma.compress(NOTHING[: 2**19]) * 9),
    "lzma v3": (
        3,
        {"compressors": {"name": "numcodecs.lzma", "configuration": {}}},
        lambda: numcodecs.LZMA().encode(NOTHING),
    ),
    "zstd frames": (3, {"compressors": ZstdCodec()}, lambda: ONE.encode(NOTHING[: 2**19]) * 9),
    "zstd skips": (3, {"compressors": ZstdCodec()}, lambda: SKIPPED + ONE.encode(NOTHING)),
    "zstd twice": (3, {"compressors": (ZstdCodec(), ZstdCodec())}, lambda: ONE.encode(ONE.encode(NOTHING))),
    "zstd of gzip": (3, {"compressors": (GzipCodec(), ZstdCodec())}, lambda: ONE.encode(gzip.compress(NOTHING))),
    "a filter": (2, {"filters": (numcodecs.Zlib(),), "compressors": ONE}, lambda: ONE.encode(zlib.compress(NOTHING))),
    "a filter alone": (2, {"filters": (numcodecs.BZ2(),), "compressors": None}, lambda: bz2.compress(NOTHING)),
    "blosc": (3, {"compressors": BloscCodec(typesize=4)}, lambda: numcodecs.Blosc().encode(NOTHING)),
    "lz4": (2, {"compressors": numcodecs.LZ4()}, lambda: numcodecs.LZ4().encode(NOTHING)),
    "checksum after": (3, {"compressors": (ZstdCodec(), Crc32cCodec())}, lambda: checked(ONE.encode(NOTHING))),
}
SKIPPED = (0x184D2A50).to_bytes(4, "little") + (3).to_bytes(4, "little") + b"abc"


def checked(content: bytes) -> bytes:
    return content + int(google_crc32c.value(content)).to_bytes(4, "little")


@pytest.mark.medium
@pytest.mark.filterwarnings("ignore:Numcodecs codecs are not in the Zarr")
@pytest.mark.parametrize("chain", CHAINS)
def test_every_codec_of_a_chain_is_bounded(tmp_path: Path, chain: str) -> None:
    zarr_format, codecs, bomb = CHAINS[chain]
    path = tmp_path / "scan.zarr"
    said: dict[str, Any] = {"shape": (128, 128), "chunks": (64, 64), "dtype": "float32", "zarr_format": zarr_format}
    held = np.arange(128 * 128, dtype="float32").reshape(128, 128)
    zarr.create_array(path, **said, **codecs)[:] = held
    array = guarded(zarr.open_array(path, mode="r"))
    assert np.array_equal(array[:], held), "what is sound is read as ever"
    assert len(bomb()) < 100_000
    chunk(array, tmp_path).write_bytes(bomb())
    with pytest.raises(BadVolume, match="unpacks to"):
        array[:]


def test_an_inner_chunk_of_a_shard_is_bounded_by_its_own_size(tmp_path: Path) -> None:
    array = made(tmp_path, ZstdCodec(checksum=False), 3, shards=(128, 128))
    shard = chunk(array, tmp_path)
    content, bomb = shard.read_bytes(), numcodecs.Zstd().encode(NOTHING)
    index = np.frombuffer(content[-4 * 16 - 4 : -4], "<u8").copy()
    index[:2] = len(content) - 68, len(bomb)
    shard.write_bytes(content[:-68] + bomb + checked(index.tobytes()))
    with pytest.raises(BadVolume, match="unpacks to"):
        guarded(array)[:64, :64]
    assert np.array_equal(guarded(array)[64:], array[64:])


def test_a_codec_nobody_can_bound_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    zarr.create_array(
        tmp_path / "a.zarr", shape=(4, 4), dtype="u2", zarr_format=2, compressors=None, filters=(numcodecs.Base64(),)
    )[...] = 1
    with pytest.raises(BadVolume, match="whose unpacking can be bounded"):
        open_volume(str(tmp_path / "a.zarr"))


def test_a_volume_refuses_a_chunk_that_announces_terabytes(tmp_path: Path) -> None:
    array = made(tmp_path, ZstdCodec(), 3)
    volume = open_volume(str(tmp_path / "scan.zarr"))
    announced = b"\x28\xb5\x2f\xfd\xe0" + (5 * 2**40).to_bytes(8, "little") + b"\x03\x00\x00\x00"
    chunk(array, tmp_path).write_bytes(announced)
    with pytest.raises(BadVolume, match=r"unpacks to 5[.,]?\d* *.*GiB"):
        volume.source.read((slice(0, 128), slice(0, 128)))
