"""Light, channels, frames: good restorations have nothing beyond the noise, made-up faults are found."""

import numpy as np
import pytest
from scipy import ndimage
from skimage.restoration import denoise_nl_means

from ilcore.grammar.problem import Noise
from ilcore.qa.bleeding import bleeding
from ilcore.qa.faithful import faithful
from ilcore.qa.flicker import movie_checks
from ilcore.qa.photometry import Light, photometry
from ilcore.qa.verdict import TILE_LIMITS
from tests.scenes import noisy, scene

SIDE, STD = 128, 0.03
NOISE = Noise(read_std=STD)


def light(observed, restored, noise=NOISE, zero=0.0):
    stack = [np.asarray(image).reshape(-1, *np.shape(image)[-2:]) for image in (observed, restored)]
    return Light.of(*stack, np.ones(stack[0].shape, bool), noise, zero)


def restored_well(observed, std=STD):
    return denoise_nl_means(observed, patch_size=5, patch_distance=6, h=0.7 * std, sigma=std)


def pair(kind="cells", seed=0, **law):
    clean = scene(kind, (SIDE, SIDE), seed)
    observed = noisy(clean, seed=seed, **(law or {"std": STD})).astype(np.float64)
    return clean.astype(np.float64), observed


#: What is summed up over tiles before it is judged.
SUMS = ("shown_points", "shown_taken", "shown_kept")


def passes(name, value):
    return TILE_LIMITS[name].judge(value) == "pass"


@pytest.mark.parametrize("law", [{"std": STD}, {"std": 0.02, "gain": 0.01}])
@pytest.mark.parametrize("kind", ["cells", "filaments", "coast", "edges", "constant"])
def test_light_is_kept_by_a_good_restoration_and_by_the_truth(kind, law):
    clean, observed = pair(kind, 1, **law)
    noise = Noise(gain=law.get("gain", 0.0), read_std=law["std"])
    for restored in (clean, restored_well(observed)):
        numbers = photometry([light(observed, restored, noise)])
        assert all(passes(name, value) for name, value in numbers.items()), numbers
        assert "band_ratio" not in numbers


@pytest.mark.parametrize("factor", [0.95, 1.05])
def test_objects_that_lost_or_gained_a_twentieth_are_told(factor):
    clean, observed = pair("cells", 1, std=0.01)
    ground = np.median(clean)
    changed = np.where(clean > ground, ground + factor * (clean - ground), clean)
    found = photometry([light(observed, changed, Noise(read_std=0.01))])["object_flux"]
    assert np.sign(found) == np.sign(1 - factor)
    assert abs(found) == pytest.approx(0.05, abs=0.02)
    assert not passes("object_flux", found)


def test_without_objects_there_is_no_sum_over_them():
    clean, observed = pair("constant")
    assert "object_flux" not in photometry([light(observed, clean)])


def test_levels_that_are_bent_are_told():
    clean, observed = pair("coast", 2)
    assert photometry([light(observed, clean)])["radiometry"] == pytest.approx(0, abs=0.001)
    found = photometry([light(observed, clean - 0.06 * clean**2)])["radiometry"]
    assert found > 0.02
    assert not passes("radiometry", found)


def test_kept_noise_is_no_change_of_levels():
    clean, observed = pair("constant")
    for share in (0.1, 0.5, 0.9):
        numbers = photometry([light(observed, clean + share * (observed - clean))])
        assert passes("radiometry", numbers["radiometry"])


def bands(seed=0):
    clean = np.stack([scene(kind, (SIDE, SIDE), seed) for kind in ("coast", "cells")]).astype(np.float64)
    return 0.2 + 0.8 * clean, 0.2 + 0.8 * clean + np.random.default_rng(seed).normal(0, STD, clean.shape)


def test_ratios_of_bands_are_told_where_one_of_them_faded():
    clean, observed = bands()
    good = photometry([light(*each) for each in zip(observed, clean, strict=True)])
    assert passes("band_ratio", good["band_ratio"])
    clean[1] *= 0.95
    found = photometry([light(*each) for each in zip(observed, clean, strict=True)])["band_ratio"]
    assert abs(found) == pytest.approx(0.05, abs=0.02)


def test_a_ratio_counts_from_the_level_of_no_light():
    clean, observed = bands()
    faded = 0.6 + 0.95 * (clean[1] - 0.6)
    zero = [light(observed[0], clean[0]), light(observed[1], faded, zero=-5.0)]
    assert photometry(zero)["band_ratio"] < 0.02


