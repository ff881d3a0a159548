"""Single facts about tile grids, blending and casting."""

import pickle

import numpy as np
import pytest

from ilcore.grammar.errors import TilingError
from ilcore.grammar.region import whole
from ilcore.tiling import TileGrid, balanced_core, blend, blocks, cast, window

PLANE = (1, 1, 1, 20, 20)


def test_the_drawing_in_the_docstring_is_true():
    grid = TileGrid((1, 1, 1, 1, 20), (1, 1, 8), (0, 0, 2), (0, 0, 3))
    first, second, third = grid.tiles()
    assert (first.core[4], first.keep[4], first.read[4]) == ((0, 8), (0, 10), (0, 13))
    assert (second.core[4], second.keep[4], second.read[4]) == ((8, 16), (6, 18), (3, 20))
    assert (third.core[4], third.keep[4], third.read[4]) == ((16, 20), (14, 20), (11, 20))
    assert grid.grid_shape == (1, 1, 1, 3)


def test_fewer_pixels_than_a_tile_make_one_tile_with_weight_one():
    grid = TileGrid((1, 2, 1, 5, 7), (1, 64, 64), (0, 16, 16), (0, 30, 30))
    (tile,) = grid.tiles()
    assert tile.core == tile.keep == tile.read == whole((1, 2, 1, 5, 7))
    assert (window(tile, grid) == 1).all()


def test_a_halo_larger_than_the_image_is_cut_at_its_edge():
    grid = TileGrid(PLANE, (1, 8, 8), (0, 2, 2), (50, 500, 500))
    assert {tile.read for tile in grid.tiles()} == {whole(PLANE)}


@pytest.mark.parametrize(
    ("numbers", "complaint"),
    [
        ({"core": (0, 8, 8)}, "core must hold three whole numbers >= 1"),
        ({"core": (1, 8)}, "core must hold three"),
        ({"core": (1, 8.5, 8)}, "core must hold three whole numbers"),
        ({"overlap": (0, -1, 0)}, "overlap must hold three whole numbers >= 0"),
        ({"halo": (-3, 0, 0)}, "halo must hold three whole numbers >= 0"),
        ({"align": (1, 0, 1)}, "align must hold three whole numbers >= 1"),
        ({"unit": (1, 0, 1)}, "unit must hold three whole numbers >= 1"),
        ({"overlap": (0, 5, 0)}, "overlap must be at most half of core=8 along y, got 5"),
        ({"align": (1, 3, 1)}, "multiples of align=3 along y, got 8 and 0"),
        ({"shape5": (1, 1, 1, 0, 8)}, "five lengths >= 1"),
        ({"shape5": (1, 1, 8)}, "five lengths >= 1"),
    ],
)
def test_numbers_that_make_no_grid_are_refused_by_name(numbers, complaint):
    with pytest.raises(TilingError, match=complaint):
        TileGrid(**{"shape5": PLANE, "core": (1, 8, 8)} | numbers)


def test_all_complaints_are_listed_at_once():
    with pytest.raises(TilingError, match=r"along y.*along x"):
        TileGrid(PLANE, (1, 8, 8), (0, 5, 6))


@pytest.mark.parametrize("index", [(0, 0, 0, 3), (0, 0, -1, 0), (1, 0, 0, 0), (0, 0, 0)])
def test_a_place_outside_the_grid_is_refused(index):
    grid = TileGrid(PLANE, (1, 8, 8))
    with pytest.raises(TilingError, match=r"grid of \(1, 1, 3, 3\)"):
        grid.tile(index)


def test_grids_pickle_compare_and_take_numpy_integers():
    grid = TileGrid(tuple(np.int64(n) for n in PLANE), (1, 8, 8), (0, 2, 2), unit=(1, 2, 2))
    assert pickle.loads(pickle.dumps(grid)) == grid == TileGrid(PLANE, (1, 8, 8), (0, 2, 2), unit=(1, 2, 2))
    assert all(type(length) is int for length in grid.shape5)
    assert [len(unit.tiles) for unit in grid.units()] == [4, 2, 2, 1]


def test_a_balanced_core_avoids_a_tile_of_one_voxel():
    assert balanced_core(65, 64) == 33
    assert balanced_core(512, 64) == 64
    assert balanced_core(10, 64) == 10
    assert balanced_core(65, 64, 16) == 48


