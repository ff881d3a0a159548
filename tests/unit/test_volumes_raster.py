"""Pictures of the Earth in files: GeoTIFF, COG, JPEG 2000, and what else GDAL reads; with rasterio and without."""

import json
import pickle

import numpy as np
import pytest
import rasterio
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.errors import NotGeoreferencedWarning
from rasterio.transform import Affine

from ilcore.formats.open import images_in, open_volume
from ilcore.grammar.errors import BadVolume
from ilcore.grammar.region import slices, whole
from ilcore.volumes.georeference import short_name

PLACE = Affine(10, 0, 500000, 0, -20, 5200000)
REGION = ((0, 1), (1, 3), (0, 1), (20, 70), (33, 90))


def picture(bands=3, height=120, width=140, dtype="u2"):
    return np.random.default_rng(0).integers(0, 4000, (bands, height, width)).astype(dtype)


def write(path, array, driver="GTiff", **settings):
    given = {"crs": "EPSG:32633", "transform": PLACE} | settings
    count, height, width = array.shape
    with rasterio.open(
        path, "w", driver=driver, count=count, height=height, width=width, dtype=array.dtype, **given
    ) as to:
        to.write(array)
        return to.name


def described(path, array):
    """A GeoTIFF that says all it can."""
    write(path, array, nodata=7, tiled=True, blockxsize=64, blockysize=64, compress="deflate")
    with rasterio.open(path, "r+") as to:
        to.descriptions = ("red", "green", "blue")
        to.scales, to.offsets = (0.0001,) * 3, (-0.1,) * 3
        to.update_tags(TIFFTAG_DATETIME="2023:07:01 10:20:30", mission="S2")
    return path


def same(volume, array):
    """The volume reads what numpy slices."""
    wanted = array.reshape(volume.shape)
    np.testing.assert_array_equal(volume.read(whole(volume.shape)), wanted)
    inside = tuple((min(a, n - 1), min(b, n)) for (a, b), n in zip(REGION, volume.shape, strict=True))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(volume)).read(inside), wanted[slices(inside)])


def test_all_that_a_geotiff_says(tmp_path):
    volume = open_volume(described(tmp_path / "a.tif", picture()))
    assert volume.format == "geotiff"
    assert volume.channels == ("red", "green", "blue")
    assert (volume.scale[3:], volume.units[3:]) == ((20, 10), ("meter", "meter"))
    assert volume.missing == 7
    about = volume.about
    assert about.affine == tuple(PLACE)[:6]
    assert short_name(about.crs) == "WGS 84 / UTM zone 33N (EPSG:32633)"
    assert about.crs.startswith("PROJCRS[")
    assert (about.value_scale, about.value_offset, about.acquired) == (0.0001, -0.1, "2023-07-01T10:20:30")
    assert json.loads(about.attributes)["mission"] == "S2"
    np.testing.assert_array_equal(volume.read(whole(volume.shape))[0, :, 0], picture())


def test_a_geotiff_without_rasterio_keeps_its_place(tmp_path, without):
    described(tmp_path / "a.tif", picture())
    without("rasterio")
    volume = open_volume(tmp_path / "a.tif")
    assert volume.about.affine == tuple(PLACE)[:6]
    assert short_name(volume.about.crs) == "WGS 84 / UTM zone 33N (EPSG:32633)"
    assert (volume.about.acquired, volume.missing) == ("2023-07-01T10:20:30", 7)
    np.testing.assert_array_equal(volume.read(whole(volume.shape))[0, :, 0], picture())


@pytest.mark.parametrize("turned", [PLACE, Affine(8, 3, 100, 3, -8, 200)])
@pytest.mark.parametrize("point", ["Area", "Point"])
def test_both_ways_to_a_transform_agree(tmp_path, without, turned, point):
    path = tmp_path / "a.tif"
    write(path, picture(), transform=turned)
    with rasterio.open(path, "r+") as to:
        to.update_tags(AREA_OR_POINT=point)
    told = open_volume(path).about.affine
    assert told == pytest.approx(tuple(turned)[:6])
    without("rasterio")
    assert open_volume(path).about.affine == pytest.approx(told)


@pytest.mark.parametrize("interleave", ["pixel", "band"])
def test_the_overviews_of_a_cog_are_levels(tmp_path, interleave):
    array = picture(3, 1200, 1100, "u1")
    write(tmp_path / "a.tif", array, driver="COG", blocksize=256, overview_resampling="nearest", interleave=interleave)
    fine, coarse = (open_volume(tmp_path / "a.tif", level=level) for level in range(2))
    with rasterio.open(tmp_path / "a.tif", overview_level=0) as held:
        wanted = held.read()
    assert fine.levels == 1 + len(rasterio.open(tmp_path / "a.tif").overviews(1))
    assert (coarse.shape[3:], coarse.scale[3:]) == ((600, 550), (40, 20))
    assert coarse.about == fine.about
    np.testing.assert_array_equal(coarse.read(whole(coarse.shape))[0, :, 0], wanted)
    np.testing.assert_array_equal(fine.read(whole(fine.shape))[0, :, 0], array)


