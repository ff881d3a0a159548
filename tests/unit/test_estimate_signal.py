"""Noise that grows with the signal: gain, read noise and offset from one image."""

import numpy as np
import pytest

from ilcore.degradations.signal_dependent import fit_poisson_gaussian, noise_through
from tests.scenes import noisy, scene


def image_of(kind, *, seed=0, **noise):
    clean = scene(kind, (256, 256), seed)
    return clean.astype(np.float64), noisy(clean, seed=seed, **noise).astype(np.float64)


@pytest.mark.medium
@pytest.mark.parametrize("kind", ["cells", "filaments", "coast"])
@pytest.mark.parametrize("gain", [0.01, 0.05])
@pytest.mark.parametrize("std", [0.0, 0.02])
def test_counts_are_recognised(kind, gain, std):
    clean, image = image_of(kind, gain=gain, std=std)
    found = fit_poisson_gaussian(image)
    assert found.gain == pytest.approx(gain, rel=0.3)
    true = gain * clean.mean() + std**2
    assert found.variance(clean.mean()) == pytest.approx(true, rel=0.15)
    # What the judge of a restoration needs: residuals of variance one over the whole image.
    assert np.mean((image - clean) ** 2 / found.variance(clean)) == pytest.approx(1, abs=0.15)


def test_gain_follows_the_units():
    _, image = image_of("cells", gain=0.05)
    small, large = fit_poisson_gaussian(image), fit_poisson_gaussian(1000 * image)
    # Rounding moves pixels of equal local level between bins, hence not exact.
    assert large.gain == pytest.approx(1000 * small.gain, rel=1e-2)
    assert large.std_at(500) == pytest.approx(1000 * small.std_at(0.5), rel=1e-2)


def test_gaussian_noise_has_no_gain():
    _, image = image_of("cells", std=0.1)
    found = fit_poisson_gaussian(image)
    assert found.gain == 0
    assert found.read_std == pytest.approx(0.1, rel=0.05)


@pytest.mark.parametrize("shift", [-1000.0, 0.0, 100.0])
def test_an_offset_of_the_detector_moves_the_line_not_the_noise(shift):
    _, image = image_of("cells", gain=0.05)
    found = fit_poisson_gaussian(image + shift)
    assert found.gain == pytest.approx(0.05, rel=0.25)
    assert found.std_at(0.3 + shift) == pytest.approx(np.sqrt(0.05 * 0.3), rel=0.1)


def test_no_signal_has_variance_zero():
    _, image = image_of("stars", gain=0.05)
    found = fit_poisson_gaussian(image + 5)
    assert found.gain > 0
    assert (found.variance(np.linspace(-10, 10, 100)) > 0).all()


def test_a_line_through_few_or_equal_levels_is_refused():
    assert noise_through(np.array([1.0, 2.0]), np.array([1.0, 2.0])) is None
    assert noise_through(np.ones(5), np.arange(5.0)) is None
    assert noise_through(np.arange(5.0), np.zeros(5)) is None


def test_a_line_is_found_under_texture():
    level = np.linspace(0, 1, 30)
    variance = 0.5 * level + 0.1
    variance[[5, 12, 22]] *= 1.5
    found = noise_through(level, variance)
    assert found is not None
    assert found.gain == pytest.approx(0.5, rel=0.1)
    assert found.read_std**2 == pytest.approx(0.1, rel=0.1)
