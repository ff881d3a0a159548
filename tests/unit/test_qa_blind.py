"""What single findings mean; that they separate good from bad is in test_qa_limits.py."""

import numpy as np
import pytest
from scipy import ndimage

from ilcore.grammar.problem import Noise
from ilcore.qa.blind import judge_tile
from tests.scenes import noisy, scene

STD = 0.05


def found(observed, restored, trusted=None, noise=None, **more):
    """Judge planes or stacks of one channel."""
    shape = (1, *((1,) * (3 - observed.ndim)), *observed.shape)
    trusted = np.ones(shape, bool) if trusted is None else trusted.reshape(shape)
    return judge_tile(observed.reshape(shape), restored.reshape(shape), trusted, [noise or Noise(read_std=STD)], **more)


def pair(kind="cells", shape=(128, 128), **law):
    clean = scene(kind, shape, 1)
    return clean, noisy(clean, seed=2, **(law or {"std": STD}))


def test_what_the_truth_leaves_is_noise():
    clean, observed = pair()
    numbers = found(observed, clean)
    assert numbers["residual_level"] == pytest.approx(1.0, abs=0.05)
    assert numbers["residual_structure"] < 5
    assert abs(numbers["residual_lag"]) < 0.05
    assert numbers["contrast_loss"] == numbers["shift"] == 0.0
    assert numbers["noise_std"] == pytest.approx(STD)
    assert numbers["finite"] == 1.0


@pytest.mark.parametrize("moved", [0.5, 1.0, 1.5])
@pytest.mark.parametrize("axis", [0, 1])
def test_shift_is_measured_in_voxels(moved, axis):
    clean, observed = pair()
    by = [0.0, 0.0]
    by[axis] = moved
    restored = ndimage.shift(clean, by, order=3, mode="nearest")
    assert found(observed, restored)["shift"] == pytest.approx(moved, rel=0.25)


def test_shift_along_z_is_seen_in_stacks():
    clean, observed = pair(shape=(16, 48, 48))
    assert found(observed, np.roll(clean, 1, 0))["shift"] > 0.5
    assert found(observed, clean)["shift"] == 0.0


@pytest.mark.parametrize("factor", [0.5, 0.8, 1.25])
def test_contrast_loss_is_the_missing_share_of_the_picture(factor):
    clean, observed = pair("coast")
    restored = clean.mean() + factor * (clean - clean.mean())
    assert found(observed, restored)["contrast_loss"] == pytest.approx((1 - factor) / factor, abs=0.06)


def test_flux_change_is_what_the_mean_lost():
    clean, observed = pair()
    assert found(observed, clean - 0.03)["flux_change"] == pytest.approx(0.03, abs=0.002)


def test_level_counts_the_noise_that_depends_on_the_signal():
    clean, observed = pair("coast", std=0.01, gain=0.02)
    numbers = found(observed, clean, noise=Noise(gain=0.02, read_std=0.01))
    assert numbers["residual_level"] == pytest.approx(1.0, abs=0.05)
    assert numbers["residual_structure"] < 5


@pytest.mark.parametrize("lags", [[(0.6, 0.6, 0.36)], None])
def test_correlated_noise_is_no_structure(lags):
    clean, observed = pair(std=STD, blur=0.7)
    noise = Noise(read_std=STD, correlation="isotropic")
    numbers = found(observed, clean, noise=noise, lags=lags)
    assert numbers["residual_structure"] < 5
    assert abs(numbers["residual_lag"]) < 0.1
    # Taken for white, the same residual would look like lost objects.
    assert found(observed, clean)["residual_structure"] > 6


def test_values_that_are_no_data_do_not_count():
    clean, observed = pair()
    trusted = np.ones(clean.shape, bool)
    trusted[20:60, 30:90] = False
    spoilt, restored = observed.copy(), clean.copy()
    spoilt[~trusted], restored[~trusted] = 50.0, -20.0
    numbers = found(spoilt, restored, trusted)
    assert numbers["residual_level"] == pytest.approx(1.0, abs=0.05)
    assert numbers["residual_structure"] < 5
    assert abs(numbers["flux_change"]) < 0.005


def test_a_tile_without_data_has_no_numbers_and_no_alarm():
    clean, observed = pair(shape=(16, 16))
    numbers = found(observed, clean, np.zeros(clean.shape, bool))
    assert set(numbers) == {"risk", "confidence", "finite"}
    assert numbers["finite"] == 1.0


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (1, 40), (3, 4, 5)])
def test_tiny_tiles_are_judged_without_a_fuss(shape):
    clean = np.full(shape, 0.5, np.float32)
    numbers = found(noisy(clean, std=STD), clean)
    assert all(np.isfinite(value) for name, value in numbers.items() if name != "risk")


def test_the_worst_channel_counts():
    clean, observed = pair()
    good, bad = clean[None, None], np.roll(clean, 1, 0)[None, None]
    both = np.concatenate([good, bad])
    seen = np.concatenate([observed[None, None]] * 2)
    numbers = judge_tile(seen, both, np.ones(both.shape, bool), [Noise(read_std=STD)] * 2)
    alone = judge_tile(seen[1:], bad, np.ones(bad.shape, bool), [Noise(read_std=STD)])
    assert numbers["shift"] == alone["shift"] > 0.5
    assert numbers["residual_level"] == alone["residual_level"]


def test_noise_free_sources_are_judged_by_what_rounding_leaves():
    clean = scene("cells")
    rounded = np.round(clean * 255) / 255
    assert found(rounded, clean, noise=Noise())["residual_level"] < 1
    assert found(rounded, np.roll(clean, 1, 0), noise=Noise())["residual_level"] > 10
