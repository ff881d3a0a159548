"""Images are known by what names them, not by their order; what lies beside a file is followed, or named."""

import json

import numpy as np
import pytest
import rasterio
import tifffile
import zarr
from pyproj import CRS
from rasterio.control import GroundControlPoint

from ilcore.formats.open import open_volume
from ilcore.formats.roi import open_roi
from ilcore.grammar.errors import BadVolume
from ilcore.grammar.region import whole
from ilcore.volumes.georeference import short_name, wkt2_of

VALUES = np.random.default_rng(0).integers(90, 120, (4, 32, 24)).astype("u2")
SPACE = "http://www.openmicroscopy.org/Schemas/OME/2016-06"
UTM = "WGS 84 / UTM zone 33N (EPSG:32633)"
PLACE = (10.0, 0.0, 500000.0, 0.0, -10.0, 5000000.0)


def described(number, planes, size, name, data):
    sizes = f'SizeX="24" SizeY="32" SizeZ="{planes}" SizeC="1" SizeT="1" PhysicalSizeX="{size}" PhysicalSizeY="{size}"'
    return (
        f'<Image ID="Image:{number}" Name="{name}"><Pixels ID="Pixels:{number}" DimensionOrder="XYZCT" Type="uint16" '
        f'{sizes}><Channel ID="Channel:{number}:0" Name="{name}" SamplesPerPixel="1"/>{data}</Pixels></Image>'
    )


def ome(*images):
    return f'<OME xmlns="{SPACE}" UUID="urn:uuid:me">{"".join(images)}</OME>'


def pages(first, count):
    return f'<TiffData IFD="{first}" PlaneCount="{count}"/>'


def write(path, said, values=VALUES):
    tifffile.imwrite(path, values, description=said, metadata=None, photometric="minisblack")


def test_images_are_matched_by_the_pages_that_they_name(tmp_path):
    """The second image comes first in the file, a third has no voxels at all."""
    told = (
        described(0, 1, 9.0, "empty", "<MetadataOnly/>"),
        described(1, 2, 0.5, "late", pages(2, 2)),
        described(2, 2, 0.1, "early", pages(0, 2)),
    )
    write(tmp_path / "a.ome.tif", ome(*told))
    for image, name, size, values in (("0", "late", 0.5, VALUES[2:]), ("1", "early", 0.1, VALUES[:2])):
        volume = open_volume(tmp_path / "a.ome.tif", image=image)
        assert (volume.channels, volume.scale[4]) == ((name,), size)
        np.testing.assert_array_equal(volume.read(whole(volume.shape))[0, 0], values)


def test_a_file_of_a_set_has_the_metadata_of_its_own_image(tmp_path):
    def held(name, first):
        return f'<TiffData IFD="{first}" PlaneCount="2"><UUID FileName="{name}">urn:uuid:{name}</UUID></TiffData>'

    said = ome(described(0, 2, 0.7, "a", held("a.ome.tif", 0)), described(1, 2, 0.3, "b", held("b.ome.tif", 0)))
    for name, values in (("a.ome.tif", VALUES[:2]), ("b.ome.tif", VALUES[2:])):
        write(tmp_path / name, said.replace("urn:uuid:me", f"urn:uuid:{name}"), values)
    for image, name, size, values in (("0", "a", 0.7, VALUES[:2]), ("1", "b", 0.3, VALUES[2:])):
        volume = open_volume(tmp_path / "a.ome.tif", image=image)
        assert (volume.channels, volume.scale[4]) == ((name,), size)
        np.testing.assert_array_equal(volume.read(whole(volume.shape))[0, 0], values)


def test_a_missing_companion_is_named(tmp_path):
    only = '<BinaryOnly MetadataFile="x.companion.ome" UUID="urn:uuid:b"/>'
    write(tmp_path / "a.ome.tif", f'<OME xmlns="{SPACE}" UUID="urn:uuid:a">{only}</OME>')
    with pytest.raises(BadVolume, match=r"companion 'x\.companion\.ome'"):
        open_volume(tmp_path / "a.ome.tif")


def test_metadata_in_the_first_file_of_a_set_are_followed(tmp_path):
    held = '<TiffData IFD="0" PlaneCount="4"><UUID FileName="b.ome.tif">urn:uuid:b</UUID></TiffData>'
    write(tmp_path / "first.ome.tif", ome(described(0, 4, 0.2, "GFP", held)), VALUES[:1])
    only = '<BinaryOnly MetadataFile="first.ome.tif" UUID="urn:uuid:me"/>'
    write(tmp_path / "b.ome.tif", f'<OME xmlns="{SPACE}" UUID="urn:uuid:b">{only}</OME>')
    volume = open_volume(tmp_path / "b.ome.tif")
    assert (volume.channels, volume.scale[4]) == (("GFP",), 0.2)
    np.testing.assert_array_equal(volume.read(whole(volume.shape))[0, 0], VALUES)


