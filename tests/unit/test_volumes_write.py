"""Writing: whole units only, read back, checked, and in the layout that was promised."""

import json
import pickle

import numpy as np
import pytest
import zarr

from ilcore.formats.open import open_volume
from ilcore.grammar.errors import BadInput, CorruptData, DestinationError
from ilcore.grammar.region import aligned, blocks, slices, whole
from ilcore.results.layout import Layout, layout_for
from ilcore.results.write import create_array, open_target

SHAPE = (1, 2, 3, 50, 70)
LAYOUT = Layout((1, 1, 3, 16, 16), (1, 1, 3, 32, 32))


def noise(shape, dtype="uint16", seed=0):
    return np.random.default_rng(seed).integers(1, 4000, shape).astype(dtype)


@pytest.fixture(name="target")
def _target(tmp_path):
    return create_array(str(tmp_path / "a"), shape=SHAPE, dtype="uint16", axes="czyx", layout=LAYOUT)


def fill(target, array):
    for region in blocks(target.shape, target.unit):
        target.write(region, np.ascontiguousarray(array[slices(region)]))


def test_written_units_are_read_again(target, tmp_path):
    array = noise(SHAPE)
    fill(target, array)
    np.testing.assert_array_equal(open_volume(tmp_path / "a").read(whole(SHAPE)), array)
    np.testing.assert_array_equal(target.read(whole(SHAPE)), array)


def test_the_result_has_the_axes_of_the_source_and_checked_compressed_chunks(target, tmp_path):
    said = json.loads((tmp_path / "a" / "zarr.json").read_text())
    assert said["shape"] == [2, 3, 50, 70]
    assert said["dimension_names"] == ["c", "z", "y", "x"]
    inner = said["codecs"][0]["configuration"]
    assert [codec["name"] for codec in inner["codecs"]] == ["bytes", "blosc", "crc32c"]
    assert (
        inner["codecs"][1]["configuration"] | {"cname": "zstd", "shuffle": "bitshuffle", "typesize": 2}
        == (inner["codecs"][1]["configuration"])
    )
    assert target.unit == (1, 1, 3, 32, 32)
    assert target.chunks == (1, 1, 3, 16, 16)


@pytest.mark.parametrize(
    "region",
    [
        ((0, 1), (0, 1), (0, 3), (0, 16), (0, 32)),
        ((0, 1), (0, 1), (0, 3), (16, 48), (0, 32)),
        ((0, 1), (0, 1), (0, 2), (0, 32), (0, 32)),
        ((0, 1), (0, 1), (0, 3), (32, 49), (0, 32)),
        ((0, 1), (0, 1), (0, 3), (32, 64), (0, 32)),
    ],
)
def test_less_than_a_unit_is_refused(target, region):
    block = np.ones([stop - start for start, stop in region], dtype=np.uint16)
    with pytest.raises(BadInput, match=r"whole write units of \(1, 1, 3, 32, 32\)"):
        target.write(region, block)


def test_several_units_and_a_short_one_at_the_edge_are_accepted(target):
    region = ((0, 1), (0, 2), (0, 3), (32, 50), (0, 70))
    block = noise([stop - start for start, stop in region])
    target.write(region, block)
    np.testing.assert_array_equal(target.read(region), block)


@pytest.mark.parametrize("block", [np.ones((1, 1, 3, 32, 31), "uint16"), np.ones((1, 1, 3, 32, 32), "int32")])
def test_another_shape_or_type_is_refused_instead_of_cast(target, block):
    with pytest.raises(BadInput, match="cast and cut it first"):
        target.write(((0, 1), (0, 1), (0, 3), (0, 32), (0, 32)), block)


def test_what_comes_back_changed_is_noticed(target, monkeypatch):
    region = ((0, 1), (0, 1), (0, 3), (0, 32), (0, 32))
    block = noise((1, 1, 3, 32, 32))
    monkeypatch.setattr(type(target), "read", lambda *_: block + np.uint16(1))
    with pytest.raises(CorruptData, match=r"wanted back; got others"):
        target.write(region, block)


def test_what_cannot_be_decoded_is_noticed(target, monkeypatch, tmp_path):
    keep = zarr.storage.LocalStore.set

    async def damaged(self, key, value):
        cut = value.from_bytes(value.to_bytes()[:-9]) if "c/" in key else value
        await keep(self, key, cut)

    monkeypatch.setattr("zarr.storage.LocalStore.set", damaged)
    with pytest.raises(CorruptData, match="cannot be decoded"):
        target.write(((0, 1), (0, 1), (0, 3), (0, 32), (0, 32)), noise((1, 1, 3, 32, 32)))


