"""Damage is told in one sentence, and what announces more than it holds is not unpacked."""

import io
import json
import struct
import tracemalloc
import zipfile
from contextlib import suppress

import imagecodecs
import numpy as np
import pytest
import rasterio
import tifffile
import zarr

from ilcore.formats.gdal import not_georeferenced
from ilcore.formats.open import images_in, open_volume
from ilcore.formats.pictures import ANNOUNCED
from ilcore.grammar.errors import BadVolume, ILError
from ilcore.grammar.region import whole

PICTURE = np.random.default_rng(0).integers(90, 120, (64, 48)).astype("u1")
MOST_BYTES = 64 * 2**20


def read(path, **said):
    volume = open_volume(path, **said)
    return volume.read(whole(volume.shape))


def npy(shape, dtype="<f4", content=b""):
    head = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    head += b" " * (63 - (len(head) + 10) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + content


HEADERS = {
    "longer than the file": npy("(4096, 4096)"),
    "as large as the sea": npy("(9999999999, 9999999999)"),
    "negative": npy("(-4, 4)"),
    "no shape": npy("'x'"),
    "objects": npy("(4, 4)", "|O", bytes(128)),
    "a header of gigabytes": b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**32 - 1) + b"{",
    "version 9": b"\x93NUMPY\x09\x00" + bytes(60),
    "cut": b"\x93NUMPY",
}


