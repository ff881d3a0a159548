"""il export: files that other programs open, written with flat memory, whole or not at all."""

import re
from dataclasses import dataclass, replace

import numpy as np
import pytest
import rasterio
import tifffile
from typer.testing import CliRunner

from flows.cli import app
from ilcore.formats.gdal import not_georeferenced
from ilcore.formats.in_memory import from_array
from ilcore.formats.open import open_volume
from ilcore.grammar.errors import BadInput, CorruptData
from ilcore.grammar.region import size
from ilcore.results import cog, ome_tiff
from ilcore.results.export import export_volume
from ilcore.volumes.scan_metadata import NOTHING
from tests.told import scan, store, voxels


def stack(dtype="u2", shape=(2, 3, 530, 300)):
    """Two channels of three planes, without a place on the Earth."""
    values = np.random.default_rng(0).integers(0, 200, shape).astype(dtype)
    micron = "micrometer"
    return from_array(
        values, "czyx", scale=(1, 2.5, 0.5, 0.25), units=(None, micron, micron, micron), channels=("a", "b")
    )


def test_a_volume_with_a_place_becomes_a_cog(tmp_path):
    store(tmp_path / "a", scan())
    path = export_volume(str(tmp_path / "a"), tmp_path / "a.tif")
    with rasterio.open(path) as found:
        assert (found.driver, found.tags(ns="IMAGE_STRUCTURE")["LAYOUT"]) == ("GTiff", "COG")
        assert (found.crs.to_epsg(), tuple(found.transform)[:6]) == (32633, scan().about.affine)
        assert (found.nodata, found.descriptions, found.overviews(1)) == (7, ("red", "nir"), [2])
        np.testing.assert_array_equal(found.read(), voxels(scan())[0, :, 0])
    assert [each.name for each in tmp_path.iterdir() if "partial" in each.name or "plain" in each.name] == []


@pytest.mark.medium
def test_everything_else_becomes_an_ome_tiff_with_its_pyramid(tmp_path):
    ome_types = pytest.importorskip("ome_types")
    store(tmp_path / "a", stack())
    path = export_volume(str(tmp_path / "a"), tmp_path / "a.tif")
    with tifffile.TiffFile(path) as file:
        assert (file.is_ome, file.is_bigtiff, len(file.series[0].levels)) == (True, False, 3)
        assert [level.shape[-2:] for level in file.series[0].levels] == [(530, 300), (265, 150), (133, 75)]
        np.testing.assert_array_equal(file.asarray(), voxels(stack())[0])
        np.testing.assert_array_equal(
            file.series[0].levels[2].asarray(), voxels(open_volume(tmp_path / "a", level=2))[0]
        )
    pixels = ome_types.from_tiff(path).images[0].pixels
    assert (pixels.size_c, pixels.size_z, pixels.physical_size_z, pixels.physical_size_x) == (2, 3, 2.5, 0.25)
    assert (pixels.physical_size_y_unit.value, [each.name for each in pixels.channels]) == ("µm", ["a", "b"])
    assert open_volume(path, level=2).origin[3:] == (0.75, 0.375)


@pytest.mark.parametrize("options", [{}, {"as_cog": True}])
def test_a_region_of_a_level(tmp_path, options):
    store(tmp_path / "a", stack())
    path = export_volume(str(tmp_path / "a"), tmp_path / "a.tif", level=1, roi="z=1:2,x=10:100", **options)
    whole = voxels(open_volume(tmp_path / "a", level=1))
    np.testing.assert_array_equal(voxels(open_volume(path)), whole[:, :, 1:2, :, 10:100])


def test_a_name_decides_for_ome_and_an_option_for_geotiff(tmp_path):
    store(tmp_path / "a", scan(64, 64))
    assert open_volume(export_volume(str(tmp_path / "a"), tmp_path / "a.ome.tif")).format == "ome-tiff"
    plain = tmp_path / "plain.npy"
    np.save(plain, np.ones((40, 40), "u1"))
    path = export_volume(str(plain), tmp_path / "b.tif", as_cog=True)
    with not_georeferenced(), rasterio.open(path) as found:
        assert found.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"


@pytest.mark.parametrize("dtype", ["int8", "uint64", "int64", "float32", "float64"])
def test_types_of_geotiff(tmp_path, dtype):
    values = voxels(scan(70, 50)).astype(dtype)[0, :, 0]
    store(tmp_path / "a", replace(scan(70, 50), dtype=np.dtype(dtype), source=from_array(values, "cyx").source))
    np.testing.assert_array_equal(
        voxels(open_volume(export_volume(str(tmp_path / "a"), tmp_path / "a.tif")))[0, :, 0], values
    )


