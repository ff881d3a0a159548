"""Places that hold several images: they are listed, one is opened by name, and without a name it is said how."""

import io
import json
import zipfile

import numpy as np
import pytest
import tifffile
import zarr
from ome_zarr_models.v05 import HCS

from ilcore.formats.open import images_in, open_volume
from ilcore.formats.plain_file import PlainArray
from ilcore.grammar.errors import BadVolume
from ilcore.grammar.region import whole

AXES = [{"name": "y", "type": "space", "unit": "micrometer"}, {"name": "x", "type": "space", "unit": "micrometer"}]


def image(path, value, version=3):
    """A small OME-Zarr image."""
    step = {"type": "scale", "scale": [0.5, 0.5]}
    said = {"multiscales": [{"axes": AXES, "datasets": [{"path": "0", "coordinateTransformations": [step]}]}]}
    attributes = {"ome": {"version": "0.5", **said}} if version == 3 else said
    zarr.create_group(store=str(path), zarr_format=version, attributes=attributes)
    names = {"dimension_names": ("y", "x")} if version == 3 else {}
    zarr.create_array(store=str(path / "0"), shape=(8, 9), dtype="u1", zarr_format=version, **names)[...] = value
    return path


def plate(path, version=3):
    """Two wells of two fields; a third well was not imaged."""
    wells = [
        {"path": f"{row}/{column}", "rowIndex": at, "columnIndex": 0}
        for at, (row, column) in enumerate(["A1", "B1", "C1"])
    ]
    said = {
        "plate": {
            "name": "p",
            "version": "0.5",
            "rows": [{"name": name} for name in "ABC"],
            "columns": [{"name": "1"}],
            "wells": wells,
        }
    }

    def group(place, content):
        attributes = {"ome": {"version": "0.5", **content}} if version == 3 else content
        zarr.create_group(store=str(place), zarr_format=version, attributes=attributes)

    group(path, said)
    for row in "AB":
        group(path / row / "1", {"well": {"version": "0.5", "images": [{"path": "0"}, {"path": "1"}]}})
        for field in "01":
            image(path / row / "1" / field, 10 * "AB".index(row) + int(field), version)
    return path


@pytest.mark.parametrize("version", [2, 3])
def test_the_fields_of_a_plate(tmp_path, version):
    path = plate(tmp_path / "p.zarr", version)
    if version == 3:
        HCS.from_zarr(zarr.open_group(str(path), mode="r"))
    assert images_in(path) == ("A/1/0", "A/1/1", "B/1/0", "B/1/1")
    assert images_in(path / "A" / "1") == ("0", "1")
    assert images_in(path / "A" / "1" / "0") == ()
    volume = open_volume(path, image="B/1/1")
    assert (volume.read(whole(volume.shape)) == 11).all()
    assert (volume.uri, volume.image, volume.scale[3]) == (str(path), "B/1/1", 0.5)
    with pytest.raises(BadVolume, match=r"A/1/0, A/1/1, .*choose one with image= \(--image\), for example A/1/0"):
        open_volume(path)


@pytest.mark.parametrize("wrong", ["C/1/0", "A/1/7", "A/1", "../p.zarr/A/1/0", "", "nonsense", "A/1/0/../1"])
def test_an_unknown_image_of_a_plate(tmp_path, wrong):
    path = plate(tmp_path / "p.zarr")
    with pytest.raises(BadVolume, match="A/1/0, A/1/1|of several images 0, 1"):
        open_volume(path, image=wrong)


@pytest.mark.parametrize("damage", [{"wells": "?"}, {"wells": [{}]}, {}])
def test_a_plate_whose_metadata_are_wrong(tmp_path, damage):
    zarr.create_group(store=str(tmp_path / "p.zarr"), attributes={"ome": {"version": "0.5", "plate": damage}})
    with pytest.raises(BadVolume, match="names of wells, fields or series were wanted"):
        images_in(tmp_path / "p.zarr")


@pytest.mark.parametrize("is_listed", [True, False])
def test_the_series_of_a_converted_slide(tmp_path, is_listed):
    path = tmp_path / "s.zarr"
    zarr.create_group(store=str(path), zarr_format=2, attributes={"bioformats2raw.layout": 3})
    for at in range(11):
        image(path / str(at), at, 2)
    if is_listed:
        zarr.create_group(store=str(path / "OME"), zarr_format=2, attributes={"series": ["1", "0"]})
    assert images_in(path) == (("1", "0") if is_listed else tuple(map(str, range(11))))
    assert open_volume(path, image="1").format == "ome-zarr 0.4"


