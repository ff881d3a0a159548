"""What is no volume is refused with one sentence that says why; what is damaged names the region."""

import json
import logging
import struct

import numpy as np
import pytest
import tifffile
import zarr

from ilcore.formats.open import from_array, open_volume
from ilcore.grammar.errors import BadVolume, CorruptData
from ilcore.grammar.region import whole


def refusal(path, **said):
    """Open, and return the one-sentence reason of the refusal."""
    with pytest.raises(BadVolume) as caught:
        open_volume(path, **said)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


def save(path, array):
    np.save(path, array)
    return path


def test_a_missing_path(tmp_path):
    assert "there is nothing" in refusal(tmp_path / "nowhere.zarr")


def test_a_missing_remote_path():
    assert "there is none" in refusal("memory://nowhere/scan.zarr")


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89PNG\r\n\x1a\n" + bytes(50)])
def test_a_file_that_is_no_volume(tmp_path, content):
    path = tmp_path / "scan.tif"
    path.write_bytes(content)
    assert "is none of them" in refusal(path)


def test_a_folder_that_is_no_volume(tmp_path):
    assert "there is none" in refusal(tmp_path)


def test_a_group_without_an_image_names_its_arrays(tmp_path):
    group = zarr.create_group(store=str(tmp_path / "g"), zarr_format=3)
    group.create_array("raw", shape=(4, 4), dtype="u1")
    (tmp_path / "g" / "notes.txt").write_text("not Zarr's own")
    assert "open one of its arrays: raw" in refusal(tmp_path / "g")


def test_an_empty_group(tmp_path):
    zarr.create_group(store=str(tmp_path / "g"), zarr_format=3)
    assert "it holds no array" in refusal(tmp_path / "g")


def test_a_group_of_several_images_says_which_to_open(tmp_path):
    zarr.create_group(store=str(tmp_path / "g"), zarr_format=2, attributes={"bioformats2raw.layout": 3})
    assert f"for example {tmp_path / 'g'}/0" in refusal(tmp_path / "g")


@pytest.mark.parametrize("shape", [(0, 5), (3, 0, 5)])
def test_an_empty_array(tmp_path, shape):
    assert "is empty" in refusal(save(tmp_path / "a.npy", np.zeros(shape)))
    zarr.create_array(store=str(tmp_path / "a.zarr"), shape=shape, dtype="u1", chunks=(1,) * len(shape))
    assert "is empty" in refusal(tmp_path / "a.zarr")


def test_a_single_number(tmp_path):
    assert "single number (0-d)" in refusal(save(tmp_path / "a.npy", np.array(3.0)))
    zarr.create_array(store=str(tmp_path / "a.zarr"), shape=(), dtype="u1")
    assert "single number (0-d)" in refusal(tmp_path / "a.zarr")


@pytest.mark.parametrize("shape", [(2, 1, 1, 1, 4, 4), (1, 1, 1, 1, 4, 4)])
def test_too_many_axes(tmp_path, shape):
    assert "2 to 5 axes" in refusal(save(tmp_path / "a.npy", np.ones(shape)))


@pytest.mark.parametrize("axes", ["zyq", "zzyx", "zyy", "zy", "tczyx", "ztc"])
def test_unknown_axes(tmp_path, axes):
    path = save(tmp_path / "a.npy", np.ones((3, 4, 5)))
    assert "say which is which with axes=" in refusal(path, axes=axes)


def test_unknown_axes_of_the_source_can_be_told(tmp_path):
    path = str(tmp_path / "a.zarr")
    zarr.create_array(store=path, shape=(3, 4, 5), dtype="u1", dimension_names=("angle", "y", "x"))
    assert "'angle'" in refusal(path)
    assert open_volume(path, axes="tyx").shape == (3, 1, 1, 4, 5)


def test_a_picture_that_may_be_a_stack_must_be_told(tmp_path):
    path = save(tmp_path / "a.npy", np.ones((40, 50, 3), dtype=np.uint8))
    assert "axes='yxc' or axes='zyx'" in refusal(path)
    assert open_volume(path, axes="yxc").shape == (1, 3, 1, 40, 50)
    assert open_volume(path, axes="zyx").shape == (1, 1, 40, 50, 3)


@pytest.mark.parametrize(
    ("dtype", "advice"),
    [("complex64", "two channels"), ("M8[s]", "convert it to numbers")],
)
def test_types_that_are_no_real_numbers(tmp_path, dtype, advice):
    array = np.zeros((4, 4), dtype=dtype)
    assert advice in refusal(save(tmp_path / "a.npy", array))
    zarr.create_array(store=str(tmp_path / "a.zarr"), shape=(4, 4), dtype=dtype, zarr_format=2)
    assert advice in refusal(tmp_path / "a.zarr")
    with pytest.raises(BadVolume, match=advice):
        from_array(array)


