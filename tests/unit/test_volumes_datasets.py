"""Datasets of xarray, CF and GeoZarr: what they say of place, time and values is understood."""

import json
import warnings

import numpy as np
import pytest
import xarray as xr
import zarr

from ilcore.formats.open import images_in, open_volume
from ilcore.grammar.errors import BadVolume
from ilcore.grammar.region import whole
from ilcore.volumes.georeference import bounds, even_step, short_name, wkt2_of

UTM = "EPSG:32633"


def store(dataset, path, **settings):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # xarray speaks of consolidated metadata, cftime of its calendar
        dataset.to_zarr(path, **settings)
    return path


def cube(shape=(3, 4, 6, 5), dtype="f4"):
    return np.random.default_rng(0).normal(size=shape).astype(dtype)


def microscopy(array):
    coords = {
        "t": ("t", np.arange(3) * 0.5, {"units": "s"}),
        "z": ("z", 10 + np.arange(4) * 2.0, {"units": "micrometer"}),
        "y": ("y", np.arange(6) * 0.25, {"units": "µm"}),
        "x": ("x", 100 + np.arange(5) * 0.125, {"units": "um"}),
    }
    return xr.Dataset(
        {"signal": (("t", "z", "y", "x"), array)}, coords, {"operator": "a", "acquired": "2024-05-01T10:00"}
    )


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("is_consolidated", [True, False])
def test_coordinates_become_scale_origin_and_units(tmp_path, version, is_consolidated):
    path = store(microscopy(cube()), tmp_path / "a.zarr", zarr_format=version, consolidated=is_consolidated)
    assert images_in(path) == ("signal",)
    volume = open_volume(path)
    assert (volume.axes, volume.shape) == ("tzyx", (3, 1, 4, 6, 5))
    assert volume.scale == pytest.approx((0.5, 1, 2, 0.25, 0.125))
    assert volume.origin == pytest.approx((0, 0, 10, 0, 100))
    assert volume.units == ("second", None, "micrometer", "micrometer", "micrometer")
    assert volume.missing is None
    assert volume.about.affine is None
    assert volume.about.acquired == "2024-05-01T10:00:00"
    assert json.loads(volume.about.attributes) == {"operator": "a", "acquired": "2024-05-01T10:00"}
    np.testing.assert_array_equal(volume.read(whole(volume.shape))[:, 0], cube())


@pytest.mark.parametrize("version", [2, 3])
def test_packed_values_and_missing_ones(tmp_path, version):
    data = xr.Dataset({"band": (("time", "lat", "lon"), np.ones((2, 4, 5)) * 0.3)})
    data = data.assign_coords(
        time=np.array(["2024-01-02", "2024-01-07"], "M8[ns]"), lat=[50.0, 49.9, 49.8, 49.7], lon=np.arange(5) * 0.1
    )
    encoding = {"band": {"dtype": "int16", "scale_factor": 0.0001, "add_offset": 0.1, "_FillValue": -999}}
    path = store(data, tmp_path / "a.zarr", zarr_format=version, consolidated=False, encoding=encoding)
    volume = open_volume(path)
    assert (volume.axes, volume.dtype, volume.missing) == ("tyx", np.int16, -999)
    assert (volume.about.value_scale, volume.about.value_offset) == (0.0001, 0.1)
    assert (volume.scale[0], volume.units[0]) == (5, "day")
    assert volume.about.acquired == "2024-01-02T00:00:00"
    # Latitudes that fall have no place in a positive scale: the transform says it.
    assert volume.about.affine == pytest.approx((0.1, 0, -0.05, 0, -0.1, 50.05))
    assert volume.scale[3:] == pytest.approx((0.1, 0.1))
    assert volume.read(whole(volume.shape)).max() == 2000


def test_a_missing_value_of_a_float_in_zarr_3(tmp_path):
    data = xr.Dataset({"a": (("y", "x"), np.ones((4, 5), "f4"))})
    path = store(data, tmp_path / "a.zarr", zarr_format=3, consolidated=False, encoding={"a": {"_FillValue": -9999.0}})
    assert open_volume(path).missing == -9999
    store(data, path, mode="w", zarr_format=3, consolidated=False, encoding={"a": {"_FillValue": np.nan}})
    assert open_volume(path).missing is None


