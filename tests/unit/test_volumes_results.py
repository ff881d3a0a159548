"""Results as other programs see them: OME-Zarr models, xarray, rioxarray, GDAL; OME-Zarr 0.4; GeoZarr."""

import json
from dataclasses import replace

import numpy as np
import pytest
import rasterio
import rioxarray  # noqa: F401
import xarray
import zarr

from ilcore.formats.gdal import not_georeferenced
from ilcore.formats.in_memory import from_array
from ilcore.formats.open import open_volume
from ilcore.formats.roi import open_roi
from ilcore.grammar.errors import BadVolume
from ilcore.grammar.region import whole
from ilcore.keeping.repair import repair
from ilcore.keeping.verify import verify
from ilcore.results.destination import attributes_of
from ilcore.results.ome_zarr import create_finest, write_root
from ilcore.results.publish import publish
from ilcore.results.pyramid import write_pyramid
from ilcore.results.write import create_array, has_array
from ilcore.running import stages
from ilcore.running.carry_out import carry_out
from ilcore.running.damage import write_damage
from ilcore.running.run import Run
from ilcore.running.workspace import Workspace
from ilcore.volumes.scan_metadata import ScanMetadata
from tasks.describe import describe
from tests.standins import add_standins, planned
from tests.told import FIELDS, RESULT_FORMATS, scan, store, voxels

OLD = "ome-zarr 0.4"


def opened_by_xarray(root, **settings):
    """Level 0; the coarser levels have other sizes along the same axes."""
    return xarray.open_zarr(str(root), consolidated=False, drop_variables=["1", "2"], decode_coords="all", **settings)


@pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")  # rioxarray's own
@pytest.mark.parametrize("result_format", RESULT_FORMATS)
def test_xarray_and_rioxarray_read_values_and_place(tmp_path, result_format):
    volume = scan()
    store(tmp_path / "a", volume, result_format)
    data = opened_by_xarray(tmp_path / "a")["0"]
    stored = voxels(volume)[0, :, 0]
    wanted = np.where(stored == 7, np.nan, stored * 0.0001 - 0.1)
    np.testing.assert_allclose(data.values, wanted, rtol=1e-12)
    assert (data.dims, data.rio.encoded_nodata) == (("c", "y", "x"), 7)
    assert data.rio.crs.to_epsg() == 32633
    assert tuple(data.rio.transform())[:6] == volume.about.affine
    raw = opened_by_xarray(tmp_path / "a", mask_and_scale=False)["0"]
    np.testing.assert_array_equal(raw.values, stored)


@pytest.mark.parametrize("result_format", RESULT_FORMATS)
@pytest.mark.parametrize("missing", [None, 0, -0.5])
def test_xarray_takes_nothing_but_the_missing_value_for_missing(tmp_path, result_format, missing):
    values = np.array([[0, 1, -0.5], [2, 0, 3]], dtype="f4")
    store(tmp_path / "a", from_array(values, "yx", missing=missing), result_format)
    seen = opened_by_xarray(tmp_path / "a")["0"].values
    np.testing.assert_array_equal(np.isnan(seen), values == missing if missing is not None else values > 99)


@pytest.mark.parametrize("result_format", RESULT_FORMATS)
def test_independent_models_accept_both_versions(tmp_path, result_format):
    models = pytest.importorskip(f"ome_zarr_models.{'v05' if result_format.endswith('5') else 'v04'}")
    store(tmp_path / "a", scan(), result_format)
    image = models.Image.from_zarr(zarr.open_group(str(tmp_path / "a"), mode="r"))
    told = image.attributes if result_format == OLD else image.attributes.ome
    (scales,) = told.multiscales
    assert [level.path for level in scales.datasets] == ["0", "1", "2"]
    # What the strict schemas want beside: how the levels were made.
    assert (scales.name, scales.type) == ("scan", "local mean")
    assert scales.metadata["method"] == "ilcore.volumes.pyramid.mean_of_cells"
    # Half a voxel further in where two were averaged, one and a half where four were.
    moved = [level.coordinateTransformations[1].translation for level in scales.datasets]
    assert [list(each) for each in moved] == [[0, 0, 0], [0, 10, 5], [0, 30, 15]]


