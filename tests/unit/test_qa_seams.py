import numpy as np
import pytest
from scipy import ndimage

from ilcore.qa.seams import seam_score
from ilcore.qa.verdict import RUN_LIMITS
from ilcore.tiling.grid import TileGrid
from tests.scenes import noisy, scene

SIDE = 192
GRID = TileGrid((1, 1, 1, SIDE, SIDE), (1, 48, 48))


def reader(plane):
    volume = plane.reshape(1, 1, -1, *plane.shape[-2:])
    return lambda region: volume[tuple(slice(*span) for span in region)]


def scores(result, source=None, grid=GRID):
    source = None if source is None else reader(source)
    found = np.array([seam_score(reader(result), tile, grid, source) for tile in grid.tiles()])
    return found[np.isfinite(found)]


def per_tile_offset(plane, size, grid=GRID):
    rng, moved = np.random.default_rng(0), plane.copy()
    for tile in grid.tiles():
        moved[..., slice(*tile.core[3]), slice(*tile.core[4])] += size * rng.standard_normal()
    return moved


@pytest.mark.parametrize("to", [lambda image: image, lambda image: np.clip(image * 200 + 25, 0, 255).astype(np.uint8)])
@pytest.mark.parametrize("kind", ["cells", "coast", "stars", "edges", "constant"])
def test_offsets_of_tiles_show_and_pictures_without_them_do_not(kind, to):
    observed = noisy(scene(kind, (SIDE, SIDE), 3), std=0.1)
    smooth = ndimage.gaussian_filter(observed, 1.5)
    clean = scores(to(smooth), to(observed))
    seamed = scores(to(per_tile_offset(smooth, 0.08)), to(observed))
    for check, found in (("seams", np.median), ("seams, worst tenth", lambda values: np.quantile(values, 0.9))):
        assert RUN_LIMITS[check].judge(float(found(clean))) == "pass"
        assert RUN_LIMITS[check].judge(float(found(seamed))) != "pass"


def test_an_edge_of_the_scene_on_a_border_is_no_seam():
    clean = np.full((SIDE, SIDE), 0.3, np.float32)
    clean[:, 48:] = 0.7
    observed = noisy(clean, std=0.02)
    restored = noisy(clean, std=0.002, seed=1)
    assert scores(restored).max() > 100
    assert scores(restored, observed).max() < 4.5


def test_flat_pictures_have_no_seams_and_no_alarm():
    flat = np.full((SIDE, SIDE), 7, np.uint16)
    np.testing.assert_allclose(scores(flat, flat), 1.0)
    assert len(scores(flat)) == len(GRID) - 1  # the last tile has no border after it


def test_seams_between_slabs_show_in_volumes():
    grid = TileGrid((1, 1, 16, 64, 64), (8, 64, 64))
    smooth = ndimage.gaussian_filter(noisy(scene("cells", (16, 64, 64)), std=0.1), 1.0)
    seamed = smooth.copy()
    seamed[8:] += 0.1
    assert scores(smooth, grid=grid).max() < 3 < scores(seamed, grid=grid).max()


def test_missing_values_are_left_out():
    smooth = ndimage.gaussian_filter(noisy(scene("cells", (SIDE, SIDE)), std=0.1), 1.0).astype(np.float32)
    holed = smooth.copy()
    holed[40:60, 20:30] = np.nan
    np.testing.assert_allclose(scores(holed), scores(smooth), rtol=0.5)
    assert np.isfinite(scores(np.full_like(smooth, np.nan))).all()
