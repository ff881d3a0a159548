"""OME-Zarr 0.6, colours, dates, lines, axes of length 1, microscopes, and what `il info` tells."""

import json
import pickle

import numpy as np
import pytest
import tifffile
import zarr

from ilcore.formats.in_memory import from_array
from ilcore.formats.microscope import FORMAT
from ilcore.formats.open import open_volume
from ilcore.formats.protocol import OpenOptions
from ilcore.grammar.errors import BadVolume
from ilcore.grammar.region import whole
from ilcore.volumes.volume import make_volume
from tasks.describe import describe


def image_06(path, *steps, output="intrinsic"):
    """An OME-Zarr 0.6 whose level is placed by some steps, and which is also placed on a stage by an affine."""
    axes = [{"name": name, "type": "space", "unit": "micrometer"} for name in "zyx"]
    (step,) = steps if len(steps) == 1 else ({"type": "sequence", "transformations": list(steps)},)
    multiscale = {
        "coordinateSystems": [{"name": "stage", "axes": axes[::-1]}, {"name": "intrinsic", "axes": axes}],
        "datasets": [{"path": "0", "coordinateTransformations": [{**step, "input": "0", "output": output}]}],
        "coordinateTransformations": [{"type": "affine", "affine": [], "input": "intrinsic", "output": "stage"}],
    }
    zarr.create_group(store=str(path), attributes={"ome": {"version": "0.6", "multiscales": [multiscale]}})
    zarr.create_array(store=str(path / "0"), shape=(3, 8, 9), dtype="u1")[...] = 5
    return path


SCALE = {"type": "scale", "scale": [2, 0.5, 0.25]}
MOVE = {"type": "translation", "translation": [10, 20, 30]}


@pytest.mark.parametrize(
    ("steps", "scale", "origin"),
    [
        ([SCALE], (2, 0.5, 0.25), (0, 0, 0)),
        ([SCALE, MOVE], (2, 0.5, 0.25), (10, 20, 30)),
        ([MOVE, SCALE], (2, 0.5, 0.25), (20, 10, 7.5)),
        ([{"type": "identity"}], (1, 1, 1), (0, 0, 0)),
    ],
)
@pytest.mark.parametrize("output", ["intrinsic", {"name": "intrinsic"}])
def test_ome_zarr_06(tmp_path, steps, scale, origin, output):
    volume = open_volume(image_06(tmp_path / "a.zarr", *steps, output=output))
    assert (volume.format, volume.axes) == ("ome-zarr 0.6", "zyx")
    assert (volume.scale[2:], volume.origin[2:], volume.units[2]) == (scale, origin, "micrometer")


@pytest.mark.parametrize("kind", ["affine", "rotation", "mapAxis", "byDimension"])
def test_other_transformations_of_06_are_refused(tmp_path, kind):
    with pytest.raises(BadVolume, match=f"scale, translation, identity .* got '{kind}'"):
        open_volume(image_06(tmp_path / "a.zarr", {"type": kind}))


def test_a_coordinate_system_that_is_not_there(tmp_path):
    with pytest.raises(BadVolume, match="they cannot be read"):
        open_volume(image_06(tmp_path / "a.zarr", SCALE, output="nowhere"))


def test_other_attributes_of_an_ome_zarr_are_kept(tmp_path):
    image_06(tmp_path / "a.zarr", SCALE)
    zarr.open_group(str(tmp_path / "a.zarr"), mode="r+").attrs.update({"sample": "yeast", "acquired": "2024-01-02"})
    about = open_volume(tmp_path / "a.zarr").about
    assert json.loads(about.attributes) == {"sample": "yeast", "acquired": "2024-01-02"}
    assert about.acquired == "2024-01-02T00:00:00"


def test_colours_and_date_of_an_ome_tiff(tmp_path):
    path = tmp_path / "a.ome.tif"
    said = {
        "axes": "CYX",
        "AcquisitionDate": "2023-05-06T07:08:09",
        "Channel": {"Name": ["DAPI", "GFP"], "Color": [0x0000FFFF, -0x00FF0001 & 0x00FF00FF]},
    }
    tifffile.imwrite(path, np.ones((2, 20, 30), "u2"), metadata=said)
    volume = open_volume(path)
    assert [each["color"] for each in json.loads(volume.display)["channels"]] == ["0000FF", "000000"]
    assert volume.about.acquired == "2023-05-06T07:08:09"


def test_colours_of_imagej(tmp_path):
    ramp, off = np.arange(256, dtype="u1"), np.zeros(256, "u1")
    said = {"axes": "CYX", "mode": "composite", "LUTs": [np.array([ramp, off, off]), np.array([off, ramp, ramp])]}
    tifffile.imwrite(tmp_path / "a.tif", np.ones((2, 20, 30), "u2"), imagej=True, metadata=said)
    told = json.loads(open_volume(tmp_path / "a.tif").display)
    assert [each["color"] for each in told["channels"]] == ["FF0000", "00FFFF"]


@pytest.mark.parametrize("axes", [None, "x", "yx"])
def test_a_line_is_a_picture_of_one_row(tmp_path, axes):
    np.save(tmp_path / "a.npy", np.arange(7))
    volume = open_volume(tmp_path / "a.npy", axes=axes)
    assert (volume.axes, volume.shape) == ("yx", (1, 1, 1, 1, 7))
    assert open_volume(tmp_path / "a.npy", axes=volume.axes) == volume
    assert volume.read(((0, 1),) * 4 + ((2, 5),)).ravel().tolist() == [2, 3, 4]
    assert pickle.loads(pickle.dumps(volume)).digest() == volume.digest()
    assert from_array(np.arange(7)).shape == (1, 1, 1, 1, 7)


