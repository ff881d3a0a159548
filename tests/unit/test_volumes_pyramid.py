"""The pyramid and the root: right means, right places, a description that others accept."""

import json
import tracemalloc

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from ilcore.formats.in_memory import from_array
from ilcore.formats.open import open_volume
from ilcore.grammar.errors import BadVolume
from ilcore.grammar.region import blocks, whole
from ilcore.results.layout import layout_for
from ilcore.results.ome_zarr import write_root
from ilcore.results.pyramid import level_factors, mean_of_cells, shrunk, write_pyramid
from ilcore.results.write import create_array
from ilcore.volumes.validity import Validity

MICRON = "micrometer"


def store(root, volume, name="scan", **root_settings):
    target = create_array(f"{root}/0", shape=volume.shape, dtype=volume.dtype, axes=volume.axes)
    for region in blocks(target.shape, target.unit):
        target.write(region, volume.read(region))
    levels = write_pyramid(str(root), volume)
    write_root(str(root), volume=volume, levels=levels, name=name, **root_settings)
    return levels


def noise(shape, dtype="uint16"):
    return np.random.default_rng(0).integers(0, 4000, shape).astype(dtype)


def slow_mean(block, step):
    """The definition, voxel by voxel."""
    out = np.empty(shrunk(block.shape, step))
    for place in np.ndindex(*out.shape):
        cell = tuple(slice(at * by, (at + 1) * by) for at, by in zip(place, step, strict=True))
        out[place] = block[cell].astype(float).mean()
    return out


@settings(max_examples=60, deadline=None)
@given(st.tuples(*[st.integers(1, 7)] * 3), st.tuples(*[st.integers(1, 3)] * 3), st.integers(0, 9))
def test_the_mean_of_cells_is_the_mean_whatever_the_size(space, by, seed):
    block = np.random.default_rng(seed).integers(0, 256, (1, 2, *space)).astype(np.uint8)
    wanted = slow_mean(block, (1, 1, *by))
    np.testing.assert_allclose(mean_of_cells(block.astype(float), (1, 1, *by)), wanted, rtol=1e-12)
    np.testing.assert_array_equal(mean_of_cells(block, (1, 1, *by)), np.rint(wanted))


def test_missing_values_are_left_out_of_the_mean():
    block = np.array([1.0, np.nan, -9, 3, np.nan, -9, 5, np.inf]).reshape(1, 1, 1, 1, 8)
    found = mean_of_cells(block, (1, 1, 1, 1, 2), Validity((-9,)))
    np.testing.assert_array_equal(found.ravel(), [1, 3, -9, 5])
    without = mean_of_cells(block[..., :2] * np.nan, (1, 1, 1, 1, 2))
    assert np.isnan(without).all()


@pytest.mark.parametrize("dtype", ["uint64", "int64", "uint8", "int16"])
def test_the_ends_of_a_type_survive(dtype):
    info = np.iinfo(dtype)
    block = np.array([info.max, info.max, info.min, info.min], dtype=dtype).reshape(1, 1, 1, 1, 4)
    high, low = mean_of_cells(block, (1, 1, 1, 1, 2)).ravel().tolist()
    assert low == info.min
    assert info.max - 2048 <= high <= info.max


@pytest.mark.parametrize(
    ("shape", "scale", "wanted"),
    [
        ((1, 1, 1, 200, 256), (1, 1, 1, 1, 1), []),
        ((1, 1, 1, 600, 40), (1, 1, 1, 1, 1), [(1, 2, 1), (1, 4, 1)]),
        ((1, 1, 60, 1000, 1000), (1, 1, 2, 0.5, 0.5), [(1, 2, 2), (1, 4, 4)]),
        ((1, 1, 100, 2000, 2000), (1, 1, 1, 0.5, 0.5), [(1, 2, 2), (2, 4, 4), (4, 8, 8)]),
        ((1, 1, 600, 200, 200), (1, 1, 1, 1, 1), [(2, 2, 2), (4, 4, 4)]),
        ((1, 1, 600, 200, 200), (1, 1, 9, 1, 1), []),
        ((1, 1, 10, 512, 512), (1, 1, 1, 1, 1), [(1, 2, 2)]),
    ],
)
def test_levels_go_down_to_a_plane_that_a_screen_shows(shape, scale, wanted):
    assert [factors[2:] for factors in level_factors(shape, scale)] == wanted


