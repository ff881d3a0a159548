"""Residuals are measured in units of the noise at each pixel: under shot noise an innocent one looks like noise."""

import io

import numpy as np
import pytest
from matplotlib.image import imread
from scipy import ndimage

from ilcore.grammar.problem import Noise
from ilcore.qa.blind import judge_tile
from ilcore.qa.drawing import ABOVE
from ilcore.qa.pictures import Plane, before_after_picture, zip_bands
from ilcore.qa.standardised import std_of_mean, variance_at
from tests.scenes import blurred, noisy, scene

SIDE = 256
#: Bright parts have ten times the noise of dark ones.
COUNTS = Noise(gain=0.02, read_std=0.005)


def shot(kind="cells", seed=3):
    clean = scene(kind, (SIDE, SIDE), seed).astype(np.float64)
    return clean, noisy(clean.astype(np.float32), gain=COUNTS.gain, std=COUNTS.read_std, seed=seed).astype(np.float64)


def plane_of(before, after, **more):
    std = np.sqrt(variance_at(after, COUNTS, np.ones(after.shape, bool)))
    return Plane(name="z 0", before=before, after=after, noise_std=std, **more)


def drawn(plane):
    return np.concatenate(list(zip_bands(plane)))


def grey(plane):
    """Return the panel of what was taken away, 0 where grey, as drawn."""
    image = imread(io.BytesIO(before_after_picture(plane, panel=SIDE)))[..., :3]
    column = max(SIDE, 270)
    return image[42 : 42 + SIDE, 2 * (column + 14) :][:, :SIDE]


def likeness(one, two):
    return float(np.corrcoef(one.ravel(), two.ravel())[0, 1])


@pytest.mark.medium
@pytest.mark.parametrize("kind", ["cells", "stars", "filaments", "coast"])
def test_an_innocent_residual_does_not_look_like_the_object(kind):
    clean, observed = shot(kind)
    plane = plane_of(observed, clean)
    assert likeness(np.abs(drawn(plane)), clean) < 0.03
    assert drawn(plane).std() == pytest.approx(1, abs=0.02)
    # As it was drawn before, by one number for all pixels, it did.
    assert likeness(np.abs(observed - clean), clean) > 0.2
    # What is seen is what is measured.
    assert likeness(np.abs(grey(plane)[..., 1] - 0.5), clean) < 0.05


def test_an_object_that_was_removed_still_shows():
    clean, observed = shot()
    rows, columns = np.mgrid[:SIDE, :SIDE]
    spot = np.hypot(rows - 90, columns - 150) < 4
    clean[spot] += 0.25
    observed[spot] += 0.25
    without = clean.copy()
    without[spot] -= 0.25
    panel = grey(plane_of(observed, without))
    red = (np.round(panel * 255) == [int(ABOVE[i : i + 2], 16) for i in (1, 3, 5)]).all(-1)
    # Skewness of counts reddens few others.
    assert red[spot].mean() > 0.2 > 100 * red[~spot].mean()
    found = judge(observed, without)
    assert found["residual_structure"] > 7.5 > judge(observed, clean)["residual_structure"]


def judge(observed, restored, noise=COUNTS, **more):
    trusted = np.ones((1, 1, *observed.shape), bool)
    return judge_tile(observed[None, None], restored[None, None], trusted, [noise], **more)


def test_structure_taken_from_the_dark_is_not_drowned_by_the_noise_of_the_bright():
    clean = np.full((SIDE, SIDE), 0.05)
    clean[:, : SIDE // 8] = 30.0
    observed = noisy(clean.astype(np.float32), gain=COUNTS.gain, std=COUNTS.read_std, seed=1).astype(np.float64)
    assert abs(judge(observed, clean)["residual_lag"]) < 0.05
    # A texture as strong as the noise there, which the noise of the bright stripe outweighs six hundred times.
    texture = blurred(np.random.default_rng(5).standard_normal(clean.shape), 2.0)
    texture *= 0.03 / texture.std()
    texture[:, : SIDE // 8 + 8] = 0
    found = judge(observed + texture, clean)
    assert found["residual_lag"] > 0.3


@pytest.mark.parametrize("factor", [0.8, 1.25])
@pytest.mark.parametrize("kind", ["cells", "coast"])
def test_contrast_loss_is_a_share_under_shot_noise_too(kind, factor):
    clean, observed = shot(kind)
    restored = clean.mean() + factor * (clean - clean.mean())
    assert judge(observed, restored)["contrast_loss"] == pytest.approx((1 - factor) / factor, abs=0.08)
    assert judge(observed, clean)["contrast_loss"] == 0


@pytest.mark.parametrize("lag", [0.0, 0.3, 0.6, 0.78])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_means_of_correlated_noise_have_the_deviation_that_is_drawn(lag, count):
    width = np.sqrt(-1 / (4 * np.log(lag))) if lag else 0.0
    grain = np.random.default_rng(0).standard_normal((400, 3000))
    grain = ndimage.gaussian_filter1d(grain, width, axis=1, mode="wrap") if lag else grain
    grain /= grain.std()
    means = grain[:, : 3000 // count * count].reshape(400, -1, count).mean(2)
    # Filters of a few samples are not quite Gaussian.
    assert means.std() == pytest.approx(std_of_mean(count, lag), rel=0.08)


@pytest.mark.medium
def test_a_reduced_picture_of_correlated_noise_is_as_grey_as_a_whole_one():
    rng = np.random.default_rng(1)
    grain = blurred(rng.standard_normal((1800, 1800)), (1.0, 1.0))
    grain /= grain.std()
    lag = float(np.exp(-1 / 4))
    told = before_after_picture(Plane(name="", before=grain, after=0 * grain, noise_std=1.0, lags=(lag, lag)))
    image = imread(io.BytesIO(told))[42:942, 2 * 914 :][:900, :900, :3]
    is_grey = np.ptp(image, axis=-1) < 0.02
    assert is_grey.mean() > 0.999
    # Four of its standard deviations reach from grey to white.
    assert image[is_grey][:, 0].std() == pytest.approx(0.5 / 4, rel=0.1)


def test_no_pixel_has_nearly_no_noise():
    picture = np.array([[-1.0, 0.0, 1.0]])
    found = variance_at(picture, Noise(gain=0.1), np.ones(picture.shape, bool))
    assert found.min() == pytest.approx(0.02 * 0.1 / 3)
    assert variance_at(picture, Noise(), np.ones(picture.shape, bool), 0.002).tolist() == [[0.002**2] * 3]