def test_tensorstore_reads_both_versions(tmp_path):
    tensorstore = pytest.importorskip("tensorstore")
    for result_format, driver in zip(RESULT_FORMATS, ("zarr3", "zarr"), strict=True):
        store(tmp_path / driver, scan(), result_format)
        place = {"driver": "file", "path": str(tmp_path / driver / "0")}
        found = tensorstore.open({"driver": driver, "kvstore": place}, open=True).result().read().result()
        np.testing.assert_array_equal(found, voxels(scan())[0, :, 0])


def test_gdal_reads_values_and_system_of_04(tmp_path):
    store(tmp_path / "a.zarr", scan(), OLD)
    # A GDAL that knows GeoZarr reads the transform too; older ones know only coordinates.
    with not_georeferenced(), rasterio.open(f'ZARR:"{tmp_path}/a.zarr":/0') as found:
        assert (found.crs.to_epsg(), found.nodata) == (32633, 7)
        assert (found.scales, found.offsets) == ((0.0001, 0.0001), (-0.1, -0.1))
        np.testing.assert_array_equal(found.read(), voxels(scan())[0, :, 0])


def strict(path):
    """JSON as browsers read it."""
    return json.loads(path.read_text(), parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))


def test_the_rules_of_geozarr_hold(tmp_path):
    """The MUSTs of the conventions spatial, proj and multiscales, checked on the bytes."""
    volume = scan(height=601)
    store(tmp_path / "a", volume)
    group = strict(tmp_path / "a" / "zarr.json")["attributes"]
    assert [each["name"] for each in group["zarr_conventions"]] == ["multiscales", "proj:", "spatial"]
    assert [key for key in group if key.startswith("proj:")] == ["proj:wkt2"]
    # With a layout, transform and shape stand there and not in the group.
    assert {key for key in group if key.startswith("spatial:")} == {"spatial:dimensions", "spatial:bbox"}
    assert group["spatial:bbox"] == [500000, 5200000 - 601 * 20, 505000, 5200000]
    layout = group["multiscales"]["layout"]
    assert [(each["asset"], each.get("derived_from"), each["transform"]["scale"]) for each in layout] == [
        ("0", None, [1, 1]), ("1", "0", [2, 2]), ("2", "1", [2, 2]),
    ]  # fmt: skip
    assert [each["spatial:shape"] for each in layout] == [[601, 500], [301, 250], [151, 125]]
    assert layout[2]["spatial:transform"] == [40, 0, 500000, 0, -80, 5200000]
    for each in layout:
        array = strict(tmp_path / "a" / each["asset"] / "zarr.json")
        said = array["attributes"]
        assert said["spatial:transform"] == each["spatial:transform"]
        assert said["spatial:shape"] == each["spatial:shape"] == array["shape"][-2:]
        assert set(said["spatial:dimensions"]) <= set(array["dimension_names"])
        assert [one["name"] for one in said["zarr_conventions"]] == ["proj:", "spatial"]


def test_without_ome_a_result_is_still_a_geozarr(tmp_path):
    """The two descriptions stand beside each other and say the same."""
    store(tmp_path / "a", scan())
    path = tmp_path / "a" / "zarr.json"
    said = strict(path)
    del said["attributes"]["ome"]
    path.write_text(json.dumps(said))
    found = open_volume(tmp_path / "a", level=1)
    assert (found.format, found.levels) == ("geozarr v3", 3)
    assert (found.scale, found.about, found.missing) == ((1, 1, 1, 40, 20), scan().about, 7)


@pytest.mark.parametrize("result_format", RESULT_FORMATS)
def test_a_level_is_placed_by_what_level_0_says(tmp_path, result_format):
    store(tmp_path / "a", scan(), result_format)
    assert open_volume(tmp_path / "a", level=2).about == scan().about
    part = open_roi(tmp_path / "a", level=1, roi="y=10:,x=3:")
    assert part.about.affine == (20, 0, 500000 + 60, 0, -40, 5200000 - 400)
    again = store(tmp_path / "b", part, result_format)
    assert (again.about, again.scale, again.origin) == (part.about, part.scale, part.origin)