@pytest.mark.medium
def test_every_level_is_the_mean_of_the_source(tmp_path):
    array = noise((3, 530, 610))
    volume = from_array(array, "zyx")
    levels = store(tmp_path / "a.ome.zarr", volume)
    assert [level.shape for level in levels] == [(1, 1, 3, 530, 610), (1, 1, 3, 265, 305), (1, 1, 3, 133, 153)]
    one = open_volume(tmp_path / "a.ome.zarr", level=1)
    np.testing.assert_array_equal(
        one.read(whole(one.shape))[0, 0], np.rint(slow_mean(array[None, None], (1, 1, 1, 2, 2))[0, 0])
    )
    two = open_volume(tmp_path / "a.ome.zarr", level=2)
    assert two.dtype == array.dtype
    assert abs(two.read(whole(two.shape)).mean() - array.mean()) < 2


def test_a_written_result_opens_as_its_source(tmp_path):
    volume = from_array(
        noise((2, 3, 300, 280)),
        "czyx",
        scale=(1, 2.5, 0.3, 0.2),
        units=(None, MICRON, MICRON, MICRON),
        channels=("DAPI", "GFP"),
    )
    store(tmp_path / "a.ome.zarr", volume, attributes={"made by": {"version": 1}})
    found = open_volume(tmp_path / "a.ome.zarr")
    for name in ("shape", "dtype", "axes", "scale", "units", "channels", "origin"):
        assert getattr(found, name) == getattr(volume, name), name
    np.testing.assert_array_equal(found.read(whole(found.shape)), volume.read(whole(volume.shape)))
    assert found.levels == 2
    assert json.loads((tmp_path / "a.ome.zarr" / "zarr.json").read_text())["attributes"]["made by"] == {"version": 1}


@pytest.mark.medium
def test_coarser_levels_keep_the_voxels_where_they_are_in_the_world(tmp_path):
    volume = from_array(noise((64, 600, 600)), "zyx", scale=(1, 0.5, 0.5), units=(MICRON,) * 3)
    store(tmp_path / "a", volume)
    two = open_volume(tmp_path / "a", level=2)
    assert two.scale[2:] == (2, 2, 2)
    # The first voxel covers 2 planes and 4 x 4 pixels; its middle is so far from that of the first voxel of level 0.
    assert two.origin[2:] == (0.5, 0.75, 0.75)


def test_display_settings_and_origin_of_the_source_are_copied(tmp_path):
    first = from_array(noise((2, 300, 300)), "cyx", channels=("a", "b"))
    store(tmp_path / "first", first)
    path = tmp_path / "first" / "zarr.json"
    said = json.loads(path.read_text())
    said["attributes"]["ome"]["omero"]["channels"][1] |= {"color": "123456", "window": {"start": 7, "end": 9}}
    for level in said["attributes"]["ome"]["multiscales"][0]["datasets"]:
        level["coordinateTransformations"][1]["translation"][1] += 40
    path.write_text(json.dumps(said))
    source = open_volume(tmp_path / "first")
    assert source.origin == (0, 0, 0, 40, 0)
    store(tmp_path / "second", source)
    found = json.loads((tmp_path / "second" / "zarr.json").read_text())["attributes"]["ome"]
    assert found["omero"]["channels"][1]["color"] == "123456"
    assert found["omero"]["channels"][1]["window"] == {"min": 0, "max": 65535, "start": 7, "end": 9}
    assert open_volume(tmp_path / "second").origin == source.origin


def test_nothing_opens_before_the_root_is_written(tmp_path):
    volume = from_array(noise((2, 300, 300)), "cyx")
    root = tmp_path / "a"
    target = create_array(f"{root}/0", shape=volume.shape, dtype=volume.dtype, axes=volume.axes)
    for region in blocks(target.shape, target.unit):
        target.write(region, volume.read(region))
    levels = write_pyramid(str(root), volume)
    with pytest.raises(BadVolume, match="there is none"):
        open_volume(root)
    for _ in range(2):  # a second time, after an interruption, is no error
        write_root(str(root), volume=volume, levels=levels, name="scan")
    assert open_volume(root).levels == 2


def test_an_interrupted_pyramid_is_made_again(tmp_path):
    volume = from_array(noise((600, 600)), "yx")
    levels = store(tmp_path / "a", volume)
    digest = open_volume(tmp_path / "a", level=1).digest()
    assert write_pyramid(str(tmp_path / "a"), volume) == levels
    assert open_volume(tmp_path / "a", level=1).digest() == digest


