"""Pretraining learns, survives being killed, and takes a user's archive."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ilcore.adapting.corpus import archive_corpus, synthetic_corpus
from ilcore.adapting.pretrain import TrainingSet, add_blind_noise, pretrain
from ilcore.adapting.scenes import KINDS, scene
from ilcore.adapting.weights import load_denoiser
from ilcore.grammar.errors import BadInput
from ilcore.networks.plain import Plain

SMALL = Plain(width=8, depth=3, pointwise_end=False, slope=0.0, bias=False, shuffle=2, grey=True)
BRIEF = TrainingSet(steps=12, batch=4, side=32, scenes=4, checkpoint_every=4)


@pytest.fixture(scope="module")
def corpus():
    return [image[:96, :96] for image in synthetic_corpus(4, 0)]


@pytest.mark.medium
def test_scenes_are_in_range_and_repeat(corpus):
    for number in range(6):
        first = scene(number, 64)
        assert np.array_equal(first, scene(number, 64))
        assert first.shape == (64, 64)
        assert first.dtype == np.float32
        assert 0 <= first.min() < first.max() <= 1
    assert set(KINDS) == {"leaves", "filaments", "cells", "coast"}


def test_the_loss_falls(corpus, tmp_path):
    losses = []
    long = replace(BRIEF, steps=60, checkpoint_every=10)
    pretrain(SMALL, long, corpus, tmp_path / "w.safetensors", lambda step, steps, loss: losses.append(loss))
    assert np.mean(losses[-2:]) < 0.7 * losses[0]


def test_a_killed_run_goes_on_where_it_was(corpus, tmp_path):
    whole = pretrain(SMALL, BRIEF, corpus, tmp_path / "whole.safetensors")

    def die(step: int, steps: int, loss: float) -> None:
        if step == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pretrain(SMALL, BRIEF, corpus, tmp_path / "cut.safetensors", die)
    assert not (tmp_path / "cut.safetensors").exists()
    seen = []
    cut = pretrain(SMALL, BRIEF, corpus, tmp_path / "cut.safetensors", lambda step, *_: seen.append(step))
    assert seen == [12]
    assert whole.read_bytes() == cut.read_bytes()
    assert load_denoiser(cut)[0] == SMALL
    assert not list(tmp_path.glob("*.checkpoint"))


def test_noise_levels_are_those_reported():
    clean = torch.full((64, 1, 64, 64), 0.5)
    plain = TrainingSet(correlated=0, signal_dependent=0)
    noisy, level = add_blind_noise(clean, plain, np.random.default_rng(0))
    measured = (noisy - clean).std((1, 2, 3))
    assert torch.allclose(measured, level, rtol=0.06)
    assert level.max() <= plain.noisiest + 1 / 255
    blurred, level = add_blind_noise(clean, replace(plain, correlated=1.0), np.random.default_rng(0))
    noise = blurred - clean
    lag = (noise[..., 1:] * noise[..., :-1]).mean((1, 2, 3)) / noise.square().mean((1, 2, 3))
    assert lag.median() > 0.3


def test_an_archive_of_tiffs_and_arrays_is_a_corpus(tmp_path):
    import tifffile

    rng = np.random.default_rng(0)
    tifffile.imwrite(tmp_path / "a.tif", rng.integers(0, 60000, (3, 80, 90), dtype=np.uint16), photometric="minisblack")
    (tmp_path / "deep").mkdir()
    np.save(tmp_path / "deep" / "b.npy", rng.normal(size=(70, 70)).astype(np.float32))
    cuts = archive_corpus(tmp_path, 5, 64, 0)
    assert [cut.shape for cut in cuts] == [(64, 64)] * 5
    assert all(0 <= cut.min() < cut.max() <= 1 for cut in cuts)
    assert all(np.array_equal(a, b) for a, b in zip(cuts, archive_corpus(tmp_path, 5, 64, 0), strict=True))


def test_an_archive_without_usable_images_is_refused(tmp_path):
    with pytest.raises(BadInput, match="at least 64 x 64"):
        archive_corpus(tmp_path, 5, 64, 0)
    np.save(tmp_path / "flat.npy", np.zeros((70, 70), np.float32))
    with pytest.raises(BadInput, match="not constant"):
        archive_corpus(tmp_path, 5, 64, 0)
    with pytest.raises(BadInput, match="at least 64 pixels"):
        pretrain(SMALL, TrainingSet(), [np.zeros((10, 10), np.float32)], tmp_path / "w.safetensors")
