"""Laws of every tile grid, whatever the shape, core, overlap, halo and alignment."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ilcore.grammar.region import grow, inside, intersect, size, slices, touches, whole
from ilcore.tiling import Along, TileGrid, balanced_core, blend, blocks, window
from ilcore.tiling.assemble import heaviest


@st.composite
def grids(draw):
    """Grids over small volumes: one tile or many, slivers at the end, halos larger than the volume."""
    space, core, overlap, align = [], [], [], []
    for _ in range(3):
        step = draw(st.integers(1, 3))
        cells = draw(st.integers(1, 5))
        core.append(cells * step)
        overlap.append(draw(st.integers(0, cells // 2)) * step)
        align.append(step)
        space.append(draw(st.integers(1, 23)))
    halo = tuple(draw(st.integers(0, 40)) for _ in range(3))
    unit = tuple(draw(st.integers(1, 3)) for _ in range(3))
    frames = draw(st.integers(1, 3))
    time = Along(frames, draw(st.integers(0, frames // 2)), draw(st.integers(0, 4)))
    shape = (draw(st.integers(1, 5)), draw(st.integers(1, 2)), *space)
    return TileGrid(shape, tuple(core), tuple(overlap), halo, tuple(align), unit, time)


@st.composite
def grids_with_region(draw):
    grid = draw(grids())
    spans = []
    for length in grid.shape5:
        start = draw(st.integers(0, length - 1))
        spans.append((start, draw(st.integers(start + 1, length))))
    return grid, tuple(spans)


laws = settings(max_examples=120, deadline=None)


@laws
@given(grids())
def test_every_voxel_lies_in_exactly_one_core(grid):
    count = np.zeros(grid.shape5, dtype=int)
    for tile in grid.tiles():
        count[slices(tile.core)] += 1
    assert (count == 1).all()


@laws
@given(grids())
def test_windows_sum_to_one_everywhere(grid):
    total = np.zeros(grid.shape5)
    for tile in grid.tiles():
        weights = window(tile, grid)
        assert weights.dtype == np.float64
        assert weights.min() >= 0
        total[slices(tile.keep)] += weights
    np.testing.assert_allclose(total, 1, rtol=0, atol=1e-12)


@laws
@given(grids())
def test_core_lies_in_keep_and_keep_in_read_inside_the_volume(grid):
    for tile in grid.tiles():
        assert intersect(tile.core, tile.keep) == tile.core
        assert intersect(tile.keep, tile.read) == tile.keep
        assert inside(tile.read, grid.shape5)
        assert tile.core[1] == tile.read[1] == (0, grid.shape5[1])
        assert all(length >= 1 for length in size(tile.core))
        assert all(own <= most for own, most in zip(size(tile.keep), grid.keep_shape, strict=True))


@laws
@given(grids())
def test_regions_start_at_multiples_of_align_and_the_halo_is_complete(grid):
    for tile in grid.tiles():
        wanted = grow(tile.keep, (grid.time.halo, 0, *grid.halo))
        assert tile.read[0][0] == max(0, wanted[0][0])
        assert tile.read[0][1] == min(grid.shape5[0], wanted[0][1])
        for axis in range(3):
            step, length = grid.align[axis], grid.shape5[axis + 2]
            start, stop = tile.read[axis + 2]
            assert tile.core[axis + 2][0] % step == tile.keep[axis + 2][0] % step == start % step == 0
            assert stop % step == 0 or stop == length
            assert start <= max(0, wanted[axis + 2][0])
            assert stop >= min(length, wanted[axis + 2][1])


@laws
@given(grids())
def test_units_share_out_the_tiles(grid):
    tiles = [tile for unit in grid.units() for tile in unit.tiles]
    assert len(tiles) == len(grid) == len(set(tiles))
    assert set(tiles) == set(grid.tiles())
    assert all(grid.unit_of(unit.index) == unit for unit in grid.units())
    assert all(grid.tile(tile.index) == tile for tile in tiles)


@laws
@given(grids_with_region())
def test_touching_finds_what_a_search_through_all_tiles_finds(case):
    grid, region = case
    assert list(grid.touching(region)) == [tile for tile in grid.tiles() if touches(tile.keep, region)]


@settings(max_examples=60, deadline=None)
@given(grids_with_region(), st.integers(0, 2**31))
def test_blending_pieces_of_one_image_gives_the_image(case, seed):
    grid, region = case
    image = np.random.default_rng(seed).normal(size=grid.shape5)
    pieces = ((tile, image[slices(tile.keep)]) for tile in grid.touching(region))
    np.testing.assert_allclose(blend(region, pieces, grid), image[slices(region)], rtol=0, atol=1e-12)


@laws
@given(grids(), st.tuples(*[st.integers(1, 9)] * 5))
def test_blocks_cover_once_and_are_aligned(grid, unit):
    count = np.zeros(grid.shape5, dtype=int)
    for region in blocks(grid.shape5, unit):
        count[slices(region)] += 1
        assert all(start % step == 0 for (start, _), step in zip(region, unit, strict=True))
    assert (count == 1).all()


@settings(max_examples=300, deadline=None)
@given(st.integers(1, 5000), st.integers(1, 600), st.integers(1, 64))
def test_a_balanced_core_makes_as_many_tiles_but_no_sliver(length, core, align):
    wanted = max(1, core // align) * align
    found = balanced_core(length, core, align)
    tiles = -(-length // found)
    assert found % align == 0
    assert found <= wanted
    assert tiles <= -(-length // wanted)
    if align == 1:
        assert length - (tiles - 1) * found >= found - tiles


def test_a_region_of_the_whole_volume_touches_every_tile():
    grid = TileGrid((2, 3, 9, 50, 41), (4, 16, 16), (2, 4, 4))
    assert grid.touching(whole(grid.shape5)) == tuple(grid.tiles())


@laws
@given(grids_with_region(), st.integers(0, 2**32 - 1))
def test_labels_of_tiles_that_agree_are_those_of_the_whole(given_grid, seed):
    grid, region = given_grid
    whole_volume = np.random.default_rng(seed).integers(0, 5, grid.shape5)
    pieces = ((tile, whole_volume[slices(tile.keep)]) for tile in grid.touching(region))
    np.testing.assert_array_equal(heaviest(region, pieces, grid), whole_volume[slices(region)])


@laws
@given(grids_with_region(), st.integers(0, 2**32 - 1))
def test_where_tiles_disagree_each_voxel_has_the_label_of_its_owner(given_grid, seed):
    """Never one in between: what a tile owns weighs most in it."""
    grid, region = given_grid
    labels = np.random.default_rng(seed).integers(0, 5, grid.grid_shape)
    owned = np.full(grid.shape5, -1)
    for tile in grid.tiles():
        owned[slices(tile.core)] = labels[tile.index]
    pieces = ((tile, np.full(size(tile.keep), labels[tile.index])) for tile in grid.touching(region))
    np.testing.assert_array_equal(heaviest(region, pieces, grid), owned[slices(region)])
