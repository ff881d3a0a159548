"""What numbers mean: calibrations, scales and offsets in every form, signedness."""

import json

import numpy as np
import pytest
import rasterio
import tifffile
import xarray as xr
import zarr

from ilcore.formats.gdal import not_georeferenced
from ilcore.formats.open import open_volume
from ilcore.grammar.region import whole
from tests.restored import noisy_scene, restored


def imagej(path, voxels, **said):
    words = "".join(f"{key}={value}\n" for key, value in said.items())
    text = f"ImageJ=1.54f\nimages={len(voxels)}\nslices={len(voxels)}\n{words}"
    tifffile.imwrite(path, voxels, description=text, metadata=None, photometric="minisblack")
    return open_volume(path)


def physical(volume):
    held = volume.read(whole(volume.shape)).astype(float)
    return held * volume.about.value_scale + volume.about.value_offset


RAW = np.random.default_rng(0).poisson(100, (3, 40, 40)).astype("u2")


def test_signed_16_bits_of_imagej(tmp_path):
    true = RAW.astype("i4") - 120
    volume = imagej(tmp_path / "a.tif", (true + 32768).astype("u2"), cf=0, c0=-32768.0, c1=1.0, vunit="gray value")
    assert (np.squeeze(physical(volume)) == true).all()


def test_a_straight_line_of_imagej_with_its_unit(tmp_path):
    volume = imagej(tmp_path / "a.tif", RAW, cf=0, c0=5, c1=2, vunit="OD")
    assert (np.squeeze(physical(volume)) == 5 + 2.0 * RAW).all()
    assert json.loads(volume.about.attributes)["units"] == "OD"


@pytest.mark.parametrize("said", [{"cf": 3, "c0": 1, "c1": 2, "c2": 3}, {"cf": 0, "c0": 1, "c1": 0}, {"cf": 21}])
def test_a_curve_of_imagej_is_kept_and_told(tmp_path, said):
    volume = imagej(tmp_path / "a.tif", RAW, **said)
    assert (volume.about.value_scale, volume.about.value_offset) == (1, 0)
    if len(said) > 1:
        assert "is no straight line" in volume.remarks[0]
        assert json.loads(volume.about.attributes)["imagej"]["c0"] == 1


@pytest.mark.parametrize(
    "said",
    [
        {"scale_factor": 0.1, "add_offset": -1},
        {"scale_factor": [0.1], "add_offset": [-1.0]},
        {"scale_factor": "0.1", "add_offset": " -1.0 "},
        {"scale_factor": ["0.1"], "add_offset": "-1"},
        {"scales": [0.1, 0.1], "offsets": [-1, -1]},
        {"raster:bands": [{"scale": 0.1, "offset": -1}, {"scale": 0.1, "offset": -1}]},
        {"bands": [{"name": "red", "scale": 0.1, "offset": -1}]},
    ],
)
def test_scale_and_offset_in_every_form(tmp_path, said):
    zarr.create_array(str(tmp_path / "a"), data=np.ones((2, 9, 9), "i2"), attributes=said)
    about = open_volume(tmp_path / "a").about
    assert (about.value_scale, about.value_offset) == (0.1, -1)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"scale_factor": [0.1, 0.2]}, "differ from band to band"),
        ({"raster:bands": [{"scale": 0.1}, {"scale": 0.2}]}, "differ from band to band"),
        ({"raster:bands": [{"scale": 0.1}, {"name": "b"}]}, "cannot be read as finite numbers"),
        ({"scale_factor": "1/10"}, "cannot be read as finite numbers"),
        ({"scale_factor": 0}, "cannot be read as finite numbers"),
        ({"scale_factor": "nan", "add_offset": 3}, "cannot be read as finite numbers"),
        ({"scale": 0.1, "offset": 3}, "may be of values or of voxels"),
    ],
)
def test_what_is_not_one_scale_is_kept_and_told(tmp_path, said, words):
    zarr.create_array(str(tmp_path / "a"), data=np.ones((2, 9, 9), "i2"), attributes=said)
    volume = open_volume(tmp_path / "a")
    assert (volume.about.value_scale, volume.about.value_offset) == (1, 0)
    assert words in volume.remarks[0]
    assert json.loads(volume.about.attributes) == said


def test_null_is_as_good_as_absent(tmp_path):
    said = {"scale_factor": None, "add_offset": None, "_FillValue": None, "valid_range": None, "flag_values": None}
    zarr.create_array(str(tmp_path / "a"), data=np.ones((9, 9), "i2"), attributes=said)
    volume = open_volume(tmp_path / "a")
    assert (volume.about.value_scale, volume.missing, volume.kind, volume.remarks) == (1, None, "image", ())


@pytest.mark.medium
@pytest.mark.parametrize("word", ["true", True])
def test_unsigned_numbers_of_netcdf(tmp_path, word):
    values = noisy_scene(low=100, high=250, std=9).clip(0, 254).astype("u1")
    values[:9] = 255
    said = {"_Unsigned": word, "_FillValue": -1, "_ARRAY_DIMENSIONS": ["y", "x"]}
    zarr.create_array(str(tmp_path / "a"), data=values.view("i1"), zarr_format=2, attributes=said)
    volume = open_volume(tmp_path / "a")
    assert (volume.dtype, volume.missing) == (np.uint8, 255)
    assert (volume.read(whole(volume.shape))[0, 0, 0] == values).all()
    group = restored(tmp_path / "a", tmp_path / "out.ome.zarr")
    assert "_Unsigned" not in {**group.attrs, **group["0"].attrs}
    seen = xr.open_zarr(str(tmp_path / "out.ome.zarr"), consolidated=False)["0"].values
    assert (np.isnan(seen) == (values == 255)).all()


def test_bands_of_a_raster_that_mean_different_things(tmp_path):
    with (
        not_georeferenced(),
        rasterio.open(tmp_path / "a.tif", "w", driver="GTiff", count=2, height=9, width=9, dtype="uint8") as to,
    ):
        to.scales, to.offsets, to.units = (0.1, 0.2), (0, 1), ("K", "K")
        to.write(np.ones((2, 9, 9), "u1"))
    volume = open_volume(tmp_path / "a.tif")
    assert any("differ from band to band" in each for each in volume.remarks)
    said = json.loads(volume.about.attributes)
    assert (said["scales"], said["offsets"], said["units"]) == ([0.1, 0.2], [0, 1], "K")


def test_gdal_s_scale_without_rasterio(tmp_path, without):
    with (
        not_georeferenced(),
        rasterio.open(tmp_path / "a.tif", "w", driver="GTiff", count=2, height=9, width=9, dtype="uint8") as to,
    ):
        to.scales, to.offsets, to.descriptions = (0.1, 0.1), (-1, -1), ("red", "nir")
        to.update_tags(mission="S2")
        to.write(np.ones((2, 9, 9), "u1"))
    without("rasterio")
    volume = open_volume(tmp_path / "a.tif")
    assert (volume.about.value_scale, volume.about.value_offset) == (0.1, -1)
    assert volume.channels == ("red", "nir")
    assert json.loads(volume.about.attributes) == {"mission": "S2"}