@pytest.mark.parametrize("packed", [None, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("what", HEADERS)
def test_headers_of_arrays_are_not_believed(tmp_path, what, packed):
    path = tmp_path / ("a.npy" if packed is None else "a.npz")
    if packed is None:
        path.write_bytes(HEADERS[what])
    else:
        with zipfile.ZipFile(path, "w", packed) as archive:
            archive.writestr("a.npy", HEADERS[what])
    with pytest.raises(BadVolume):
        open_volume(path)


@pytest.mark.medium
def test_a_packed_array_that_unpacks_to_more_than_it_says_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", npy("(4, 4)", "|u1", bytes(256 * 2**20)))
    tracemalloc.start()
    with pytest.raises(BadVolume, match="its header wants"):
        open_volume(tmp_path / "a.npz")
    assert tracemalloc.get_traced_memory()[1] < MOST_BYTES
    tracemalloc.stop()


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_packings_that_numpy_does_not_write_are_refused(tmp_path, method):
    with zipfile.ZipFile(tmp_path / "a.npz", "w", method) as archive:
        archive.writestr("a.npy", npy("(4, 4)", "|u1", bytes(16)))
    with pytest.raises(BadVolume, match="packed by method"):
        open_volume(tmp_path / "a.npz")


def test_a_packed_array_that_is_damaged_is_told(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", a=np.random.default_rng(0).normal(size=(64, 64)))
    held = bytearray((tmp_path / "a.npz").read_bytes())
    held[2000:2020] = bytes(20)
    (tmp_path / "a.npz").write_bytes(held)
    with pytest.raises(ILError):
        read(tmp_path / "a.npz")


ENCODERS = {
    7: lambda values: imagecodecs.jpeg_encode(values),
    34712: lambda values: imagecodecs.jpeg2k_encode(values),
    34933: lambda values: imagecodecs.png_encode(values),
    50002: lambda values: imagecodecs.jpegxl_encode(values),
    22610: lambda values: imagecodecs.jpegxr_encode(values),
    34887: lambda values: imagecodecs.lerc_encode(values),
}


@pytest.mark.medium
@pytest.mark.parametrize("compression", ENCODERS)
def test_a_tile_says_how_much_it_becomes(compression):
    small, large = (ENCODERS[compression](np.zeros((side, side), "u1")) for side in (16, 2048))
    announced = ANNOUNCED[compression]
    assert 16 * 16 <= announced(small) < 2**16
    assert announced(large) >= 2048 * 2048
    for length in range(0, len(small), 7):
        size = announced(small[:length])
        assert size is None or size >= 0


@pytest.mark.medium
@pytest.mark.parametrize("compression", ENCODERS)
def test_a_tile_that_announces_more_than_it_holds_is_refused(tmp_path, compression):
    """A tile of 16 x 16 becomes one of thousands, whose pixels are all the same."""
    path = tmp_path / "a.tif"
    name = {7: "jpeg", 34712: "jpeg2000", 34933: "png", 50002: "jpegxl", 22610: "jpegxr", 34887: "lerc"}[compression]
    tifffile.imwrite(path, PICTURE, tile=(16, 16), compression=name, photometric="minisblack", metadata=None)
    assert read(path).shape[3:] == PICTURE.shape
    bomb = ENCODERS[compression](np.zeros((16, 16) if compression == 7 else (4096, 4096), "u1"))
    if compression == 7:  # no JPEG is that short: the head of a small one says more
        at = bomb.index(b"\xff\xc0")
        bomb = bomb[: at + 5] + struct.pack(">HH", 4096, 4096) + bomb[at + 9 :]
    made = {"shape": (64, 48), "dtype": "u1", "tile": (16, 16), "photometric": "minisblack", "metadata": None}
    tifffile.imwrite(path, iter([bomb] * 12), compression=name, **made)
    with pytest.raises(BadVolume, match="it announces"):
        read(path)


def test_a_jpeg_2000_that_announces_gigabytes_is_read_by_windows(tmp_path):
    path = tmp_path / "a.jp2"
    said = {"driver": "JP2OpenJPEG", "count": 1, "height": 64, "width": 48, "dtype": "uint8"}
    with not_georeferenced(), rasterio.open(path, "w", **said) as to:
        to.write(PICTURE, 1)
    held = bytearray(path.read_bytes())
    at, box = held.find(b"\xff\x4f\xff\x51"), held.find(b"ihdr")
    for place in (at + 8, at + 12, at + 24, at + 28, box + 4, box + 8):
        held[place : place + 4] = (30_000).to_bytes(4, "big")
    path.write_bytes(held)
    volume = open_volume(path)
    assert np.prod(volume.chunks) <= 2048 * 2048, "GDAL decodes no more at once"
    with suppress(ILError):
        volume.read(((0, 1), (0, 1), (0, 1), (0, 64), (0, 64)))


@pytest.mark.parametrize(
    "said", ["5", "null", "[]", '"x"', '{"multiscales": 7}', "[" * 100_000, '{"multiscales": [null]}']
)
@pytest.mark.parametrize("name", [".zattrs", ".zgroup", ".zarray"])
def test_metadata_of_zarr_that_are_something_else_are_told(tmp_path, name, said):
    group = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=2)
    group.create_array("0", shape=(4, 4), dtype="u2")[...] = 1
    place = tmp_path / "a.zarr" / ("0" if name == ".zarray" else "") / name
    place.write_text(said)
    for look in (images_in, open_volume, lambda path: open_volume(path, image="0")):
        with suppress(BadVolume):
            look(tmp_path / "a.zarr")


def test_coordinates_as_large_as_the_sea_are_not_read(tmp_path):
    group = zarr.open_group(tmp_path / "a.zarr", mode="w")
    many = 10**12
    for name, shape, names in (("a", (2, many), ("y", "x")), ("x", (many,), ("x",))):
        group.create_array(name, shape=shape, chunks=(1, 1000)[-len(shape) :], dtype="f8", dimension_names=names)
    volume = open_volume(tmp_path / "a.zarr", image="a")
    assert any("too many" in each for each in volume.remarks)


def test_a_stored_chunk_larger_than_any_may_be_is_refused(tmp_path):
    zarr.create_array(tmp_path / "a.zarr", shape=(4, 4), dtype="u2", compressors=None)[...] = 1
    with (tmp_path / "a.zarr" / "c" / "0" / "0").open("r+b") as file:
        file.truncate(3 * 2**30)
    with pytest.raises(BadVolume, match="chunks of at most"):
        read(tmp_path / "a.zarr")


def test_a_zip_named_like_an_archive_of_arrays_is_told(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"PK\x03\x04" + bytes(500))
    with pytest.raises(BadVolume, match="truncated, damaged"):
        open_volume(tmp_path / "a.npz")
    buffer = io.BytesIO()
    np.savez(buffer, a=PICTURE)
    (tmp_path / "a.npz").write_bytes(buffer.getvalue()[:-30])
    with pytest.raises(BadVolume, match="truncated, damaged"):
        images_in(tmp_path / "a.npz")


def test_patches_with_odd_notes_are_told_or_read(tmp_path):
    (tmp_path / "p" / "data").mkdir(parents=True)
    np.save(tmp_path / "p" / "data" / "A.npy", np.ones((1, 4, 4, 1), "f4"))
    for said in ([1, None], {"a": 1}, [["x"]], "x", 10**400):
        (tmp_path / "p" / "timestamps.json").write_text(json.dumps(said))
        (tmp_path / "p" / "bbox.geojson").write_text(json.dumps({"coordinates": said, "crs": said}))
        with suppress(BadVolume):
            read(tmp_path / "p")