def test_a_mask_beside_the_picture_is_no_image(tmp_path):
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        write(tmp_path / "a.tif", picture(1))
        with rasterio.open(tmp_path / "a.tif", "r+") as to:
            to.write_mask(np.ones((120, 140), bool))
    assert images_in(tmp_path / "a.tif") == ()
    same(open_volume(tmp_path / "a.tif"), picture(1))


def test_bands_that_mean_different_things_claim_no_scale(tmp_path):
    write(tmp_path / "a.tif", picture())
    with rasterio.open(tmp_path / "a.tif", "r+") as to:
        to.scales = (1, 2, 3)
    about = open_volume(tmp_path / "a.tif").about
    assert about.value_scale == 1
    assert json.loads(about.attributes)["scales"] == [1, 2, 3]


@pytest.mark.medium
@pytest.mark.parametrize("bands", [1, 3])
def test_jpeg_2000(tmp_path, bands):
    array = picture(bands, 600, 500)
    lossless = {"QUALITY": "100", "REVERSIBLE": "YES", "BLOCKXSIZE": 128, "BLOCKYSIZE": 128}
    write(tmp_path / "a.jp2", array, driver="JP2OpenJPEG", **lossless)
    volume = open_volume(tmp_path / "a.jp2")
    assert (volume.axes, volume.format) == ("yx" if bands == 1 else "cyx", "jp2openjpeg")
    assert volume.about.affine == tuple(PLACE)[:6]
    assert CRS.from_wkt(volume.about.crs) == CRS.from_epsg(32633)
    same(volume, array)
    coarse = open_volume(tmp_path / "a.jp2", level=1)
    with rasterio.open(tmp_path / "a.jp2", overview_level=0) as held:
        np.testing.assert_array_equal(coarse.read(whole(coarse.shape))[0, :, 0], held.read())
    assert coarse.scale[3:] == (40, 20)
    with pytest.raises(BadVolume, match="a level from 0 to"):
        open_volume(tmp_path / "a.jp2", level=9)


def test_bands_of_a_raster_may_be_a_stack(tmp_path):
    array = picture(5)
    write(tmp_path / "a.jp2", array, driver="JP2OpenJPEG", QUALITY="100", REVERSIBLE="YES")
    same(open_volume(tmp_path / "a.jp2", axes="zyx"), array)


def test_any_raster_that_gdal_reads(tmp_path):
    array = picture(3, dtype="u1")
    with pytest.warns(NotGeoreferencedWarning):
        write(tmp_path / "a.png", array, driver="PNG", crs=None, transform=Affine.identity())
    volume = open_volume(tmp_path / "a.png")
    assert (volume.format, volume.about.affine, volume.about.crs) == ("png", None, None)
    same(volume, array)
    write(tmp_path / "a.img", array.astype("f8"), driver="HFA")
    same(open_volume(tmp_path / "a.img"), array.astype("f8"))


@pytest.mark.parametrize("resampling", [Resampling.nearest])
def test_overviews_outside_of_the_file(tmp_path, resampling):
    write(tmp_path / "a.img", picture(2), driver="HFA")
    with rasterio.open(tmp_path / "a.img", "r+") as to:
        to.build_overviews([2, 4], resampling)
    assert open_volume(tmp_path / "a.img", level=2).shape == (1, 2, 1, 30, 35)


def test_what_only_rasterio_reads_says_what_to_install(tmp_path, without):
    write(tmp_path / "a.jp2", picture(1), driver="JP2OpenJPEG")
    without("rasterio")
    with pytest.raises(BadVolume, match=r"rasterio was wanted .* pip install 'ilcore\[geo\]'"):
        open_volume(tmp_path / "a.jp2")
    (tmp_path / "a.txt").write_text("hello")
    with pytest.raises(BadVolume, match=r"is none of them; for other rasters install ilcore\[geo\]"):
        open_volume(tmp_path / "a.txt")


def test_a_truncated_jpeg_2000(tmp_path):
    write(tmp_path / "a.jp2", picture(1), driver="JP2OpenJPEG")
    content = (tmp_path / "a.jp2").read_bytes()
    (tmp_path / "a.jp2").write_bytes(content[:60])
    with pytest.raises(BadVolume, match="is none of them"):
        open_volume(tmp_path / "a.jp2")


def test_the_parts_of_a_raster_are_images(tmp_path):
    (tmp_path / "vrt").mkdir()
    write(tmp_path / "a.tif", picture(1))
    name = str(tmp_path / "a.gpkg")
    for table in ("one", "two"):
        settings = {"RASTER_TABLE": table} | ({} if table == "one" else {"APPEND_SUBDATASET": "YES"})
        write(name, picture(1, dtype="u1"), driver="GPKG", TILE_FORMAT="PNG", **settings)
    assert images_in(name) == ("one", "two")
    with pytest.raises(BadVolume, match=r"holds 2: one, two; choose one with image="):
        open_volume(name)
    with pytest.raises(BadVolume, match="it has one, two"):
        open_volume(name, image="three")
    volume = open_volume(name, image="two")
    np.testing.assert_array_equal(volume.read(whole(volume.shape))[0, 0, 0, :120, :140], picture(1, dtype="u1")[0])