def test_missing_values_and_fill_values_survive_the_reading_back(tmp_path):
    shape = (1, 1, 1, 8, 8)
    target = create_array(str(tmp_path / "a"), shape=shape, dtype="float32", axes="yx")
    block = np.zeros(shape, dtype=np.float32)
    target.write(whole(shape), block)
    block[0, 0, 0, 2] = np.nan
    block[0, 0, 0, 3] = -np.inf
    target.write(whole(shape), block)
    np.testing.assert_array_equal(open_volume(tmp_path / "a").read(whole(shape)), block)


def test_a_full_disk_is_said_in_one_sentence(target, monkeypatch):
    async def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("zarr.storage.LocalStore.set", full)
    with pytest.raises(DestinationError, match=r"No space left on device; free some space"):
        target.write(((0, 1), (0, 1), (0, 3), (0, 32), (0, 32)), noise((1, 1, 3, 32, 32)))


def test_other_failures_of_the_store_are_not_renamed(target, monkeypatch):
    async def broken(*_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("zarr.storage.LocalStore.set", broken)
    with pytest.raises(OSError, match="Input/output"):
        target.write(((0, 1), (0, 1), (0, 3), (0, 32), (0, 32)), noise((1, 1, 3, 32, 32)))


def test_a_file_in_the_way_is_said_in_one_sentence(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DestinationError, match="a place to write to was wanted"):
        create_array(str(tmp_path / "file" / "0"), shape=SHAPE, dtype="u1")


def test_an_array_is_replaced_only_when_asked(target, tmp_path):
    path = str(tmp_path / "a")
    with pytest.raises(DestinationError, match="exists"):
        create_array(path, shape=SHAPE, dtype="u1")
    assert create_array(path, shape=SHAPE, dtype="u1", overwrite=True).dtype == "uint8"


def test_targets_travel_to_workers_and_open_again(target, tmp_path):
    fill(target, noise(SHAPE))
    assert pickle.loads(pickle.dumps(target)) == target == open_target(str(tmp_path / "a"))
    assert len(pickle.dumps(target)) < 1000


def test_opening_a_target_that_is_not_there(tmp_path):
    with pytest.raises(DestinationError, match="wanted at"):
        open_target(str(tmp_path / "nothing"))


def test_axes_that_are_longer_than_one_cannot_be_left_out(tmp_path):
    with pytest.raises(BadInput, match="name them all"):
        create_array(str(tmp_path / "a"), shape=(1, 2, 1, 8, 8), dtype="u1", axes="yx")


@pytest.mark.parametrize(
    ("shape", "chunks", "shards"),
    [
        ((1, 1, 1, 100, 90), (1, 1, 1, 100, 90), None),
        ((1, 1, 1, 3000, 3000), (1, 1, 1, 512, 512), None),
        ((1, 3, 1, 4096, 4096), (1, 1, 1, 512, 512), (1, 1, 1, 2048, 2048)),
        ((1, 1, 60, 500, 630), (1, 1, 8, 256, 256), None),
        ((1, 1, 200, 512, 512), (1, 1, 8, 256, 256), (1, 1, 16, 512, 512)),
        ((9, 2, 40, 100, 300), (1, 1, 8, 100, 256), (1, 1, 16, 100, 512)),
        ((1, 1, 1, 300, 90000), (1, 1, 1, 300, 512), (1, 1, 1, 300, 2048)),
    ],
)
def test_layouts_of_results(shape, chunks, shards):
    assert layout_for(shape) == Layout(chunks, shards)
    assert all(aligned(region, chunks, shape) for region in blocks(shape, layout_for(shape).unit))


class Counted:
    """Counts the bytes that a local store is asked for."""

    def __init__(self, monkeypatch):
        self.bytes = 0
        keep = zarr.storage.LocalStore.get

        async def get(store, *args, **kwargs):
            found = await keep(store, *args, **kwargs)
            self.bytes += len(found) if found is not None else 0
            return found

        monkeypatch.setattr("zarr.storage.LocalStore.get", get)


def test_reading_a_region_of_a_shard_reads_only_its_inner_chunks(tmp_path, monkeypatch):
    shape = (1, 1, 1, 512, 512)
    layout = Layout((1, 1, 1, 32, 32), (1, 1, 1, 512, 512))
    target = create_array(str(tmp_path / "a"), shape=shape, dtype="uint16", axes="yx", layout=layout)
    array = noise(shape)
    fill(target, array)
    stored = (tmp_path / "a" / "c" / "0" / "0").stat().st_size
    volume = open_volume(tmp_path / "a")
    volume.read(((0, 1), (0, 1), (0, 1), (0, 1), (0, 1)))  # opens it
    counted = Counted(monkeypatch)
    region = ((0, 1), (0, 1), (0, 1), (40, 90), (200, 220))
    np.testing.assert_array_equal(volume.read(region), array[slices(region)])
    # 2 of the 256 inner chunks and the index of the shard, 16 bytes a chunk
    assert 0 < counted.bytes < stored * 2 / 256 * 1.5 + 16 * 256 + 100