@pytest.mark.parametrize(
    ("names", "shape", "axes"),
    [
        (("angle", "y", "x"), (1, 4, 5), "yx"),
        (("t", "c", "view", "z", "y", "x"), (2, 3, 1, 4, 5, 6), "tczyx"),
        (("Latitude", "scene", "LON"), (4, 1, 5), "yx"),
    ],
)
def test_an_unknown_axis_of_length_1_is_left_out(tmp_path, names, shape, axes):
    path = str(tmp_path / "a.zarr")
    array = np.arange(np.prod(shape), dtype="u2").reshape(shape)
    zarr.create_array(store=path, shape=shape, dtype="u2", dimension_names=names)[...] = array
    volume = open_volume(path)
    assert volume.axes == axes
    np.testing.assert_array_equal(volume.read(whole(volume.shape)).ravel(), array.ravel())
    # As a plan opens it again.
    assert open_volume(path, axes=volume.axes) == volume


def test_six_axes_of_which_one_must_be_named_away(tmp_path):
    np.save(tmp_path / "a.npy", np.ones((1, 2, 3, 4, 5, 6)))
    with pytest.raises(BadVolume, match="_tczyx"):
        open_volume(tmp_path / "a.npy")
    for told in ("_tczyx", "tczyx"):
        assert open_volume(tmp_path / "a.npy", axes=told).shape == (2, 3, 4, 5, 6)
    np.save(tmp_path / "a.npy", np.ones((2, 2, 3, 4, 5, 6)))
    with pytest.raises(BadVolume, match="6 axes"):
        open_volume(tmp_path / "a.npy", axes="tczyx")


def microscope(path):
    """An OME-TIFF of two scenes, which bioio reads with a plug-in that is installed here."""
    with tifffile.TiffWriter(path, ome=True) as file:
        for at in range(2):
            said = {"axes": "CZYX", "PhysicalSizeX": 0.25, "PhysicalSizeZ": 2.0, "Channel": {"Name": ["a", "b"]}}
            array = np.random.default_rng(at).integers(0, 99, (2, 3, 20, 30)).astype("u2")
            file.write(array, metadata=said, photometric="minisblack")
    return path


# What bioio and its plug-in warn of is theirs; as errors, warnings would look like a file that cannot be read.
@pytest.mark.medium
@pytest.mark.filterwarnings("ignore")
def test_a_microscope_format_through_bioio(tmp_path):
    path = str(microscope(tmp_path / "a.ome.tif"))
    names = FORMAT.images(path, OpenOptions())
    assert len(names) == 2
    volume = make_volume(path, *_adapted(FORMAT.open(path, OpenOptions(image=names[1]))), names[1])
    assert (volume.axes, volume.channels) == ("czyx", ("a", "b"))
    assert (volume.scale[2], volume.scale[4], volume.units[2]) == (2, 0.25, "micrometer")
    wanted = tifffile.imread(path, series=1)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(volume)).read(whole(volume.shape))[0], wanted)
    part = volume.read(((0, 1), (1, 2), (0, 2), (3, 9), (4, 5)))
    np.testing.assert_array_equal(part[0], wanted[1:2, :2, 3:9, 4:5])
    with pytest.raises(BadVolume, match="holds 2: .*choose one"):
        FORMAT.open(path, OpenOptions())
    with pytest.raises(BadVolume, match="got 'x'; it has"):
        FORMAT.open(path, OpenOptions(image="x"))
    with pytest.raises(BadVolume, match="a level from 0 to 0"):
        FORMAT.open(path, OpenOptions(level=1, image=names[0]))


def _adapted(opened):
    from ilcore.formats.axes_adapter import adapted

    return adapted(*opened)


@pytest.mark.medium
def test_a_microscope_without_its_plug_in_or_bioio(tmp_path, without):
    (tmp_path / "a.czi").write_bytes(b"ZISRAWFILE" + bytes(100))
    with pytest.raises(BadVolume, match="bioio-czi|bioio cannot read it"):
        open_volume(tmp_path / "a.czi")
    without("bioio")
    with pytest.raises(BadVolume, match=r"pip install 'ilcore\[bioio\]'"):
        open_volume(tmp_path / "a.czi")


def test_info_tells_all_of_it(tmp_path):
    said = {
        "proj:wkt2": 'PROJCRS["Somewhere",LENGTHUNIT["metre",1],ID["EPSG",32633]]',
        "spatial:transform": [10, 0, 500000, 0, -10, 5200000],
        "scale_factor": 0.5,
        "_FillValue": 7,
        "acquired": "2024-01-02",
    }
    noise = np.random.default_rng(0).integers(0, 99, (64, 64)).astype("u2")
    zarr.create_array(store=str(tmp_path / "a"), shape=(64, 64), dtype="u2", attributes=said)[...] = noise
    found = describe(str(tmp_path / "a"), axes=None, level=0, missing=None)
    assert found["CRS"].endswith("(EPSG:32633)")
    assert found["bounds"] == ["500000", "5199360", "500640", "5200000"]
    assert (found["missing"], found["value"], found["acquired"]) == (7, "0.5 x stored + 0", "2024-01-02T00:00:00")


def test_info_lists_the_images_of_a_container(tmp_path):
    np.savez(tmp_path / "a.npz", a=np.ones((3, 40, 50)), b=np.ones((4, 4), complex))
    found = describe(str(tmp_path / "a.npz"), axes=None, level=0, missing=None)
    first, second = found["images"]
    assert (first["image"], first["axes"], first["shape"]) == ("a", "zyx", [3, 40, 50])
    assert "two channels" in second["note"]