def test_blending_without_overlap_is_putting_side_by_side():
    grid = TileGrid(PLANE, (1, 16, 16))
    pieces = [(tile, np.full([b - a for a, b in tile.keep], float(n))) for n, tile in enumerate(grid.tiles())]
    result = blend(whole(PLANE), pieces, grid)
    assert result[0, 0, 0, 15, 15] == 0
    assert result[0, 0, 0, 15, 16] == 1
    assert result[0, 0, 0, 16, 15] == 2
    assert result[0, 0, 0, 16, 16] == 3


def test_a_missing_tile_is_named_instead_of_leaving_a_hole():
    grid = TileGrid(PLANE, (1, 16, 16), (0, 4, 4))
    pieces = [(tile, np.ones([b - a for a, b in tile.keep])) for tile in grid.tiles()]
    with pytest.raises(TilingError, match=r"not got: \[\(0, 0, 1, 1\)\]"):
        blend(whole(PLANE), pieces[:-1], grid)
    with pytest.raises(TilingError, match=r"once, got tile \(0, 0, 0, 0\)"):
        blend(whole(PLANE), [*pieces, pieces[0]], grid)


def test_a_piece_of_another_shape_is_refused():
    grid = TileGrid(PLANE, (1, 32, 32))
    with pytest.raises(TilingError, match=r"keeps \(1, 1, 1, 20, 20\).*got a piece of \(1, 1, 1, 20, 19\)"):
        blend(whole(PLANE), [(grid.tile((0, 0, 0, 0)), np.ones((1, 1, 1, 20, 19)))], grid)


def test_missing_values_stay_where_they_are():
    grid = TileGrid(PLANE, (1, 8, 8), (0, 4, 4))
    image = np.ones(PLANE)
    image[0, 0, 0, 7, 7] = np.nan
    pieces = ((tile, image[tuple(slice(*span) for span in tile.keep)]) for tile in grid.tiles())
    np.testing.assert_array_equal(np.isnan(blend(whole(PLANE), pieces, grid)), np.isnan(image))


def test_blocks_go_in_order_and_end_at_the_edge():
    assert [region[3:] for region in blocks((1, 1, 1, 3, 5), (1, 1, 1, 2, 4))] == [
        ((0, 2), (0, 4)),
        ((0, 2), (4, 5)),
        ((2, 3), (0, 4)),
        ((2, 3), (4, 5)),
    ]


@pytest.mark.parametrize(
    ("values", "dtype", "wanted", "clipped"),
    [
        ([-0.4, 0.6, 254.5, 255.4], np.uint8, [0, 1, 254, 255], 0),
        ([-0.6, -5.0, 255.6, 1e9], np.uint8, [0, 0, 255, 255], 4),
        ([np.nan, np.inf, -np.inf], np.uint8, [0, 255, 0], 3),
        ([-32768.4, 40000.0], np.int16, [-32768, 32767], 1),
        ([-1e30, 1e30], np.int64, [-(2**63), 2**63 - 1024], 2),
        ([3e9], np.int32, [2**31 - 1], 1),
    ],
)
def test_casting_rounds_clips_and_counts(values, dtype, wanted, clipped):
    for source in (np.float64, np.float32):
        result, count = cast(np.array(values, dtype=source), dtype)
        assert result.dtype == dtype
        assert result.tolist() == wanted
        assert count == clipped


def test_casting_between_whole_numbers_keeps_every_digit():
    large = np.array([2**62 + 1, -3])
    same, count = cast(large, np.int64)
    assert (same == large).all()
    assert count == 0
    narrow, count = cast(np.array([-1, 7, 300], dtype=np.int16), np.uint8)
    assert narrow.tolist() == [0, 7, 255]
    assert count == 2


def test_casting_to_floats_touches_nothing_that_fits():
    values = np.array([np.nan, np.inf, -1.5, 1e30])
    same, count = cast(values, np.float32)
    np.testing.assert_array_equal(same, values.astype(np.float32))
    assert count == 0
    half, count = cast(values, np.float16)
    np.testing.assert_array_equal(half, np.array([np.nan, np.inf, -1.5, 65504], dtype=np.float16))
    assert count == 1
