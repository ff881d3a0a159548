"""The classical baselines: right levels, blind calibration, and clear refusals."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ilcore import fit
from ilcore.grammar.arrays import Streams
from ilcore.grammar.errors import RecipeError
from ilcore.grammar.problem import Noise, Problem
from ilcore.methods import classical
from ilcore.methods.calibrated import Calibrated
from ilcore.methods.catalogue import METHODS
from ilcore.methods.classical import NonLocalMeans, TotalVariation, Wavelet, nearest_data
from tests.scenes import noisy, scene

TOLD = ["nlm", "tv", "wavelet"]


def restored(name: str, problem: Problem) -> np.ndarray:
    streams = Streams.of(0, name, [(n,) for n in range(len(problem.observed))])
    return fit.restore(METHODS[name].method, problem, streams).image.numpy()


def posed(image: np.ndarray, std: float | None) -> Problem:
    noise = None if std is None else (Noise(read_std=std),)
    return Problem(observed=torch.from_numpy(image.astype(np.float32))[None, None], noise=noise)


def decibels(truth: np.ndarray, image: np.ndarray) -> float:
    return float(-10 * np.log10(np.mean((truth - image) ** 2)))


@pytest.mark.medium
@pytest.mark.parametrize("name", TOLD)
@pytest.mark.parametrize("std", [0.05, 0.15])
def test_calibration_without_the_level_comes_near_the_told_one(name, std):
    clean = scene("cells", (96, 96))
    image = noisy(clean, std=std)
    told = decibels(clean, restored(name, posed(image, std))[0, 0])
    blind = decibels(clean, restored(f"{name}_j", posed(image, None))[0, 0])
    assert told > decibels(clean, image) + 3
    assert blind > told - 1.5


@pytest.mark.medium
def test_the_calibrated_level_follows_the_noise():
    clean, everywhere = scene("cells", (96, 96)), np.ones((96, 96), bool)
    method = Calibrated(inner=NonLocalMeans())
    levels = [method.level(noisy(clean, std=std), everywhere) for std in (0.03, 0.1, 0.3)]
    assert levels[0] < levels[1] < levels[2]


def test_correlated_noise_deceives_the_calibration():
    clean = scene("cells", (96, 96))
    image, everywhere = noisy(clean, std=0.15, blur=1.5), np.ones(clean.shape, bool)
    # Neighbours predict the noise, so keeping it looks best: why the entry copes with white noise only.
    method = Calibrated(inner=Wavelet())
    assert method.level(image, everywhere) < 0.5 * method.level(noisy(clean, std=0.15), everywhere)
    assert METHODS["wavelet_j"].copes_with == {"white"}


@pytest.mark.parametrize("name", [*TOLD, "bm3d"])
def test_the_level_is_needed_and_the_refusal_says_what_to_do(name):
    with pytest.raises(RecipeError, match="noise_std"):
        METHODS[name].method.check(posed(np.zeros((16, 16)), None))


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setattr(classical, "find_spec", lambda name: None)
    with pytest.raises(RecipeError, match=r"ilcore\[bm3d\]"):
        METHODS["bm3d"].method.check(posed(np.zeros((16, 16)), 0.1))


def test_every_channel_is_restored_at_its_own_level():
    image = torch.from_numpy(noisy(scene("cells", (64, 64)), std=0.1))[None]
    noise = (Noise(read_std=0.1), Noise(read_std=1e-6))
    both = restored("tv", Problem(observed=torch.stack([image, image], 1), noise=noise))
    assert np.abs(both[0, 1] - image[0].numpy()).max() < 1e-3
    np.testing.assert_array_equal(both[0, 0], restored("tv", posed(image[0].numpy(), 0.1))[0, 0])


def test_stacks_are_denoised_as_a_whole_or_plane_by_plane():
    clean = scene("cells", (8, 48, 48))
    image = noisy(clean, std=0.15)
    whole = TotalVariation().channel(image, 0.15)
    planes = np.stack([TotalVariation().channel(plane, 0.15) for plane in image])
    assert decibels(clean, whole) > decibels(clean, planes) + 0.5
    apart = np.stack([NonLocalMeans().channel(plane, 0.15) for plane in image])
    np.testing.assert_array_equal(NonLocalMeans().channel(image, 0.15), apart)


def test_shifting_the_wavelet_grid_pays():
    clean = scene("edges", (96, 96))
    image = noisy(clean, std=0.1)
    still, moved = (decibels(clean, replace(Wavelet(), shifts=n).channel(image, 0.1)) for n in (1, 3))
    assert moved > still + 0.3


@pytest.mark.parametrize("wrong", [{"levels": 0}, {"stride": 1}, {"lowest": 0.0}, {"phases": 0}])
def test_settings_that_mean_nothing_are_refused(wrong):
    with pytest.raises(RecipeError, match="lowest"):
        Calibrated(inner=NonLocalMeans(), **wrong).check(posed(np.zeros((16, 16)), None))


def test_a_wavelet_that_does_not_exist_is_refused():
    with pytest.raises(RecipeError, match="sym4"):
        Wavelet(wavelet="sym99").check(posed(np.zeros((16, 16)), 0.1))


def test_holes_take_the_nearest_value_in_any_number_of_axes():
    seen = np.array([[1, 0, 9]], np.float32)
    assert nearest_data(seen, seen > 0).tolist() in ([[1, 1, 9]], [[1, 9, 9]])
    assert nearest_data(seen[None], seen[None] > 0).shape == (1, 1, 3)