SOURCES = {
    "plane": from_array(noise((300, 300)), "yx"),
    "channels": from_array(noise((2, 300, 300)), "cyx"),
    "colour last": from_array(noise((300, 310, 3), "uint8"), "yxc"),
    "stack": from_array(noise((4, 300, 300), "float32"), "zyx", scale=(2, 0.1, 0.1), units=(MICRON,) * 3),
    "movie": from_array(noise((2, 300, 300)), "tyx", scale=(5, 1, 1), units=("second", None, None)),
    "all": from_array(noise((2, 2, 3, 300, 300), "int16"), "tczyx"),
    "unusual order": from_array(noise((2, 3, 2, 300, 300)), "zctyx"),
}


@pytest.mark.medium
@pytest.mark.parametrize("kind", SOURCES)
def test_independent_rules_accept_the_result(tmp_path, kind):
    models = pytest.importorskip("ome_zarr_models.v05")
    omero = pytest.importorskip("ome_zarr_models.common.omero")
    volume = SOURCES[kind]
    store(tmp_path / "a", volume, name=kind)
    image = models.Image.from_zarr(zarr.open_group(str(tmp_path / "a"), mode="r"))
    (scales,) = image.attributes.ome.multiscales
    assert scales.name == kind
    assert [axis.name for axis in scales.axes] == [axis for axis in "tczyx" if axis in volume.axes]
    assert len(scales.datasets) == 2
    assert len(omero.Omero.model_validate(image.attributes.ome.omero).channels) == volume.shape[1]


@pytest.mark.medium
@pytest.mark.parametrize("kind", SOURCES)
def test_the_rules_of_the_specification_hold(tmp_path, kind):
    """The MUSTs of OME-Zarr 0.5, checked on the bytes without the library that wrote them."""
    volume = SOURCES[kind]
    store(tmp_path / "a", volume)
    root = json.loads((tmp_path / "a" / "zarr.json").read_text())
    ome = root["attributes"]["ome"]
    (image,) = ome["multiscales"]
    assert (root["zarr_format"], root["node_type"], ome["version"]) == (3, "group", "0.5")
    types = [axis["type"] for axis in image["axes"]]
    assert types == sorted(types, key=["time", "channel", "space"].index)
    assert types.count("space") in (2, 3)
    assert all(axis.get("unit") in (None, "micrometer", "second") for axis in image["axes"])
    sizes = []
    for level in image["datasets"]:
        array = json.loads((tmp_path / "a" / level["path"] / "zarr.json").read_text())
        assert array["dimension_names"] == [axis["name"] for axis in image["axes"]]
        kinds = [step["type"] for step in level["coordinateTransformations"]]
        assert kinds == ["scale", "translation"]
        assert all(
            len(step[step["type"]]) == len(image["axes"]) == len(array["shape"])
            for step in level["coordinateTransformations"]
        )
        sizes.append(np.prod(array["shape"]))
    assert sizes == sorted(sizes, reverse=True)
    for channel in ome["omero"]["channels"]:
        assert len(bytes.fromhex(channel["color"])) == 3
        assert set(channel["window"]) == {"min", "max", "start", "end"}
        assert channel["window"]["start"] < channel["window"]["end"]


@pytest.mark.medium
def test_memory_does_not_grow_with_the_volume(tmp_path, monkeypatch):
    monkeypatch.setattr("ilcore.results.layout.PLANE_CHUNK", (1, 128, 128))
    monkeypatch.setattr("ilcore.results.layout.PLANE_SHARD", (1, 2, 2))

    def peak(side):
        volume = from_array(np.zeros((side, side), dtype=np.uint16), "yx")
        root = tmp_path / str(side)
        target = create_array(f"{root}/0", shape=volume.shape, dtype=volume.dtype, axes="yx")
        assert layout_for(volume.shape).shards == (1, 1, 1, 256, 256)
        target.write(((0, 1), (0, 1), (0, 1), (0, 256), (0, 256)), np.ones((1, 1, 1, 256, 256), dtype=np.uint16))
        tracemalloc.start()
        write_pyramid(str(root), volume)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(2050)  # what is made once for all
    assert peak(6000) < 1.3 * peak(2049)