def test_objects_are_refused_and_never_unpickled(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (pytest.fail, ("a .npy file was unpickled",))

    np.save(tmp_path / "a.npy", np.array([[Bomb(), 1]], dtype=object), allow_pickle=True)
    assert "holds objects" in refusal(tmp_path / "a.npy")
    with pytest.raises(BadVolume, match="convert it to numbers"):
        from_array(np.array([[None, 1]], dtype=object))


def test_objects_in_zarr(tmp_path):
    path = tmp_path / "a.zarr"
    path.mkdir()
    described = {
        "zarr_format": 2,
        "shape": [4, 4],
        "chunks": [4, 4],
        "dtype": "|O",
        "compressor": None,
        "fill_value": None,
        "order": "C",
        "filters": [{"id": "pickle", "protocol": 5}],
    }
    (path / ".zarray").write_text(json.dumps(described))
    assert "|O" in refusal(path) or "object" in refusal(path)


def test_a_bool_tiff_is_a_mask(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.ones((3, 20, 20), dtype=bool))
    volume = open_volume(path)
    assert (volume.kind, volume.dtype) == ("mask", np.uint8)


def test_a_huge_single_chunk(tmp_path):
    side = 50_000
    zarr.create_array(store=str(tmp_path / "a.zarr"), shape=(side, side), chunks=(side, side), dtype="u1")
    assert "2.3 GiB; rewrite it with smaller chunks" in refusal(tmp_path / "a.zarr")


def test_a_large_array_without_chunks_is_read_in_part(tmp_path):
    path = tmp_path / "a.npy"
    np.lib.format.open_memmap(path, mode="w+", dtype="u1", shape=(50_000, 50_000)).flush()
    volume = open_volume(path)
    assert volume.read(((0, 1), (0, 1), (0, 1), (49_990, 50_000), (0, 10))).shape == (1, 1, 1, 10, 10)
    assert volume.chunks[3] < 50_000


def test_a_level_that_does_not_exist(tmp_path):
    path = save(tmp_path / "a.npy", np.ones((4, 4)))
    assert "leave level at 0" in refusal(path, level=1)
    zarr.create_array(store=str(tmp_path / "a.zarr"), shape=(4, 4), dtype="u1")
    assert "leave level at 0" in refusal(tmp_path / "a.zarr", level=2)
    tifffile.imwrite(tmp_path / "a.tif", np.ones((40, 40), dtype=np.uint8))
    assert "a level from 0 to 0 was wanted" in refusal(tmp_path / "a.tif", level=1)


@pytest.mark.parametrize(
    "image",
    [
        {"axes": [{"name": "y"}, {"name": "x"}]},
        {"axes": [{"type": "space"}, {"name": "x"}], "datasets": [{"path": "0"}]},
        {"axes": "yx", "datasets": [{"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [1]}]}]},
        {"axes": "yx", "datasets": [{"path": "0", "coordinateTransformations": [{"type": "scale"}]}]},
        "an image",
    ],
)
def test_ome_metadata_that_cannot_be_understood(tmp_path, image):
    zarr.create_group(store=str(tmp_path / "g"), attributes={"ome": {"version": "0.5", "multiscales": [image]}})
    assert "they cannot be read" in refusal(tmp_path / "g")


def test_ome_metadata_that_point_nowhere(tmp_path):
    image = {"axes": [{"name": "y"}, {"name": "x"}], "datasets": [{"path": "7"}]}
    zarr.create_group(store=str(tmp_path / "g"), attributes={"ome": {"version": "0.5", "multiscales": [image]}})
    with pytest.raises(BadVolume, match="wanted at .*g/7; there is none"):
        open_volume(tmp_path / "g")


def test_ome_axes_that_do_not_fit_the_array(tmp_path):
    image = {"axes": [{"name": "z"}, {"name": "y"}, {"name": "x"}], "datasets": [{"path": "0"}]}
    zarr.create_array(store=str(tmp_path / "g" / "0"), shape=(4, 4), dtype="u1")
    zarr.create_group(store=str(tmp_path / "g"), attributes={"ome": {"version": "0.5", "multiscales": [image]}})
    assert "2 axes out of t c z y x" in refusal(tmp_path / "g")


@pytest.mark.parametrize("content", ["{", "[]", '{"zarr_format": 3, "node_type": "array"}', '{"zarr_format": 9}'])
def test_damaged_zarr_metadata(tmp_path, content):
    (tmp_path / "zarr.json").write_text(content)
    refusal(tmp_path)


@pytest.mark.parametrize("share", [0.02, 0.5, 0.99])
def test_a_truncated_npy_file(tmp_path, share):
    path = save(tmp_path / "a.npy", np.arange(4000.0).reshape(40, 100))
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    assert "truncated" in refusal(path)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.8])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"compression": "lzw"},
        {"metadata": None},
        {"metadata": None, "compression": "deflate"},
        {"imagej": True, "metadata": {"axes": "ZYX"}},
    ],
    ids=["plain", "lzw", "no metadata", "no metadata deflate", "imagej"],
)
def test_a_truncated_tiff_never_opens_with_fewer_planes(tmp_path, settings, share, monkeypatch):
    monkeypatch.setattr(logging.getLogger("tifffile"), "disabled", True)
    path = tmp_path / "a.tif"
    noise = np.random.default_rng(0).integers(0, 4000, (6, 60, 70)).astype(np.uint16)
    tifffile.imwrite(path, noise, **settings)
    assert open_volume(path).shape[2] == 6
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    assert "truncated or damaged" in refusal(path)