def test_what_rioxarray_writes(tmp_path):
    import rioxarray  # noqa: F401 (gives datasets their .rio)
    from rasterio.transform import Affine

    array = np.arange(2 * 6 * 5, dtype="u2").reshape(2, 6, 5)
    data = xr.DataArray(array, dims=("band", "y", "x"), name="red", attrs={"long_name": ("B04", "B08")})
    data = data.rio.write_crs(UTM).rio.write_transform(Affine(10, 0, 500000, 0, -10, 5200000)).rio.write_nodata(0)
    path = store(data.to_dataset(), tmp_path / "a.zarr", zarr_format=2, consolidated=True)
    volume = open_volume(path)
    assert images_in(path) == ("red",)
    assert (volume.axes, volume.channels, volume.missing) == ("cyx", ("B04", "B08"), 0)
    assert volume.about.affine == (10, 0, 500000, 0, -10, 5200000)
    assert short_name(volume.about.crs) == "WGS 84 / UTM zone 33N (EPSG:32633)"
    assert (volume.scale[3:], volume.units[3:]) == ((10, 10), ("meter", "meter"))
    assert bounds(volume.about.affine, *volume.shape[3:]) == (500000, 5199940, 500050, 5200000)


def geozarr(path, **more):
    """A pyramid of two levels with one variable, as the GeoZarr conventions have it."""
    array = np.arange(8 * 6, dtype="f4").reshape(8, 6)
    layout = [
        {"asset": "r10m", "transform": {"scale": [1, 1], "translation": [0, 0]}},
        {"asset": "r20m", "derived_from": "r10m", "transform": {"scale": [2, 2], "translation": [0, 0]}} | more,
    ]
    said = {
        "zarr_conventions": [{"name": "multiscales"}],
        "multiscales": {"layout": layout, "resampling_method": "average"},
        "proj:code": UTM,
        "spatial:dimensions": ["northward", "eastward"],
        "spatial:transform": [10, 0, 500000, 0, -10, 5200000],
        "mission": "sentinel-2",
    }
    zarr.create_group(store=str(path), attributes=said)
    for name, level in (("r10m", array), ("r20m", array[::2, ::2])):
        group = zarr.create_group(store=str(path / name))
        group.create_array("b02", shape=level.shape, dtype="f4", dimension_names=("northward", "eastward"))[...] = level
    return array


@pytest.mark.parametrize("more", [{}, {"spatial:transform": [20, 0, 500000, 0, -20, 5200000]}])
def test_the_levels_of_geozarr(tmp_path, more):
    array = geozarr(tmp_path / "a.zarr", **more)
    assert images_in(tmp_path / "a.zarr") == ("b02",)
    fine, coarse = (open_volume(tmp_path / "a.zarr", level=level) for level in range(2))
    assert (fine.levels, fine.format, fine.axes) == (2, "geozarr v3", "yx")
    assert fine.about == coarse.about
    assert fine.about.affine == (10, 0, 500000, 0, -10, 5200000)
    assert fine.about.crs == wkt2_of(UTM)
    assert json.loads(fine.about.attributes) == {"mission": "sentinel-2"}
    assert (fine.scale[3:], coarse.scale[3:]) == ((10, 10), (20, 20))
    np.testing.assert_array_equal(fine.read(whole(fine.shape))[0, 0, 0], array)
    np.testing.assert_array_equal(coarse.read(whole(coarse.shape))[0, 0, 0], array[::2, ::2])
    with pytest.raises(BadVolume, match="a level from 0 to 1"):
        open_volume(tmp_path / "a.zarr", level=2)
    with pytest.raises(BadVolume, match="it has b02"):
        open_volume(tmp_path / "a.zarr", image="b99")


def test_the_levels_of_geozarr_may_be_arrays(tmp_path):
    group = zarr.create_group(
        store=str(tmp_path / "a.zarr"), attributes={"multiscales": {"layout": [{"asset": "0"}, {"asset": "1"}]}}
    )
    for name, side in (("0", 8), ("1", 4)):
        group.create_array(name, shape=(side, side), dtype="u1", dimension_names=("y", "x"))
    assert images_in(tmp_path / "a.zarr") == ()
    assert open_volume(tmp_path / "a.zarr", level=1).scale[3:] == (2, 2)


