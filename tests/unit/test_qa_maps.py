import json

import numpy as np
import pytest

from ilcore.formats.open import from_array, open_volume
from ilcore.grammar.errors import BadInput
from ilcore.grammar.region import whole
from ilcore.qa.maps import verdict_map, write_maps
from ilcore.tiling.grid import Along, TileGrid
from ilcore.volumes.georeference import bounds
from tests.told import scan


def source_of(shape, axes, scale):
    return from_array(np.zeros(shape, np.uint8), axes, scale=scale, units=["micrometer"] * len(axes))


def test_maps_open_as_an_image_over_the_scan(tmp_path):
    source, grid = source_of((4, 60, 90), "zyx", (2.0, 0.5, 0.25)), TileGrid((1, 1, 4, 60, 90), (4, 32, 32))
    level = np.arange(6, dtype=np.float32).reshape(1, 1, 2, 3)
    seam = np.where(level == 5, np.nan, level / 10)
    write_maps(tmp_path / "qa.ome.zarr", {"residual level": level, "seam": seam}, source, grid)
    image = open_volume(tmp_path / "qa.ome.zarr")
    assert image.channels == ("residual level", "seam")
    assert image.axes == "czyx"
    np.testing.assert_array_equal(image.read(whole(image.shape))[:, 0], level)
    np.testing.assert_array_equal(image.read(whole(image.shape))[:, 1], seam)
    # One voxel of the maps is as large as a core, and its middle lies in the middle of the first core.
    assert image.scale[2:] == (8.0, 16.0, 8.0)
    assert image.origin[2:] == (3.0, 7.75, 3.875)
    assert image.units[2:] == ("micrometer",) * 3


def test_maps_lie_where_the_scan_lies_on_the_earth(tmp_path):
    source, grid = scan(64, 96), TileGrid((1, 2, 1, 64, 96), (1, 32, 16))
    write_maps(tmp_path / "qa.ome.zarr", {"risk": np.zeros((1, 1, 2, 6))}, source, grid)
    about = open_volume(tmp_path / "qa.ome.zarr").about
    assert (about.crs, about.affine) == (source.about.crs, (160, 0, 500000, 0, -640, 5200000))
    assert bounds(about.affine, 2, 6) == bounds(source.about.affine, 64, 96)


def test_maps_replace_those_that_were_there(tmp_path):
    source, grid = source_of((64, 64), "yx", (1, 1)), TileGrid((1, 1, 1, 64, 64), (1, 32, 32))
    for value in (1.0, 2.0):
        attributes = {"ilcore": {"run": value}}
        write_maps(tmp_path / "qa.ome.zarr", {"risk": np.full((1, 1, 2, 2), value)}, source, grid, attributes)
    image = open_volume(tmp_path / "qa.ome.zarr")
    assert float(image.read(whole(image.shape)).max()) == 2.0
    assert json.loads((tmp_path / "qa.ome.zarr" / "zarr.json").read_text())["attributes"]["ilcore"] == {"run": 2.0}
    assert [path.name for path in tmp_path.iterdir()] == ["qa.ome.zarr"]


@pytest.mark.parametrize("maps", [{}, {"risk": np.zeros((2, 2))}, {"risk": np.zeros((1, 1, 2, 3))}])
def test_maps_of_another_shape_are_refused_before_anything_is_written(tmp_path, maps):
    source, grid = source_of((64, 64), "yx", (1, 1)), TileGrid((1, 1, 1, 64, 64), (1, 32, 32))
    with pytest.raises(BadInput, match=r"shape \(1, 1, 2, 2\)"):
        write_maps(tmp_path / "qa.ome.zarr", maps, source, grid)
    assert not list(tmp_path.iterdir())


def test_the_verdict_map_is_the_worst_of_all_findings_and_knows_nothing_of_empty_tiles():
    level = np.array([1.0, 1.0, 0.2, 5.0, np.nan]).reshape(1, 1, 1, 5)
    shift = np.array([0.0, 0.3, 0.0, 0.0, np.nan]).reshape(1, 1, 1, 5)
    found = verdict_map({"residual_level": level, "shift": shift})
    np.testing.assert_array_equal(found.ravel(), [0, 1, 1, 2, np.nan])
    unsure = verdict_map({"residual_level": level, "shift": shift}, confidence=0.1)
    np.testing.assert_array_equal(unsure.ravel(), [0, 1, 1, 1, np.nan])


def test_a_tile_of_several_frames_lies_over_all_of_them(tmp_path):
    source = source_of((8, 64, 64), "tyx", (3.0, 1, 1))
    grid = TileGrid((8, 1, 1, 64, 64), (1, 32, 32), time=Along(4, 1, 2))
    write_maps(tmp_path / "qa.ome.zarr", {"seam": np.zeros((2, 1, 2, 2))}, source, grid)
    maps = open_volume(tmp_path / "qa.ome.zarr")
    assert (maps.shape[0], maps.scale[0], maps.origin[0]) == (2, 12.0, 4.5)
