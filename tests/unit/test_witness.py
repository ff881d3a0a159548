"""Whether what is taken for noise is noise: witnesses that rest on no estimate of its level."""

import numpy as np
import pytest
from scipy import ndimage

from ilcore.benchmark.labelled import CLASSES, labelled
from ilcore.degradations.counts import are_counts
from ilcore.degradations.estimate import preflight
from ilcore.degradations.planes import Plane
from ilcore.degradations.witness import floor_of, has_block_grid
from ilcore.grammar.errors import BadInput
from ilcore.grammar.problem import Noise
from ilcore.planning.second_opinion import with_second_opinion
from ilcore.qa.likeness import inside_limits, likeness


def report(image):
    return preflight([image[None].astype(np.float64)], image.dtype).channels[0]


def plane(values):
    return Plane(values.astype(np.float64), np.ones(values.shape, bool))


def true_level(case):
    return float(np.sqrt(np.mean((case.seen - case.truth) ** 2)))


@pytest.mark.parametrize("label", ["textures", "checkerboards"])
@pytest.mark.parametrize("draw", range(8))
def test_texture_is_not_taken_for_noise(label, draw):
    case = labelled(label, draw)
    assert report(case.seen).level < 2.2 * true_level(case)


@pytest.mark.parametrize("draw", [1, 4, 7])
def test_a_blind_denoiser_lowers_what_is_mostly_texture(draw):
    case = labelled("textures", draw)
    sample = case.seen[None, None].astype(np.float64)
    first = preflight([sample], case.seen.dtype)
    second = with_second_opinion(first, [sample]).channels[0]
    assert second.level == pytest.approx(true_level(case), rel=0.3)
    assert second.level < first.channels[0].level
    assert second.level == first.channels[0].level or "texture" in second.notes[-1]


@pytest.mark.medium
@pytest.mark.parametrize("label", ["photographs", "correlated", "counts", "dots"])
@pytest.mark.parametrize("draw", range(3))
def test_a_second_opinion_leaves_true_noise_as_it_is(label, draw):
    case = labelled(label, draw)
    sample = case.seen[None, None].astype(np.float64)
    first = preflight([sample], case.seen.dtype)
    assert with_second_opinion(first, [sample]).channels[0].noise == first.channels[0].noise


@pytest.mark.parametrize("draw", range(6))
def test_correlated_noise_is_still_known_as_that(draw):
    assert report(labelled("correlated", draw).seen).verdict == "isotropic"


@pytest.mark.medium
@pytest.mark.parametrize("draw", range(6))
def test_blocks_of_a_coder_are_seen_and_nothing_else_has_them(draw):
    assert has_block_grid([plane(labelled("jpeg", draw).seen)])
    assert not any(
        has_block_grid([plane(labelled(label, draw).seen)])
        for label in CLASSES
        if label not in ("jpeg", "checkerboards")
    )


@pytest.mark.parametrize("std", [0.0, 3.0, 20.0])
def test_no_direction_of_patches_varies_less_than_white_noise(std):
    rng = np.random.default_rng(0)
    board = 128 + 80 * ((np.add.outer(np.arange(192) // 3, np.arange(192) // 3) % 2) - 0.5)
    assert floor_of([plane(board + rng.normal(0, std, board.shape))]).level == pytest.approx(std, rel=0.05, abs=0.1)


@pytest.mark.parametrize("period", [2.9, 7.0])
def test_noise_on_a_pattern_is_known_though_no_network_has_seen_such_a_pattern(period):
    x = np.arange(256)
    image = 128 + 60 * np.sin(2 * np.pi * x / period) + np.random.default_rng(0).normal(0, 8, (256, 256))
    sample = image.astype(np.float32)[None, None]
    found = with_second_opinion(preflight([sample], np.dtype(np.float32)), [sample]).channels[0]
    assert found.verdict == "white"
    assert found.is_floor
    assert found.level == pytest.approx(8, rel=0.1)


@pytest.mark.parametrize("label", ["clean", "correlated", "jpeg", "denoised", "masks", "labels"])
@pytest.mark.parametrize("draw", range(4))
def test_no_floor_is_seen_where_there_is_none(label, draw):
    assert not floor_of([plane(labelled(label, draw).seen)]).is_flat


@pytest.mark.parametrize("light", [0.3, 2.0, 8.0])
def test_counted_photons_are_known_by_their_variance(light):
    rng = np.random.default_rng(3)
    truth = light * (0.3 + ndimage.gaussian_filter(rng.random((192, 192)), 12) * 1.4)
    counts = rng.poisson(truth)
    assert are_counts([counts.astype(np.float64)])
    assert not are_counts([5.0 * counts])
    assert not are_counts([4.0 + counts]), "the dark level of a camera was added"
    found = report(counts.astype(np.uint16))
    assert found.noise.gain == 1.0
    assert any("counted photons" in note for note in found.notes)


def test_a_residual_that_is_noise_looks_like_it():
    rng = np.random.default_rng(1)
    std, everywhere = np.full((96, 96), 2.0), np.ones((96, 96), bool)
    noise = rng.normal(0, 2, (96, 96))
    found = likeness(noise, std, everywhere)
    assert found.tails == pytest.approx(1, abs=0.06)
    assert not found.doubt()
    outliers = noise.copy()
    outliers[rng.random((96, 96)) < 0.005] += 200
    assert not likeness(outliers, std, everywhere).doubt(), "a few hot pixels are no texture"


@pytest.mark.parametrize(
    ("residual", "words"),
    [
        (np.indices((96, 96)).sum(0) % 2 * 2.0 - 1, "tails"),
        (np.random.default_rng(0).laplace(size=(96, 96)), "tails"),
        (ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(96, 96)), 1.0), "correlation"),
        (np.diff(np.random.default_rng(0).normal(size=(96, 97))), "correlation"),
    ],
)
def test_a_residual_that_is_no_noise_is_told(residual, words):
    found = likeness(residual, np.ones((96, 96)), np.ones((96, 96), bool))
    assert words in found.doubt()


def test_limits_of_a_detector_do_not_count_but_the_dark_of_counts_does():
    image = np.clip(np.random.default_rng(0).normal(200, 40, (64, 64)), 0, 255)
    inside = inside_limits(image, np.ones((64, 64), bool), Noise(read_std=40))
    assert not inside[image == 255].any()
    assert inside[image < 255].all()
    dark = np.random.default_rng(0).poisson(0.5, (64, 64)).astype(float)
    assert inside_limits(dark, np.ones((64, 64), bool), Noise(gain=1.0)).all()


def test_labelled_images_are_the_same_everywhere_and_unknown_classes_refused():
    assert all(np.array_equal(labelled(name, 3).seen, labelled(name, 3).seen) for name in CLASSES)
    with pytest.raises(BadInput, match="a class must be one of"):
        labelled("portraits", 0)