def test_four_bands_are_not_colour_and_transparency(tmp_path):
    values = np.random.default_rng(0).integers(0, 255, (4, 40, 50)).astype("u1")
    store(
        tmp_path / "a",
        replace(from_array(values, "cyx"), about=replace(scan().about, value_scale=1.0, value_offset=0.0)),
    )
    with rasterio.open(export_volume(str(tmp_path / "a"), tmp_path / "a.tif")) as found:
        assert [each.name for each in found.colorinterp] == ["gray"] + ["undefined"] * 3


@dataclass(frozen=True)
class Counting:
    """Zeros, and how many were asked for at once."""

    asked: list[int]

    def read(self, index):
        shape = [part.stop - part.start for part in index]
        self.asked.append(int(np.prod(shape)))
        return np.zeros(shape, "u1")


@pytest.mark.parametrize(("shape", "chunk"), [((1, 2, 5, 300, 400), 4), ((1, 1, 2, 1500, 1600), 2)])
def test_no_more_is_read_at_once_than_memory_allows(tmp_path, monkeypatch, shape, chunk):
    limit = 1_000_000
    for module in (cog, ome_tiff):
        monkeypatch.setattr(module, "STREAM_BYTES", limit)
    counting = Counting([])
    like = from_array(np.broadcast_to(np.uint8(0), shape), "tczyx")
    volume = replace(like, source=counting, chunks=(1, 1, chunk, 256, 256), about=NOTHING)
    ome_tiff.write_ome_tiff(tmp_path / "a.ome.tif", [volume])
    assert sum(counting.asked) == np.prod(shape)
    assert max(counting.asked) <= limit
    flat = replace(volume, shape=(1, shape[1], 1, *shape[3:]))
    counting.asked.clear()
    cog.write_cog(tmp_path / "a.tif", flat)
    assert sum(counting.asked) == np.prod(size(((0, 1), (0, shape[1]), (0, 1), (0, shape[3]), (0, shape[4]))))
    assert max(counting.asked) <= max(limit, shape[1] * 512 * 512)


@pytest.mark.parametrize(
    ("name", "dtype", "options", "told"),
    [
        ("a.tif", "u2", {"as_cog": True}, "one plane was wanted .* 3 planes; choose one with roi="),
        ("a.tif", "u8", {}, "one of int8, .* got uint64; convert it first, or write a GeoTIFF"),
        ("a.tif", "f2", {"as_cog": True, "roi": "z=0:1"}, "got float16; convert it to float32"),
        ("a.zarr", "u2", {}, "a local file .* was wanted"),
        ("s3://bucket/a.tif", "u2", {}, "a local file .* was wanted"),
        ("there.tif", "u2", {}, "is there already"),
        ("folder.tif", "u2", {"overwrite": True}, "is there already"),
    ],
)
def test_what_cannot_be_exported_is_refused_in_one_sentence(tmp_path, name, dtype, options, told):
    store(tmp_path / "a", stack(dtype, (2, 3, 40, 50)))
    (tmp_path / "there.tif").write_bytes(b"mine")
    (tmp_path / "folder.tif").mkdir()
    before = sorted(tmp_path.iterdir())
    path = name if "://" in name else tmp_path / name
    with pytest.raises(BadInput, match=told):
        export_volume(str(tmp_path / "a"), path, **options)
    assert sorted(tmp_path.iterdir()) == before
    assert (tmp_path / "there.tif").read_bytes() == b"mine"


def test_a_failed_export_leaves_the_earlier_file(tmp_path):
    store(tmp_path / "a", stack(shape=(2, 3, 40, 50)))
    path = export_volume(str(tmp_path / "a"), tmp_path / "a.tif")
    before = path.read_bytes()
    chunk = next(path for path in (tmp_path / "a").rglob("*") if path.is_file() and "json" not in path.name)
    chunk.write_bytes(chunk.read_bytes()[:-9])
    with pytest.raises(CorruptData):
        export_volume(str(tmp_path / "a"), path, overwrite=True)
    assert path.read_bytes() == before
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a", "a.tif"]
    with pytest.raises(BadInput, match="apart from the source"):
        export_volume(str(path), path, overwrite=True)


def test_the_command(tmp_path):
    store(tmp_path / "a", stack(shape=(2, 3, 40, 50)))
    words = ["export", str(tmp_path / "a"), str(tmp_path / "b.tif"), "--roi", "z=1:2", "--cog"]
    told = CliRunner().invoke(app, words)
    assert (told.exit_code, re.sub(r"\s", "", told.output)) == (0, str(tmp_path / "b.tif"))
    again = CliRunner().invoke(app, words)
    assert again.exit_code == 2
    assert CliRunner().invoke(app, [*words, "--overwrite"]).exit_code == 0