def test_a_lone_series_opens_without_a_name(tmp_path):
    zarr.create_group(
        store=str(tmp_path / "s.zarr"), attributes={"ome": {"version": "0.5", "bioformats2raw.layout": 3}}
    )
    image(tmp_path / "s.zarr" / "0", 3)
    assert open_volume(tmp_path / "s.zarr") == open_volume(tmp_path / "s.zarr", image=None)
    assert images_in(tmp_path / "s.zarr") == ("0",)


def test_arrays_and_images_of_any_group(tmp_path):
    group = zarr.create_group(store=str(tmp_path / "g"))
    group.create_array("raw", shape=(4, 5), dtype="u1")[...] = 1
    group.create_array("other", shape=(4, 4, 6), dtype="f4")[...] = 2
    image(tmp_path / "g" / "inner", 3)
    assert images_in(tmp_path / "g") == ("other", "raw", "inner")
    for name, value in (("raw", 1), ("other", 2), ("inner", 3)):
        volume = open_volume(tmp_path / "g", image=name)
        assert (volume.read(whole(volume.shape)) == value).all()
    with pytest.raises(BadVolume, match="several images other, raw, inner"):
        open_volume(tmp_path / "g")


def test_a_remote_container():
    group = zarr.create_group(store="memory://containers/a.zarr")
    for at, name in enumerate("ab"):
        group.create_array(name, shape=(4, 5), dtype="u1")[...] = at
    assert images_in("memory://containers/a.zarr") == ("a", "b")
    assert open_volume("memory://containers/a.zarr", image="b").read(((0, 1),) * 5).max() == 1


def test_the_images_of_a_tiff(tmp_path):
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as file:
        file.write(np.full((3, 20, 30), 1, "u2"), metadata={"axes": "ZYX"}, photometric="minisblack")
        file.write(np.full((40, 30), 2, "u1"), compression="lzw")
    assert images_in(path) == ("0", "1")
    first, second = (open_volume(path, image=name) for name in "01")
    assert (first.axes, first.shape[2:], second.axes, second.shape[3:]) == ("zyx", (3, 20, 30), "yx", (40, 30))
    for value, volume in ((1, first), (2, second)):
        assert (volume.read(whole(volume.shape)) == value).all()
    with pytest.raises(BadVolume, match=r"holds 2: 0 \(3 x 20 x 30\), 1 \(40 x 30\); choose one"):
        open_volume(path)
    with pytest.raises(BadVolume, match=r"got '2'; it has 0"):
        open_volume(path, image="2")


def test_the_images_of_an_ome_tiff_have_their_own_sizes_and_names(tmp_path):
    path = tmp_path / "a.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as file:
        for at, size in enumerate((0.5, 2.0)):
            said = {"axes": "CYX", "PhysicalSizeX": size, "Channel": {"Name": [f"{at}a", f"{at}b"]}}
            file.write(np.full((2, 20, 30 + at), at, "u2"), metadata=said, photometric="minisblack")
    for at, size in enumerate((0.5, 2.0)):
        volume = open_volume(path, image=str(at))
        assert (volume.scale[4], volume.units[4], volume.channels) == (size, "micrometer", (f"{at}a", f"{at}b"))
        assert (volume.read(whole(volume.shape)) == at).all()


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_the_arrays_of_an_npz(tmp_path, save):
    path = tmp_path / "a.npz"
    arrays = {"a": np.arange(60, dtype=">i2").reshape(3, 4, 5), "b": np.asfortranarray(np.arange(12.0).reshape(3, 4))}
    save(path, **arrays)
    assert images_in(path) == ("a", "b")
    for name, array in arrays.items():
        volume = open_volume(path, image=name)
        assert volume.format == "npz"
        np.testing.assert_array_equal(volume.read(whole(volume.shape)).reshape(array.shape), array)
    with pytest.raises(BadVolume, match="holds 2: a, b; choose one"):
        open_volume(path)
    with pytest.raises(BadVolume, match="got 'c'; it has a, b"):
        open_volume(path, image="c")
    with pytest.raises(BadVolume, match="leave level at 0"):
        open_volume(path, image="a", level=1)
    save(path, a=np.ones((4, 5)))
    assert open_volume(path).shape == (1, 1, 1, 4, 5)


def test_an_npz_that_lies_plain_is_not_read_whole(tmp_path, monkeypatch):
    np.savez(tmp_path / "a.npz", a=np.ones((50, 60)))
    volume = open_volume(tmp_path / "a.npz")
    assert isinstance(volume.source.array, PlainArray)
    np.savez_compressed(tmp_path / "b.npz", a=np.ones((50, 60)))
    assert open_volume(tmp_path / "b.npz").chunks[3:] == (50, 60)


