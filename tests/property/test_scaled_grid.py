"""The law of a result on a finer grid: the grid of the result is the scaled grid of the source, box by box."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ilcore.aims.ratios import LARGEST_Q
from ilcore.grammar.errors import TilingError
from ilcore.grammar.region import inside, region_of, slices
from ilcore.tiling import Along, TileGrid, blend

laws = settings(max_examples=100, deadline=None)


@st.composite
def scaled_grids(draw, largest_q=LARGEST_Q, longest=6):
    """Draw a grid over a small volume, and factors p/q of which its lengths are multiples of q."""
    space, core, overlap, halo, align, factors = [], [], [], [], [], []
    for _ in range(3):
        q = draw(st.integers(1, largest_q))
        factor = Fraction(draw(st.integers(q, 4 * q)), q)
        step = factor.denominator * draw(st.integers(1, 2))
        cells = draw(st.integers(1, 4))
        factors.append(factor)
        align.append(step)
        core.append(cells * step)
        overlap.append(draw(st.integers(0, cells // 2)) * step)
        halo.append(draw(st.integers(0, 12)) * factor.denominator)
        space.append(draw(st.integers(1, longest)) * factor.denominator)
    unit = tuple(draw(st.integers(1, 3)) for _ in range(3))
    frames = draw(st.integers(1, 3))
    time = Along(frames, draw(st.integers(0, frames // 2)), draw(st.integers(0, 2)))
    shape = (draw(st.integers(1, 4)), draw(st.integers(1, 2)), *space)
    grid = TileGrid(shape, tuple(core), tuple(overlap), tuple(halo), tuple(align), unit, time)
    return grid, tuple(factors)


def scaled_box(region, factors):
    by = (1, 1, *factors)
    spans = [(start * factor, stop * factor) for (start, stop), factor in zip(region, by, strict=True)]
    assert all(end.denominator == 1 for span in spans for end in map(Fraction, span))
    return region_of(spans)


@laws
@given(scaled_grids())
def test_every_core_keep_and_read_box_is_the_scaled_box(case):
    grid, factors = case
    finer = grid.scaled(factors)
    for tile in grid.tiles():
        other = finer.tile(tile.index)
        for name in ("core", "keep", "read"):
            assert getattr(other, name) == scaled_box(getattr(tile, name), factors)
            assert inside(getattr(other, name), finer.shape5)


@laws
@given(scaled_grids())
def test_tiles_and_units_are_the_same(case):
    grid, factors = case
    finer = grid.scaled(factors)
    assert (finer.grid_shape, finer.unit_shape, finer.unit, finer.time) == (
        grid.grid_shape, grid.unit_shape, grid.unit, grid.time,
    )  # fmt: skip
    indices = [[tile.index for tile in unit.tiles] for unit in grid.units()]
    assert [[tile.index for tile in unit.tiles] for unit in finer.units()] == indices
    assert finer.shape5[:2] == grid.shape5[:2]


@settings(max_examples=40, deadline=None)
@given(scaled_grids(largest_q=3, longest=4), st.integers(0, 2**31))
def test_blending_on_the_finer_grid_gives_the_image(case, seed):
    grid, factors = case
    finer = grid.scaled(factors)
    image = np.random.default_rng(seed).normal(size=finer.shape5)
    whole = region_of([(0, length) for length in finer.shape5])
    pieces = ((tile, image[slices(tile.keep)]) for tile in finer.tiles())
    np.testing.assert_allclose(blend(whole, pieces, finer), image, rtol=0, atol=1e-12)


@laws
@given(scaled_grids())
def test_scaling_back_gives_the_grid_itself(case):
    grid, factors = case
    assert grid.scaled(factors).scaled([1 / factor for factor in factors]) == grid
    assert grid.scaled((1, 1, 1)) == grid


HALVES = TileGrid((1, 1, 8, 24, 24), (4, 8, 8), (2, 2, 2), (2, 4, 4), (2, 2, 2))


@pytest.mark.parametrize(
    ("grid", "name"),
    [
        (replace(HALVES, shape5=(1, 1, 8, 25, 24)), "shape"),
        (replace(HALVES, core=(4, 9, 8), align=(1, 1, 1)), "core"),
        (replace(HALVES, overlap=(2, 1, 2), align=(1, 1, 1)), "overlap"),
        (replace(HALVES, halo=(2, 5, 4)), "halo"),
        (replace(HALVES, align=(2, 1, 2)), "align"),
    ],
)
def test_lengths_that_are_no_multiples_are_refused_by_name(grid, name):
    assert HALVES.scaled((1, Fraction(3, 2), 1)).core == (4, 12, 8)
    with pytest.raises(TilingError, match=f"{name} must hold multiples of 1, 2, 1"):
        grid.scaled((1, Fraction(3, 2), 1))


def test_nonsense_is_refused():
    grid = TileGrid((1, 1, 4, 8, 8), (4, 8, 8))
    for factors in [(2, 2), (2, 2, 0), (1, 1, -1), (2, 2, 2, 2)]:
        with pytest.raises(TilingError, match="three factors above 0"):
            grid.scaled(factors)
    with pytest.raises(TilingError, match=r"align must hold multiples of 1, 2, 2 .* got \(1, 1, 1\)"):
        grid.scaled((1, Fraction(3, 2), Fraction(3, 2)))