def test_every_image_of_a_geotiff_has_its_own_place(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as to:
        for code, left, values in ((32633, 5e5, VALUES[0]), (32634, 6e5, VALUES[0, :20])):
            keys = (1, 1, 0, 3, 1024, 0, 1, 1, 1025, 0, 1, 1, 3072, 0, 1, code)
            tie = (33922, "d", 6, (0.0, 0.0, 0.0, left, 5e6, 0.0), True)
            tags = [(33550, "d", 3, (10.0, 10.0, 0.0), True), tie, (34735, "H", 16, keys, True)]
            to.write(values, metadata=None, photometric="minisblack", extratags=tags)
    for image, zone, left in (("0", "33N", 5e5), ("1", "34N", 6e5)):
        about = open_volume(tmp_path / "a.tif", image=image).about
        assert (zone in short_name(about.crs), about.affine[2]) == (True, left)


BESIDE = {
    "world and projection": {"a.tfw": "10\n0\n0\n-10\n500005\n4999995\n", "a.prj": "EPSG"},
    "upper case": {"a.TFW": "10\n0\n0\n-10\n500005\n4999995\n", "a.PRJ": "EPSG"},
    "decimal commas": {"a.wld": "10,0\n0\n0\n-10,0\n500005\n4999995\n", "a.prj": "EPSG"},
    "GDAL's": {
        "a.tif.aux.xml": "<PAMDataset><SRS>EPSG:32633</SRS><GeoTransform> 5e5, 10, 0, 5e6, 0, -10</GeoTransform>"
        '<PAMRasterBand band="1"><NoDataValue>91</NoDataValue></PAMRasterBand></PAMDataset>'
    },
}


@pytest.mark.parametrize("has_rasterio", [True, False])
@pytest.mark.parametrize("what", BESIDE)
def test_files_beside_a_picture_tell_its_place(tmp_path, without, what, has_rasterio):
    tifffile.imwrite(tmp_path / "a.tif", VALUES[0], metadata=None)
    for name, text in BESIDE[what].items():
        (tmp_path / name).write_text(wkt2_of(32633) if text == "EPSG" else text)
    if not has_rasterio:
        without("rasterio")
    volume = open_volume(tmp_path / "a.tif")
    assert (short_name(volume.about.crs), volume.about.affine) == (UTM, PLACE)
    assert volume.missing == (91 if what == "GDAL's" else None)


@pytest.mark.parametrize("name", ["a.IMD", "a_RPC.TXT", "a.json", "a_metadata.xml"])
def test_what_is_beside_a_picture_and_not_read_is_named(tmp_path, name):
    tifffile.imwrite(tmp_path / "a.tif", VALUES[0], metadata=None)
    (tmp_path / name).write_text("what nobody reads")
    assert any(name in each for each in open_volume(tmp_path / "a.tif").remarks)


@pytest.mark.parametrize("has_rasterio", [True, False])
def test_ground_control_points_are_kept_and_cut(tmp_path, without, has_rasterio):
    points = [GroundControlPoint(r, c, 10 + c / 100, 50 - r / 100, 0) for r in (0, 32) for c in (0, 24)]
    said = {"driver": "GTiff", "count": 1, "height": 32, "width": 24, "dtype": "uint16"}
    with rasterio.open(tmp_path / "a.tif", "w", **said, gcps=points, crs="EPSG:4326") as to:
        to.write(VALUES[:1])
    if not has_rasterio:
        without("rasterio")
    about = open_roi(tmp_path / "a.tif", roi="y=8:16,x=4:8").about
    kept = json.loads(about.attributes)
    assert about.affine is None
    assert short_name(kept["gcps_crs"]) == "WGS 84 (EPSG:4326)"
    last = kept["gcps"]["features"][-1]
    assert (last["properties"]["row"], last["properties"]["col"]) == (24, 20)
    assert last["geometry"]["coordinates"][:2] == pytest.approx([10.24, 49.68])


CF = {
    "grid_mapping_name": "transverse_mercator", "semi_major_axis": 6378137.0, "inverse_flattening": 298.257223563,
    "false_easting": 5e5, "false_northing": 0.0, "latitude_of_projection_origin": 0.0,
    "longitude_of_central_meridian": 15.0, "scale_factor_at_central_meridian": 0.9996,
}  # fmt: skip
WKT = wkt2_of(32633)
DIALECTS = {
    "proj:wkt2": ({"proj:wkt2": WKT}, {}),
    "proj:code": ({"proj:code": "EPSG:32633"}, {}),
    "proj:epsg": ({"proj:epsg": 32633}, {}),
    "proj:projjson": ({"proj:projjson": CRS.from_epsg(32633).to_json_dict()}, {}),
    "crs of old xarray": ({"crs": "+init=epsg:32633", "transform": [10, 0, 5e5, 0, -10, 5e6]}, {}),
    "crs as a code": ({"crs": "EPSG:32633"}, {}),
    "URN": ({"crs": "urn:ogc:def:crs:EPSG::32633"}, {}),
    "crs_wkt": ({"grid_mapping": "m"}, {"crs_wkt": WKT}),
    "spatial_ref": ({"grid_mapping": "m"}, {"spatial_ref": rasterio.crs.CRS.from_epsg(32633).to_wkt()}),
    "epsg_code": ({"grid_mapping": "m: y x"}, {"epsg_code": "EPSG:32633"}),
    "proj4": ({"grid_mapping": "m"}, {"proj4": "+proj=utm +zone=33 +datum=WGS84"}),
    "CF": ({"grid_mapping": "m"}, CF),
}


@pytest.mark.medium
@pytest.mark.parametrize("has_rasterio", [True, False])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_systems_are_read_in_every_dialect(tmp_path, without, dialect, has_rasterio):
    if not has_rasterio:
        without("rasterio")
    said, mapping = DIALECTS[dialect]
    group = zarr.open_group(tmp_path / "a.zarr", mode="w")
    group.create_array("a", shape=(4, 5), dtype="u2", dimension_names=("y", "x"), attributes=said)[...] = 1
    group.create_array("m", shape=(), dtype="i4", attributes=mapping)[...] = 0
    crs = open_volume(tmp_path / "a.zarr", image="a").about.crs
    assert crs is not None
    assert wkt2_of(crs) == crs
    assert "Transverse Mercator" in crs or short_name(crs) == UTM


TRANSFORMS = {
    "GeoTransform": {"GeoTransform": "5e5 10 0 5e6 0 -10"},
    "GeoTransform, commas": {"GeoTransform": "5e5, 10, 0, 5e6, 0, -10"},
    "GeoTransform, list": {"GeoTransform": [5e5, 10, 0, 5e6, 0, -10]},
    "STAC": {"proj:transform": [10, 0, 5e5, 0, -10, 5e6, 0, 0, 1]},
    "old xarray": {"transform": [10, 0, 5e5, 0, -10, 5e6]},
    "GeoZarr": {"spatial:transform": [10, 0, 5e5, 0, -10, 5e6]},
}


@pytest.mark.parametrize("dialect", TRANSFORMS)
def test_transforms_are_read_in_every_dialect(tmp_path, dialect):
    zarr.create_array(tmp_path / "a", shape=(4, 5), dtype="u2", attributes=TRANSFORMS[dialect], dimension_names="yx")
    assert open_volume(tmp_path / "a").about.affine == PLACE


def test_a_system_nobody_understands_is_kept_and_told(tmp_path):
    group = zarr.open_group(tmp_path / "a.zarr", mode="w")
    said = {"grid_mapping": "m"}
    group.create_array("a", shape=(4, 5), dtype="u2", dimension_names=("y", "x"), attributes=said)[...] = 1
    group.create_array("m", shape=(), dtype="i4", attributes={"grid_mapping_name": "rotated_mars"})[...] = 0
    volume = open_volume(tmp_path / "a.zarr", image="a")
    assert json.loads(volume.about.attributes)["grid_mapping_attributes"] == {"grid_mapping_name": "rotated_mars"}
    assert any("grid mapping" in each for each in volume.remarks)


def uneven(path, **said):
    group = zarr.open_group(path, mode="w")
    group.create_array("a", shape=(4, 3, 5), dtype="u2", dimension_names=("time", "y", "x"))[...] = 1
    time = {"units": "days since 2000-02-28", "calendar": "noleap", **said}
    made = {"shape": (4,), "dtype": "f8", "dimension_names": ("time",), "attributes": time}
    group.create_array("time", **made)[...] = [1, 2, 5, 11]
    return path


def test_uneven_times_are_kept_and_cut(tmp_path):
    path = uneven(tmp_path / "a.zarr")
    assert open_volume(path, image="a").about.acquired == "2000-03-01T00:00:00"
    about = open_roi(path, image="a", roi="t=1:3").about
    assert json.loads(about.attributes)["axis_coordinates"]["t"] == {
        "values": [2, 5], "units": "days since 2000-02-28", "calendar": "noleap",
    }  # fmt: skip


def test_days_that_our_calendar_lacks_are_kept_as_numbers(tmp_path):
    path = uneven(tmp_path / "a.zarr", calendar="360_day", units="days since 2000-02-29")
    volume = open_volume(path, image="a")
    assert volume.about.acquired is None
    assert json.loads(volume.about.attributes)["axis_coordinates"]["t"]["calendar"] == "360_day"


def test_coordinates_of_two_axes_are_named(tmp_path):
    group = zarr.open_group(tmp_path / "a.zarr", mode="w")
    said = {"coordinates": "lat height"}
    group.create_array("a", shape=(4, 5), dtype="u2", dimension_names=("y", "x"), attributes=said)[...] = 1
    group.create_array("lat", shape=(4, 5), dtype="f8", dimension_names=("y", "x"))[...] = 1
    group.create_array("height", shape=(), dtype="f8", attributes={"units": "m"})[...] = 2
    volume = open_volume(tmp_path / "a.zarr", image="a")
    assert any("'lat'" in each for each in volume.remarks)
    assert json.loads(volume.about.attributes)["scalar_coordinates"]["height"] == {"values": 2.0, "units": "m"}


def test_a_system_names_no_file(tmp_path):
    (tmp_path / "defs").write_text("<x> +proj=longlat <>\n")
    for said in (f"+init={tmp_path}/defs:x", str(tmp_path / "defs"), "http://127.0.0.1:9/x"):
        assert wkt2_of(said) is None