def test_a_place_without_a_system_and_a_system_without_a_place(tmp_path):
    for name, about in (
        ("affine", ScanMetadata(affine=scan().about.affine)),
        ("crs", ScanMetadata(crs=scan().about.crs)),
    ):
        found = store(tmp_path / name, replace(scan(), about=about))
        assert found.about == about
        conventions = strict(tmp_path / name / "zarr.json")["attributes"]["zarr_conventions"]
        assert [each["name"] for each in conventions][1:] == ["spatial" if name == "affine" else "proj:"]


def test_a_mark_that_no_voxel_can_be_is_left_out(tmp_path):
    found = store(tmp_path / "a", from_array(np.ones((4, 5), "u1"), "yx", missing=-9999))
    assert found.missing is None
    assert opened_by_xarray(tmp_path / "a")["0"].dtype == "u1"


def test_attributes_that_are_no_json_stay_readable_for_browsers(tmp_path):
    about = ScanMetadata(attributes='{"a": NaN, "b": [Infinity, 1], "ome": 1, "multiscales": 2}')
    for result_format, name in zip(RESULT_FORMATS, ("zarr.json", ".zattrs"), strict=True):
        root = tmp_path / name
        found = store(root, replace(scan(), about=about), result_format)
        assert json.loads(found.about.attributes) == {"a": "NaN", "b": ["Infinity", 1]}
        strict(root / name)


def test_04_is_stored_as_its_readers_want_it(tmp_path):
    array = np.zeros((3, 600, 600), "u2")
    store(tmp_path / "a", from_array(array, "zyx", scale=(2, 1, 1)), OLD)
    root, level = strict(tmp_path / "a" / ".zattrs"), strict(tmp_path / "a" / "0" / ".zarray")
    assert strict(tmp_path / "a" / ".zgroup") == {"zarr_format": 2}
    assert root["multiscales"][0]["version"] == "0.4"
    assert (level["dimension_separator"], level["fill_value"], level["filters"]) == ("/", None, None)
    assert (level["compressor"]["id"], level["compressor"]["cname"]) == ("blosc", "zstd")
    # What an absent chunk holds is not said, so zeros are stored too.
    assert (tmp_path / "a" / "0" / "0" / "0" / "0").is_file()
    assert not list((tmp_path / "a").rglob("zarr.json"))


def test_04_opens_only_once_its_root_is_written(tmp_path):
    volume = from_array(np.ones((300, 300), "u2"), "yx")
    target = create_finest(str(tmp_path / "a" / "0"), shape=volume.shape, dtype="u2", axes="yx", result_format=OLD)
    target.write(whole(volume.shape), voxels(volume))
    levels = write_pyramid(str(tmp_path / "a"), volume)
    with pytest.raises(BadVolume, match="there is none"):
        open_volume(tmp_path / "a")
    for _ in range(2):  # a second time, after an interruption, is no error
        write_root(str(tmp_path / "a"), volume=volume, levels=levels, name="a")
    assert open_volume(tmp_path / "a").levels == 2


def test_an_array_that_was_half_made_is_none(tmp_path):
    create_array(str(tmp_path / "a"), shape=(1, 1, 1, 4, 4), dtype="u1", axes="yx", zarr_format=2, fill=None)
    assert has_array(tmp_path / "a")
    (tmp_path / "a" / ".zattrs").unlink()
    assert not has_array(tmp_path / "a")


