"""One-number estimators of the noise level, and the filter beneath them."""

import numpy as np
import pytest

from ilcore.degradations.blocks import smooth_block, without_plane
from ilcore.degradations.levels import hh_mad, immerkaer, pca_level, smooth_half_mad, three_band_mad
from ilcore.degradations.wavelets import DB4, DB4_HIGH, diagonal_detail
from tests.scenes import noisy, scene

HIGH_PASS = [hh_mad, three_band_mad, smooth_half_mad, immerkaer, pca_level]


def grain(std, shape=(256, 256), seed=0):
    return np.random.default_rng(seed).normal(0, std, shape)


def test_db4_is_orthonormal_with_four_vanishing_moments():
    taps = np.arange(8.0)
    assert DB4.sum() == pytest.approx(np.sqrt(2))
    for shift in range(0, 8, 2):
        assert (DB4[shift:] * DB4[: 8 - shift]).sum() == pytest.approx(float(shift == 0), abs=1e-10)
    for power in range(4):
        assert (DB4_HIGH * taps**power).sum() == pytest.approx(0, abs=1e-8)


def test_diagonal_detail_keeps_white_noise_and_drops_ramps():
    assert diagonal_detail(grain(3.0)).std() == pytest.approx(3.0, rel=0.03)
    ramp = np.add.outer(np.arange(64.0), 2 * np.arange(64.0))
    assert np.abs(diagonal_detail(ramp)[8:-8, 8:-8]).max() < 1e-9


@pytest.mark.parametrize("estimator", HIGH_PASS)
@pytest.mark.parametrize("std", [1e-3, 7.0, 4e4])
def test_pure_white_noise_is_measured_at_any_scale(estimator, std):
    assert estimator(grain(std)) == pytest.approx(std, rel=0.03)


@pytest.mark.medium
@pytest.mark.parametrize("estimator", [hh_mad, smooth_half_mad, immerkaer])
@pytest.mark.parametrize("kind", ["cells", "filaments", "coast"])
def test_white_noise_is_measured_on_scenes(estimator, kind):
    image = noisy(scene(kind, (256, 256), 3), std=0.1, seed=1).astype(np.float64)
    assert estimator(image) == pytest.approx(0.1, rel=0.1)


@pytest.mark.parametrize("kind", ["cells", "coast", "stars"])
def test_only_blocks_measure_blurred_noise(kind):
    image = noisy(scene(kind, (256, 256), 3), std=0.1, blur=0.7, seed=1).astype(np.float64)
    assert hh_mad(image) < 0.05
    assert immerkaer(image) < 0.05
    found = smooth_block(image)
    assert found is not None
    assert found.std == pytest.approx(0.1, rel=0.15)


@pytest.mark.parametrize(("blur", "lag"), [(0.0, 0.0), (0.5, 0.26), (0.7, 0.58), (1.0, 0.78)])
def test_block_lags_recover_the_correlation_of_neighbours(blur, lag):
    found = smooth_block(noisy(np.zeros((256, 256), np.float32), std=1.0, blur=blur, seed=2).astype(np.float64))
    assert found is not None
    assert found.lag_y == pytest.approx(lag, abs=0.1)
    assert found.lag_x == pytest.approx(lag, abs=0.1)


def test_too_small_for_blocks_is_none():
    assert smooth_block(grain(1.0, (15, 400))) is None
    assert smooth_block(grain(1.0, (20, 20))) is None


def test_planes_are_subtracted_exactly():
    rows, columns = np.mgrid[:16, :16]
    blocks = np.stack([3 + 2.0 * rows - columns, 0.5 * columns, np.full((16, 16), 9.0)])
    assert np.abs(without_plane(blocks)).max() < 1e-9
