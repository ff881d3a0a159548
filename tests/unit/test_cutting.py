"""How much a cut reads twice, and whether a tile fits into a worker's memory."""

import math
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ilcore.methods.catalogue import METHODS, find
from ilcore.planning.cutting import (
    APPLIED_READS,
    LEARNING_READS,
    TILE_BYTES,
    Cut,
    grid_for,
    learns_on_tiles,
    tile_bytes,
    voxels_read,
)
from ilcore.tiling.grid import TileGrid

VOLUMES = {"stack": Cut((1, 1, 64, 512, 512), "z"), "plane": Cut((1, 1, 1, 4096, 4096), "none")}
SCOPED = [(name, scope) for name, entry in METHODS.items() for scope in sorted(entry.scopes)]


def grid_of(cut, plan):
    return TileGrid(cut.shape, plan.core, plan.overlap, plan.halo, plan.align, plan.unit, plan.time)


def largest(grid):
    sizes = []
    for place in product(*({0, n // 2, n - 1} for n in grid.grid_shape)):
        (t0, t1), _, (z0, z1), (y0, y1), (x0, x1) = grid.tile(place).read
        sizes.append((t1 - t0) * (z1 - z0) * (y1 - y0) * (x1 - x0))
    return max(sizes)


@pytest.mark.medium
@pytest.mark.parametrize("volume", VOLUMES)
@pytest.mark.parametrize(("name", "scope"), SCOPED)
def test_every_method_reads_little_more_than_it_writes_within_a_workers_memory(volume, name, scope):
    cut, entry = VOLUMES[volume], METHODS[name]
    grid = grid_of(cut, grid_for(entry, cut, scope))
    most = LEARNING_READS if learns_on_tiles(entry, scope) else APPLIED_READS
    assert voxels_read(grid) / (cut.shape[2] * cut.shape[3] * cut.shape[4]) <= most
    assert tile_bytes(entry, scope, largest(grid), 1) <= TILE_BYTES


def test_voxels_read_are_those_of_all_tiles():
    grid = TileGrid((2, 3, 7, 50, 41), (3, 16, 16), (1, 4, 4), (1, 5, 5), (1, 1, 1))
    read = 0
    for tile in grid.tiles():
        size = 1
        for start, stop in tile.read:
            size *= stop - start
        read += size
    assert voxels_read(grid) == read


@settings(deadline=None, max_examples=40)
@given(
    lengths=st.tuples(st.integers(1, 40), st.integers(1, 700), st.integers(1, 700)),
    channels=st.integers(1, 4),
    which=st.sampled_from(SCOPED),
)
def test_a_volume_of_any_size_is_cut(lengths, channels, which):
    cut = Cut((1, channels, *lengths), "z" if lengths[0] > 1 else "none")
    name, scope = which
    if "stack" in METHODS[name].needs and lengths[0] == 1:
        return
    plan = grid_for(METHODS[name], cut, scope)
    assert len(grid_of(cut, plan)) >= 1


@pytest.mark.parametrize("side", [135, 255, 511])
def test_an_odd_length_that_fits_a_tile_is_not_cut_in_two_for_alignment(side):
    plan = grid_for(METHODS["adapted"], Cut((1, 1, 1, side, side), "none"), "volume")
    grid = grid_of(Cut((1, 1, 1, side, side), "none"), plan)
    assert voxels_read(grid) / side**2 <= APPLIED_READS


def test_the_core_that_the_user_wants_is_kept():
    plan = grid_for(METHODS["n2v"], VOLUMES["stack"], "volume", (8, 64, 64))
    assert plan.core == (8, 64, 64)


@pytest.mark.parametrize(
    ("shape", "tile", "together"),
    [
        ((1, 1, 1, 4096, 4096), (1, 64, 64), 256),
        ((1, 1, 1, 4096, 4096), (1, 128, 128), 128),
        ((1, 1, 64, 2048, 2048), (8, 64, 64), 64),
    ],
)
def test_a_gpu_gets_many_small_tiles_together_and_a_cpu_few(shape, tile, together):
    entry, cut = find("n2v" if shape[2] == 1 else "zs_n2n"), Cut(shape, "z")
    of_gpu, of_cpu = (grid_for(entry, cut, "tile", tile, kind).unit for kind in ("gpu", "cpu"))
    assert math.prod(of_gpu) == together, (of_gpu, of_cpu)
    assert math.prod(of_cpu) <= 4


def test_units_of_work_are_cut_by_tile_size_and_kind_of_device_alone():
    small, large = ((1, 1, 1, side, side) for side in (512, 4096))
    entry = find("zs_n2n")
    units = {grid_for(entry, Cut(shape, "z"), "tile", (1, 64, 64), "gpu").unit for shape in (small, large)}
    assert units == {(1, 16, 16)}