def test_results_of_both_versions_replace_each_other(tmp_path):
    for number, result_format in enumerate((*RESULT_FORMATS, RESULT_FORMATS[0])):
        volume = from_array(np.full((20, 30), number, "u1"), "yx")
        store(tmp_path / "new", volume, result_format, attributes={"ilcore": {"fingerprint": str(number)}})
        publish(tmp_path / "new", tmp_path / "a", overwrite=True)
        found = open_volume(tmp_path / "a")
        assert (found.format, voxels(found).max()) == (result_format, number)
        assert attributes_of(tmp_path / "a")["ilcore"] == {"fingerprint": str(number)}
        assert stages.made_by(tmp_path / "a") == str(number)


@pytest.mark.medium
@pytest.mark.parametrize("result_format", RESULT_FORMATS)
def test_a_restoration_keeps_all_that_its_source_said(tmp_path, monkeypatch, result_format):
    add_standins(monkeypatch)
    source = store(tmp_path / "source", scan(300, 280))
    plan = planned(tmp_path / "source", tmp_path / "a.zarr", "unchanged", result_format=result_format)
    assert carry_out(plan).verdict != "fail"
    found = open_volume(tmp_path / "a.zarr")
    assert {name: getattr(found, name) for name in FIELDS} == {name: getattr(source, name) for name in FIELDS}
    assert found.format == result_format
    np.testing.assert_array_equal(voxels(found), voxels(source))
    # It is known as the result of this plan: there is nothing left to do.
    assert stages.prepare(Run.of(plan)).is_published
    told = describe(plan.target, axes=None, level=1, missing=None)
    assert (told["CRS"], told["missing"]) == ("WGS 84 / UTM zone 33N (EPSG:32633)", 7)
    assert told["bounds"] == ["500000", "5194000", "502800", "5200000"]
    assert (told["value"], told["acquired"]) == ("0.0001 x stored + -0.1", "2024-05-06T07:08:09.250000+02:00")
    assert told["channels"] == ["red (#FF0000)", "nir (#880000)"]


@pytest.mark.medium
def test_a_run_to_04_goes_on_after_an_interruption(tmp_path, monkeypatch):
    add_standins(monkeypatch)
    store(tmp_path / "source", scan(64, 280))
    plans = [planned(tmp_path / "source", tmp_path / name, "box", result_format=OLD) for name in "ab"]
    carry_out(plans[0])
    with monkeypatch.context() as broken:
        broken.setattr(stages, "write_root", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            carry_out(plans[1])
    staging = Workspace.of(plans[1].target).staging
    # Killed while the array of a level was made.
    (staging / "1" / ".zattrs").unlink()
    assert not (staging / ".zgroup").exists()
    carry_out(plans[1])
    assert contents(tmp_path / "b") == contents(tmp_path / "a")


@pytest.mark.medium
@pytest.mark.parametrize("damage", ["flipped", "missing"])
def test_damage_to_04_is_found_and_made_good_though_its_chunks_have_no_checksum(tmp_path, monkeypatch, damage):
    add_standins(monkeypatch)
    store(tmp_path / "source", scan(64, 280))
    plan = planned(tmp_path / "source", tmp_path / "a", "box", result_format=OLD)
    carry_out(plan)
    before, chunk = contents(tmp_path / "a"), tmp_path / "a" / "1" / "0" / "0" / "0"
    content = bytearray(chunk.read_bytes())
    content[len(content) // 2] ^= 4
    chunk.unlink() if damage == "missing" else chunk.write_bytes(content)
    workspace = Workspace.of(plan.target)
    found = verify(Run(plan, workspace))
    assert {each.place for each in found} == {"1"}
    write_damage(workspace, found)
    repair(Run(plan, workspace))
    assert contents(tmp_path / "a") == before


def contents(root):
    """Every file but the root, which tells where the result is from and what it is called."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path != root / ".zattrs"
    }


def test_the_format_is_part_of_what_a_plan_decides(tmp_path, monkeypatch):
    add_standins(monkeypatch)
    store(tmp_path / "source", scan(64, 64))
    plans = [planned(tmp_path / "source", tmp_path / "a", "unchanged", result_format=one) for one in RESULT_FORMATS]
    assert plans[0].fingerprint != plans[1].fingerprint
    assert planned(tmp_path / "source", tmp_path / "a", "unchanged") == plans[0]