def test_a_tiff_of_unknown_compression(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.ones((20, 20), dtype=np.uint8), metadata=None)
    content = path.read_bytes()
    tag = struct.pack("<HHI", 259, 3, 1)
    at = content.index(tag) + len(tag)
    path.write_bytes(content[:at] + struct.pack("<H", 34676) + content[at + 2 :])
    assert "known compression" in refusal(path)


REGION = ((0, 1), (0, 1), (0, 3), (16, 32), (0, 16))
PLACE = "z 0:3, y 16:32, x 0:16"


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path):
    path.write_bytes(b"")


CHECKED = {"compressors": (zarr.codecs.ZstdCodec(), zarr.codecs.Crc32cCodec())}
STORED = {
    "v3 crc": (CHECKED, "c/0/1/0"),
    "v3 gzip": ({"compressors": zarr.codecs.GzipCodec()}, "c/0/1/0"),
    "v3 blosc": ({"compressors": zarr.codecs.BloscCodec()}, "c/0/1/0"),
    "v2 zlib": ({"zarr_format": 2, "compressors": {"id": "zlib", "level": 1}}, "0.1.0"),
}
UNSEEN = ("v3 blosc", flip)


# Blosc alone does not see a flipped byte; this is why our own results carry checksums.
@pytest.mark.parametrize(
    ("settings", "damage"), [(name, how) for name in STORED for how in (flip, cut, empty) if (name, how) != UNSEEN]
)
def test_a_damaged_chunk_names_the_region_and_spares_the_others(tmp_path, settings, damage):
    said, chunk = STORED[settings]
    path = tmp_path / "a.zarr"
    array = np.random.default_rng(0).integers(0, 99, (3, 64, 32)).astype(np.uint16)
    zarr.create_array(store=str(path), shape=array.shape, dtype="u2", chunks=(3, 16, 16), **said)[...] = array
    damage(path / chunk)
    volume = open_volume(path)
    with pytest.raises(CorruptData, match=PLACE) as caught:
        volume.read(REGION)
    assert caught.value.exit_code == 1
    with pytest.raises(CorruptData):
        volume.digest()
    sound = ((0, 1), (0, 1), (0, 3), (32, 64), (0, 32))
    np.testing.assert_array_equal(volume.read(sound)[0, 0], array[:, 32:64])


def test_a_truncated_chunk_without_compression(tmp_path):
    path = tmp_path / "a.zarr"
    zarr.create_array(store=str(path), shape=(3, 32, 16), dtype="u2", chunks=(3, 16, 16), compressors=None)[...] = 5
    cut(path / "c/0/1/0")
    with pytest.raises(CorruptData, match=PLACE):
        open_volume(path).read(REGION)


@pytest.mark.parametrize("damage", [cut, empty])
def test_a_truncated_shard(tmp_path, damage):
    path = tmp_path / "a.zarr"
    zarr.create_array(store=str(path), shape=(3, 32, 16), dtype="u2", chunks=(3, 16, 16), shards=(3, 32, 16))[...] = 5
    damage(path / "c/0/0/0")
    with pytest.raises(CorruptData, match=PLACE):
        open_volume(path).read(REGION)


def test_a_damaged_tiff_strip(tmp_path):
    path = tmp_path / "a.tif"
    noise = np.random.default_rng(0).integers(0, 60000, (3, 32, 16)).astype(np.uint16)
    tifffile.imwrite(path, noise, compression="deflate", photometric="minisblack", metadata={"axes": "ZYX"})
    with tifffile.TiffFile(path) as file:
        page = file.pages[1]
        start, count = page.dataoffsets[0], page.databytecounts[0]
    content = path.read_bytes()
    path.write_bytes(content[:start] + bytes(count) + content[start + count :])
    with pytest.raises(CorruptData, match=PLACE):
        open_volume(path).read(REGION)


def test_a_store_that_does_not_answer_is_no_damage(tmp_path, monkeypatch):
    zarr.create_array(store=str(tmp_path / "a.zarr"), shape=(4, 4), dtype="u1")[...] = 1
    volume = open_volume(tmp_path / "a.zarr")

    async def refuse(*_, **__):
        raise ConnectionError("no answer")

    monkeypatch.setattr("zarr.storage.LocalStore.get", refuse)
    with pytest.raises(ConnectionError):
        volume.read(whole(volume.shape))