def test_objects_in_an_npz_are_never_unpickled(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (pytest.fail, ("a .npz file was unpickled",))

    np.savez(tmp_path / "a.npz", a=np.array([[Bomb(), 1]], dtype=object))
    with pytest.raises(BadVolume, match="only unpickling could read"):
        open_volume(tmp_path / "a.npz")


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_a_truncated_npz(tmp_path, share):
    path = tmp_path / "a.npz"
    np.savez(path, a=np.random.default_rng(0).normal(size=(40, 50)))
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(BadVolume, match="truncated, damaged"):
        open_volume(path)


def test_a_zip_without_arrays(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(BadVolume, match="has none; save one with"):
        open_volume(tmp_path / "a.npz")
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("a.npy", io.BytesIO(b"no array").getvalue())
    with pytest.raises(BadVolume, match="truncated, damaged"):
        open_volume(tmp_path / "a.npz")


def eopatch(path):
    """A folder as eo-learn writes it."""
    data = np.random.default_rng(0).normal(size=(3, 6, 5, 2)).astype("f4")
    for name, array in (("data/BANDS", data), ("mask/CLM", data > 0), ("data_timeless/DEM", data[0, :, :, :1])):
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        np.save(path / f"{name}.npy", array)
    zarr.create_array(store=str(path / "data" / "NDVI.zarr"), shape=(3, 6, 5, 1), dtype="f4")[...] = data[..., :1]
    (path / "timestamps.json").write_text(
        json.dumps(["2020-01-01T10:00:00", "2020-01-06T10:00:00", "2020-01-11T10:00:00"])
    )
    box = [[[500000, 5200000], [500050, 5200000], [500050, 5200060], [500000, 5200060], [500000, 5200000]]]
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32633"}}
    (path / "bbox.geojson").write_text(json.dumps({"type": "Polygon", "coordinates": box, "crs": crs}))
    return data


def test_the_features_of_an_eopatch(tmp_path):
    data = eopatch(tmp_path)
    assert images_in(tmp_path) == ("data/BANDS", "data/NDVI", "mask/CLM", "data_timeless/DEM")
    volume = open_volume(tmp_path, image="data/BANDS")
    assert (volume.axes, volume.shape, volume.format) == ("tyxc", (3, 2, 1, 6, 5), "eopatch npy")
    assert volume.scale == (5 * 86400, 1, 1, 10, 10)
    assert volume.units == ("second", None, None, "meter", "meter")
    assert volume.about.affine == (10, 0, 500000, 0, -10, 5200060)
    assert volume.about.acquired == "2020-01-01T10:00:00"
    assert len(json.loads(volume.about.attributes)["timestamps"]) == 3
    np.testing.assert_array_equal(volume.read(whole(volume.shape))[:, :, 0], data.transpose(0, 3, 1, 2))
    stored = open_volume(tmp_path, image="data/NDVI")
    np.testing.assert_array_equal(stored.read(whole(stored.shape))[:, 0, 0], data[..., 0])
    assert open_volume(tmp_path, image="data_timeless/DEM").axes == "yxc"
    assert open_volume(tmp_path, image="mask/CLM").kind == "mask"
    with pytest.raises(BadVolume, match="holds 4: data/BANDS"):
        open_volume(tmp_path)
    with pytest.raises(BadVolume, match="got 'data/X'; it has data/BANDS"):
        open_volume(tmp_path, image="data/X")


def test_an_eopatch_of_which_only_voxels_are_known(tmp_path):
    eopatch(tmp_path)
    for name in ("timestamps.json", "bbox.geojson"):
        (tmp_path / name).unlink()
    volume = open_volume(tmp_path, image="data/BANDS")
    assert (volume.about.affine, volume.about.crs, volume.scale) == (None, None, (1,) * 5)
    (tmp_path / "timestamps.json").write_text("{")
    with pytest.raises(BadVolume, match=r"timestamps.json; it is damaged"):
        open_volume(tmp_path, image="data/BANDS")


@pytest.mark.parametrize("kind", ["npy", "zarr"])
def test_a_name_for_what_is_one_image(tmp_path, kind):
    np.save(tmp_path / "a.npy", np.ones((4, 5)))
    zarr.create_array(store=str(tmp_path / "a.zarr"), shape=(4, 4), dtype="u1")
    assert images_in(tmp_path / f"a.{kind}") == ()
    with pytest.raises(BadVolume, match="leave image out"):
        open_volume(tmp_path / f"a.{kind}", image="0")