@pytest.mark.parametrize(("into", "share"), [(0, 0.1), (1, 0.1), (0, -0.1)])
def test_a_share_of_another_channel_is_told(into, share):
    clean, observed = bands()
    lights = [light(*each) for each in zip(observed, clean, strict=True)]
    assert passes("bleeding", bleeding(lights))
    clean[into] += share * clean[1 - into]
    found = bleeding([light(*each) for each in zip(observed, clean, strict=True)])
    assert found == pytest.approx(share, abs=0.03)
    assert not passes("bleeding", found)


def test_channels_that_are_the_same_cannot_bleed():
    clean, observed = pair("cells")
    assert bleeding([light(observed, clean)]) is None
    again = observed + np.random.default_rng(5).normal(0, STD, observed.shape)
    both = [light(observed, 1.05 * clean), light(again, 1.05 * clean)]
    assert bleeding(both) in (None, 0.0)


def movie(step=2.0, frames=8, std=STD):
    large = scene("cells", (SIDE, SIDE), 4).astype(np.float64)
    clean = np.stack([ndimage.shift(large, (step * t, step * t / 2), order=1, mode="wrap") for t in range(frames)])
    clean = clean[:, 16:-16, 16:-16]
    return clean, clean + np.random.default_rng(0).normal(0, std, clean.shape)


def mean_of_three(frames):
    wide = np.concatenate([frames[:1], frames, frames[-1:]])
    return (wide[:-2] + wide[1:-1] + wide[2:]) / 3


def test_a_movie_restored_frame_by_frame_has_no_ghosts_and_no_flicker():
    clean, observed = movie()
    for restored in (clean, np.stack([restored_well(frame) for frame in observed]), 0.5 * (clean + observed), observed):
        numbers = movie_checks([light(observed, restored)])
        assert all(passes(name, value) for name, value in numbers.items()), numbers


def test_a_mean_over_frames_shows_where_things_were():
    clean, observed = movie()
    for restored in (mean_of_three(clean), mean_of_three(observed)):
        found = movie_checks([light(observed, restored)])["ghosts"]
        assert found == pytest.approx(1 / 3, abs=0.2)
        assert not passes("ghosts", found)


def test_frames_that_hold_some_of_the_last_one_are_told():
    clean, observed = movie()
    trailing = 0.75 * clean + 0.25 * np.concatenate([clean[:1], clean[:-1]])
    assert movie_checks([light(observed, trailing)])["ghosts"] == pytest.approx(0.25, abs=0.1)


def test_a_mean_over_frames_of_what_stands_still_has_no_ghosts():
    clean, observed = movie(step=0.0)
    assert movie_checks([light(observed, mean_of_three(clean))])["ghosts"] == 0


def test_frames_that_became_brighter_and_darker_are_told():
    clean, observed = movie()
    swing = 0.3 * STD * np.where(np.arange(len(clean)) % 2, 1, -1)[:, None, None]
    assert movie_checks([light(observed, clean + swing)])["flicker"] == pytest.approx(0.32, abs=0.06)


def test_two_frames_are_no_movie():
    clean, observed = movie(frames=2)
    assert movie_checks([light(observed, clean)]) == {}


def test_checks_that_cannot_be_made_are_left_out():
    clean, observed = (image[None, None] for image in pair("constant"))
    trusted = np.ones(clean.shape, bool)
    always = {"faint_points", "faint_lines", "radiometry", *SUMS}
    assert set(faithful(observed, clean, trusted, [NOISE])) == always
    assert faithful(observed, clean, ~trusted, [NOISE]) == {}
    stack = [np.repeat(image, 4, 1) for image in (observed, clean, trusted)]
    assert {"flicker", "ghosts"} <= set(faithful(*stack, [NOISE], is_movie=True))
    assert "flicker" not in faithful(*stack, [NOISE])


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 1, 2, 3), (3, 4, 1, 40), (2, 3, 5, 5)])
def test_tiny_tiles_are_judged_without_a_fuss(shape):
    flat = np.full(shape, 0.5, np.float32)
    found = faithful(noisy(flat, std=STD), flat, np.ones(shape, bool), [NOISE] * shape[0], is_movie=True)
    assert all(np.isfinite(value) for value in found.values())


def test_what_is_no_data_counts_nowhere():
    clean, observed = bands()
    trusted = np.ones(clean.shape, bool)
    trusted[:, 30:60, 40:90] = False
    observed[~trusted], clean[~trusted] = 30.0, -20.0
    found = faithful(observed[:, None], clean[:, None], trusted[:, None], [NOISE] * 2)
    assert all(passes(name, value) for name, value in found.items() if name not in SUMS), found
