"""How the shipped denoisers are trained, and what they do."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from ilcore.adapting.shipped import Course, Net, Pool, Training, make_scenes, noisy_of, train
from ilcore.adapting.weights import CONDITIONED, PHOTOS, SHIPPED, load_denoiser, load_weights
from tests.bench.quality import denoise
from tests.scenes import noisy, scene

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def photographs():
    return np.stack([(scene("cells", (96, 96), seed) * 255).clip(0, 255).astype(np.uint8) for seed in range(3)])


def course(**changed):
    return Course(
        **{
            "width": 16,
            "depth": 4,
            "batch": 6,
            "side": 32,
            "steps": 200,
            "learning_rate": 4e-3,
            "average": 0.05,
            **changed,
        }
    )


@pytest.mark.medium
@pytest.mark.parametrize("conditioned", [False, True])
def test_two_hundred_steps_denoise(photographs, conditioned, tmp_path):
    lesson = course(conditioned=conditioned)
    path = train(lesson, Pool(photographs, None, CPU), tmp_path / "out.safetensors", CPU)
    net = Net(lesson)
    net.load_state_dict(load_weights(path))
    clean = Pool(photographs, None, CPU).patches(lesson, torch.Generator().manual_seed(9))
    seen, _, told = noisy_of(clean, torch.Generator().manual_seed(9), conditioned=conditioned)
    with torch.no_grad():
        assert (net(seen, told) - clean).square().mean() < 0.7 * (seen - clean).square().mean()
    assert not (tmp_path / "out.checkpoint").exists()


def test_a_run_that_was_killed_goes_on_to_the_same_weights(photographs, tmp_path):
    pool = Pool(photographs, None, CPU)
    whole = train(course(steps=20), pool, tmp_path / "whole.safetensors", CPU)
    half = Training(course(steps=20), CPU, tmp_path / "half.checkpoint")
    for _ in range(11):
        half.advance(pool)
    half.save()
    again = train(course(steps=20), pool, tmp_path / "half.safetensors", CPU)
    assert again.read_bytes() == whole.read_bytes()


@pytest.mark.medium
def test_scenes_are_taken_in_while_they_are_made(photographs, tmp_path):
    make_scenes(tmp_path / "scenes", 24, 1)
    pool = Pool(photographs, tmp_path / "scenes", CPU).refreshed()
    assert pool.scenes.shape == (24, 256, 256)
    assert pool.patches(course(), torch.Generator().manual_seed(0)).shape == (6, 1, 32, 32)


def test_noise_has_the_level_that_is_told():
    clean = torch.full((64, 1, 64, 64), 0.5)
    seen, _, told = noisy_of(clean, torch.Generator().manual_seed(0), conditioned=True)
    ratio = (seen - clean).std((1, 2, 3)) / told.mean((1, 2, 3))
    assert float(ratio.min()) > 0.93
    assert float(ratio.max()) < 1.07


@pytest.mark.parametrize("path", [SHIPPED, PHOTOS])
def test_what_ships_denoises(path):
    clean = scene("cells", (128, 128), 5)
    seen = noisy(clean, std=0.1, seed=5)
    assert np.mean((denoise(seen, path) - clean) ** 2) < 0.1 * np.mean((seen - clean) ** 2)


def test_the_conditioned_model_commutes_with_scaling_and_uses_what_it_is_told():
    net = Net(Course(conditioned=True, depth=15))
    net.load_state_dict(load_weights(CONDITIONED))
    clean = torch.from_numpy(scene("cells", (64, 64), 5))[None, None]
    seen = clean + 0.1 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    right, weak = torch.full_like(seen, 0.1), torch.full_like(seen, 0.02)
    with torch.no_grad():
        image = net(seen, right)
        torch.testing.assert_close(net(7 * seen, 7 * right), 7 * image, rtol=1e-4, atol=1e-4)
        assert (image - clean).square().mean() < 0.15 * 0.01
        assert (net(seen, weak) - clean).square().mean() > 2 * (image - clean).square().mean()


@pytest.mark.medium
def test_it_is_trained_with_torch_and_numpy_alone(tmp_path):
    words = "import sys; [sys.modules.__setitem__(n, None) for n in ('zarr', 'dask', 'prefect', 'mlflow', 'fsspec')]; "
    words += "import ilcore.adapting.shipped"
    assert subprocess.run([sys.executable, "-c", words], cwd=Path(__file__).parents[2], check=False).returncode == 0


def test_both_models_are_of_one_network():
    assert load_denoiser(SHIPPED)[0] == load_denoiser(PHOTOS)[0]
