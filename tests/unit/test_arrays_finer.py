"""An array is made finer by task superres: shape, units, numbers of QA, and what is refused."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from ilcore import restore
from ilcore.degradations.imaging import Imaging
from ilcore.degradations.kernels import kernel_of
from ilcore.grammar.errors import BadInput
from tests.scenes import psnr, scene


def reduced(kind, factors, psf="bicubic", side=40, seed=0):
    """Return a picture reduced by an operator, and the truth on its field."""
    operator = Imaging(kernel_of(psf, factors), factors)
    space = [10 if len(factors) == 3 and n == 0 else side for n in range(len(factors))]
    clean = torch.from_numpy(scene(kind, operator.domain(space), seed))[None, None]
    return operator.forward(clean)[0, 0].numpy(), operator.inside(clean)[0, 0].numpy()


@pytest.mark.parametrize("psf", [None, "gaussian:1.0", "box"])
@pytest.mark.parametrize("kind", ["filaments", "coast"])
def test_back_projection_is_chosen_beats_bicubic_and_explains_more(kind, psf):
    seen, truth = reduced(kind, (2, 2), psf or "bicubic")
    plain = restore(seen, "bicubic", task="superres", scale=2, psf=psf)
    best = restore(seen, task="superres", scale=2, psf=psf)
    assert (best.method, plain.method) == ("back_projection", "bicubic")
    assert best.image.shape == plain.image.shape == truth.shape
    assert psnr(truth, best.image) > psnr(truth, plain.image) + 0.5
    assert best.qa["consistency"][0] < 0.1 * plain.qa["consistency"][0]
    assert 0 < best.qa["invented_share"][0] < 0.5


@pytest.mark.medium
@pytest.mark.parametrize(
    ("shape", "space", "scale", "finer"),
    [
        ((20, 24), 2, 2, (40, 48)),
        ((20, 24), 2, (1, 3), (20, 72)),
        ((2, 20, 24), 2, "2", (2, 40, 48)),
        ((3, 2, 20, 24), 2, Fraction(2), (3, 2, 40, 48)),
        ((8, 20, 24), 3, (2, 1, 1), (16, 20, 24)),
        ((2, 8, 20, 24), 3, 2.0, (2, 16, 40, 48)),
    ],
)
def test_the_result_has_the_scaled_shape_in_the_layout_that_was_given(shape, space, scale, finer):
    array = scene("cells", shape[-space:])
    given = np.broadcast_to(array, shape)
    done = restore(given, task="superres", scale=scale, space=space)
    assert done.image.shape == finer
    tiles = shape[0] if len(shape) == space + 2 else 1
    assert {len(each) for each in done.qa.values()} == {tiles}
    as_tensor = restore(torch.from_numpy(given.copy()), task="superres", scale=scale, space=space)
    assert isinstance(as_tensor.image, torch.Tensor)
    np.testing.assert_array_equal(as_tensor.image.numpy(), done.image)


def test_a_stack_is_made_finer_along_z_alone():
    seen, truth = reduced("filaments", (2, 1, 1), side=32)
    plain, best = (restore(seen, m, task="superres", scale=(2, 1, 1), space=3) for m in ("bicubic", None))
    assert best.image.shape == truth.shape == (20, 32, 32)
    assert psnr(truth, best.image) > psnr(truth, plain.image) + 0.5


@pytest.mark.parametrize("psf", ["gaussian:1.0", "gaussian:1.0,0,0", np.ones((4, 1, 1))])
def test_a_kernel_of_a_stack_is_given_in_the_order_of_its_axes(psf):
    seen, truth = reduced("cells", (2, 1, 1), psf, side=24)
    done = restore(seen, task="superres", scale=(2, 1, 1), space=3, psf=psf)
    assert done.image.shape == truth.shape
    assert psnr(truth, done.image) > 30


@pytest.mark.parametrize(("a", "b"), [(1000.0, 1e5), (1e-3, -2.0)])
def test_other_units_give_the_same_image_in_these_units(a, b):
    seen, _ = reduced("cells", (2, 2), side=24)
    one = restore(seen.astype(np.float64), task="superres", scale=2)
    other = restore(a * seen.astype(np.float64) + b, task="superres", scale=2)
    np.testing.assert_allclose(other.image, a * one.image + b, atol=1e-4 * a)


def test_holes_and_flat_arrays_stay_what_they_are():
    seen, _ = reduced("cells", (2, 2), side=24)
    seen[5, 7] = np.nan
    image = restore(seen, task="superres", scale=2).image
    assert np.isnan(image[10:12, 14:16]).all()
    assert np.isfinite(image).sum() == image.size - 4
    flat = restore(np.full((12, 12), 7, np.uint8), task="superres", scale=(2, 3))
    assert (flat.image == 7).all()
    assert flat.image.shape == (24, 36)


def test_told_noise_ends_the_corrections():
    clean, truth = reduced("filaments", (2, 2), "gaussian:1.6", side=48)
    seen = clean + 0.03 * np.random.default_rng(0).normal(size=clean.shape).astype(np.float32)
    ask = {"task": "superres", "scale": 2, "psf": "gaussian:1.6"}
    blind, told = restore(seen, **ask), restore(seen, noise_std=0.03, **ask)
    assert psnr(truth, told.image) > psnr(truth, blind.image) + 1
    assert 0.5 < told.qa["consistency"][0] < 1.1


def test_the_same_again_and_denoising_has_no_such_numbers():
    seen, _ = reduced("cells", (2, 2), side=24)
    one, other = (restore(seen, task="superres", scale=2) for _ in range(2))
    np.testing.assert_array_equal(one.image, other.image)
    assert restore(seen, "tv", noise_std=0.1).qa == {}


SQUARE, STACK = np.zeros((16, 16), np.float32) + np.eye(16, dtype=np.float32), np.zeros((4, 16, 16), np.float32)


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        ({"scale": None}, "superres wants a scale"),
        ({"scale": 0.5}, "at least 1, got 0.5"),
        ({"scale": 1}, "above 1 was wanted"),
        ({"scale": 1.37}, "the nearest is 11/8"),
        ({"scale": 1.5}, "whole factors were wanted, got 1, 3/2, 3/2; take 1, 2, 2"),
        ({"scale": (2, 2, 2)}, "each of y, x, got 3"),
        ({"scale": "wide"}, "must be a number"),
        ({"scale": (2, 1, 1), "space": 3, "noisy": STACK[:1]}, "a finer z needs two voxels"),
        ({"psf": "lanczos"}, "bicubic, box, gaussian"),
        ({"psf": np.ones((3, 3))}, "both be odd or both be even"),
        ({"psf": np.ones((2, 2, 2))}, "one side for each of 2 axes"),
        ({"psf": -np.ones((2, 2))}, "more than 0"),
        ({"psf": np.full((2, 2), np.nan)}, "finite"),
        ({"psf": np.ones((40, 40))}, "larger than the tile"),
        (
            {"method": "dip"},
            "dip can denoise and inpaint, got task superres; methods that can: back_projection, bicubic",
        ),
        ({"method": "tv"}, "methods that can: back_projection, bicubic"),
        ({"overrides": {"stabilise": True}}, "got an operator"),
        ({"overrides": {"ridge": 0.0}}, "ridge > 0"),
        ({"overrides": {"steps": 3}}, "must name a knob"),
        ({"weights": "mine.safetensors"}, "weights serve methods that start pretrained"),
        ({"task": "denoise"}, "a scale serves superres, got task denoise"),
        ({"task": "denoise", "scale": None, "psf": "box"}, "point spread function serves .* got task denoise"),
        ({"task": "denoise", "scale": None, "method": "bicubic"}, "bicubic can superres, got task denoise"),
        ({"task": "superrez"}, "did you mean 'superres'"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_sentence(ask, words):
    given = {"noisy": SQUARE, "task": "superres", "scale": 2} | ask
    with pytest.raises(BadInput, match=words) as refused:
        restore(**given)
    assert refused.value.exit_code == 2
    assert "\n" not in str(refused.value)