def test_a_level_that_geozarr_names_but_is_not_there(tmp_path):
    geozarr(tmp_path / "a.zarr", asset="r40m")
    with pytest.raises(BadVolume, match=r"r40m.*there is none; repair"):
        open_volume(tmp_path / "a.zarr", level=1)


@pytest.mark.parametrize("key", ["proj:wkt2", "proj:projjson", "proj:code"])
def test_every_way_to_say_the_reference_system(tmp_path, key):
    from rasterio.crs import CRS

    held = CRS.from_epsg(32633)
    said = {
        "proj:wkt2": held.to_wkt(version="WKT2_2019"),
        "proj:projjson": held.to_dict(projjson=True),
        "proj:code": UTM,
    }
    attributes = {key: said[key], "spatial:transform": [1, 0, 0.5, 0, 1, 0.5], "spatial:registration": "node"}
    zarr.create_array(store=str(tmp_path / "a.zarr"), shape=(4, 5), dtype="u1", attributes=attributes)
    volume = open_volume(tmp_path / "a.zarr")
    assert CRS.from_wkt(volume.about.crs) == held
    assert volume.about.affine == (1, 0, 0, 0, 1, 0)
    assert volume.origin[3:] == (0.5, 0.5)
    assert volume.about.attributes is None


def test_without_rasterio_every_system_is_kept(tmp_path, without):
    wkt = wkt2_of(UTM)
    without("rasterio")
    for name, said in (("a", {"proj:wkt2": wkt}), ("b", {"proj:code": UTM}), ("c", {"proj:epsg": 32633})):
        zarr.create_array(store=str(tmp_path / name), shape=(4, 5), dtype="u1", attributes=said)
        about = open_volume(tmp_path / name).about
        assert (short_name(about.crs), about.attributes) == ("WGS 84 / UTM zone 33N (EPSG:32633)", None)


def test_uneven_coordinates_tell_no_scale(tmp_path):
    data = xr.Dataset({"a": (("y", "x"), np.ones((3, 4)))}, {"y": [0.0, 1, 5], "x": [0.0, 1, 2, 3]})
    volume = open_volume(store(data, tmp_path / "a.zarr", zarr_format=2))
    assert (volume.scale[3], volume.origin[3], volume.about.affine) == (1, 0, None)


def test_even_steps_are_seen_through_rounding():
    assert even_step(np.float32(500000) + np.arange(1000, dtype="f4") * 10) == (500000, 10)
    assert even_step(np.array([0.0, 1, 2.1])) is None
    assert even_step(np.array([1.0])) is None
    assert even_step(np.array([2, 2, 2])) is None


def bands(path, **changed):
    group = zarr.create_group(store=str(path), attributes={"proj:code": UTM})
    for kind, side in (("r10m", 8), ("r20m", 4)):
        inner = group.create_group(kind, attributes={"spatial:transform": [80 / side, 0, 0, 0, -80 / side, 0]})
        for at, name in enumerate(("b02", "b03")):
            said = changed if name == "b03" else {}
            made = inner.create_array(name, shape=(side, side), dtype="u2", dimension_names=("y", "x"), attributes=said)
            made[...] = at + side
    return path


def test_bands_of_several_resolutions(tmp_path):
    path = bands(tmp_path / "a.zarr")
    assert images_in(path) == ("r10m/b02", "r10m/b03", "r10m/*", "r20m/b02", "r20m/b03", "r20m/*")
    with pytest.raises(BadVolume, match=r"several images r10m/b02, .*choose one with image= \(--image\)"):
        open_volume(path)
    volume = open_volume(path, image="r20m/*")
    assert (volume.axes, volume.channels, volume.image) == ("cyx", ("b02", "b03"), "r20m/*")
    assert volume.scale[3:] == (20, 20)
    for at in range(2):
        assert (volume.read(whole(volume.shape))[0, at] == at + 4).all()
    again = open_volume(path, image="r20m/*", axes=volume.axes)
    assert again == volume
    assert open_volume(path, image="r10m/b03").shape == (1, 1, 1, 8, 8)


def test_bands_that_mean_different_things_are_not_stacked(tmp_path):
    with pytest.raises(BadVolume, match="one scale factor, offset and missing value"):
        open_volume(bands(tmp_path / "a.zarr", scale_factor=0.5), image="r10m/*")
