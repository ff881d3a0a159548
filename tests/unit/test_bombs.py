"""What unpacks to more than a chunk may hold is refused before it is unpacked."""

import bz2
import gzip
import zlib
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import pytest
import zarr
from zarr.codecs import GzipCodec, ZstdCodec

from ilcore.grammar.errors import BadVolume
from ilcore.volumes.bombs import guarded
from ilcore.volumes.open import open_volume

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


def test_what_no_codec_packs_needs_no_guard(tmp_path: Path) -> None:
    array = made(tmp_path, None, 3)
    assert guarded(array) is array


def test_a_volume_refuses_a_chunk_that_announces_terabytes(tmp_path: Path) -> None:
    array = made(tmp_path, ZstdCodec(), 3)
    volume = open_volume(str(tmp_path / "scan.zarr"))
    announced = b"\x28\xb5\x2f\xfd\xe0" + (5 * 2**40).to_bytes(8, "little") + b"\x03\x00\x00\x00"
    chunk(array, tmp_path).write_bytes(announced)
    with pytest.raises(BadVolume, match=r"unpacks to 5[.,]?\d* *.*GiB"):
        volume.source.read((slice(0, 128), slice(0, 128)))
