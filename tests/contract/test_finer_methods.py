"""Every method that makes a finer image keeps the same promises."""

import pickle
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from PIL import Image

from ilcore import fit
from ilcore.degradations.imaging import Imaging
from ilcore.degradations.kernels import kernel_of
from ilcore.grammar.arrays import Streams
from ilcore.grammar.errors import RecipeError
from ilcore.grammar.problem import Noise, Problem
from ilcore.methods.catalogue import METHODS
from ilcore.methods.entry import configure, knobs
from ilcore.methods.super_resolution import cubic
from tests.quick import DENOISERS, quick
from tests.scenes import psnr, scene

FINER = sorted(name for name in METHODS if "superres" in METHODS[name].tasks)
FACTORS = [(2, 2), (3, 2), (4, 4), (1, 2, 2), (2, 1, 1)]

every_method = pytest.mark.parametrize("name", FINER)


def imaging(factors, psf="bicubic"):
    return Imaging(kernel_of(psf, factors), factors)


def problem_of(operator, count=2, channels=1, side=24, std=0.0):
    """Return observations of scenes through an operator, and the truth on the field."""
    space = tuple(8 if len(operator.factors) == 3 and n == 0 else side for n in range(len(operator.factors)))
    wide = operator.domain(space)
    clean = torch.stack([torch.from_numpy(scene("cells", wide, n)) for n in range(count * channels)])
    clean = clean.reshape(count, channels, *wide)
    noise = std * torch.randn(count, channels, *space, generator=torch.Generator().manual_seed(0))
    seen = operator.forward(clean) + noise
    return Problem(observed=seen, operator=operator, value_range=(-0.3, 1.3)), operator.inside(clean)


def run(name, problem):
    streams = Streams.of(7, name, [(n, 0) for n in range(len(problem.observed))])
    return fit.restore(quick(name).method, problem, streams).image


def test_there_are_some_and_they_denoise_nothing():
    assert {"bicubic", "back_projection"} <= set(FINER)
    assert not set(FINER) & set(DENOISERS)


@every_method
def test_a_method_prints_hashes_and_pickles(name):
    entry = METHODS[name]
    assert pickle.loads(pickle.dumps(entry)) == entry
    assert hash(entry.method) == hash(pickle.loads(pickle.dumps(entry.method)))
    assert isinstance(knobs(entry), dict)


@every_method
@pytest.mark.parametrize("factors", FACTORS)
@pytest.mark.parametrize("psf", ["bicubic", "box", "gaussian:0.8"])
def test_the_image_lies_on_the_field(name, factors, psf):
    problem, clean = problem_of(imaging(factors, psf), channels=2, side=12)
    image = run(name, problem)
    assert image.shape == clean.shape
    assert image.dtype == torch.float32
    assert bool(torch.isfinite(image).all())
    assert psnr(clean.numpy(), image.numpy()) > 20


@every_method
def test_tiles_together_are_each_alone(name):
    problem, _ = problem_of(imaging((2, 2)), count=3)
    together = run(name, problem)
    for row in range(3):
        assert torch.equal(together[[row]], run(name, problem.rows([row])))


@every_method
def test_without_a_factor_it_complains(name):
    for operator in (None, imaging((1, 1), "gaussian:1")):
        problem = Problem(observed=torch.zeros(1, 1, 32, 32), operator=operator)
        with pytest.raises(RecipeError, match="needs a factor; ask for task superres"):
            run(name, problem)


@every_method
def test_it_is_not_carried_out_on_stabilised_noise(name):
    problem, _ = problem_of(imaging((2, 2)))
    entry = configure(METHODS[name], {"stabilise": True})
    noisy = replace(problem, noise=(Noise(gain=0.01, read_std=0.01),))
    with pytest.raises(RecipeError, match="got an operator"):
        fit.restore(entry.method, noisy, Streams.of(0, name, [(0,), (1,)]))


@pytest.mark.parametrize("name", sorted(name for name in DENOISERS if METHODS[name].method.takes_operator))
def test_a_prior_that_minds_operators_makes_the_field_of_a_finer_one(name):
    problem, clean = problem_of(imaging((2, 2)), count=1, side=12)
    told = replace(problem, noise=(Noise(read_std=0.05),))
    done = fit.restore(quick(name, steps=3).method, told, Streams.of(0, name, [(0,)]))
    assert done.image.shape == clean.shape
    assert not done.stopped[0].has_diverged


@every_method
def test_what_is_constant_stays_so(name):
    operator = imaging((2, 3))
    problem = Problem(observed=torch.full((1, 1, 16, 16), 0.37), operator=operator)
    assert torch.allclose(run(name, problem), torch.tensor(0.37), atol=1e-5)


@every_method
def test_a_finer_image_is_nowhere_else(name):
    """A picture that is turned round gives the same image turned round: nothing moves by part of a voxel."""
    problem, _ = problem_of(imaging((2, 3)))
    turned = replace(problem, observed=problem.observed.flip((2, 3)))
    assert torch.allclose(run(name, turned).flip((2, 3)), run(name, problem), atol=1e-5)


@every_method
@pytest.mark.parametrize("kind", ["cells", "filaments", "edges", "coast"])
def test_back_projection_is_better_than_bicubic_by_half_a_decibel(name, kind):
    operator = imaging((2, 2))
    clean = torch.from_numpy(scene(kind, operator.domain((64, 64))))[None, None]
    problem, truth = Problem(observed=operator.forward(clean), operator=operator), operator.inside(clean).numpy()
    plain, corrected = run("bicubic", problem), run("back_projection", problem)
    assert psnr(truth, corrected.numpy()) > psnr(truth, plain.numpy()) + 0.5
    assert psnr(truth, run(name, problem).numpy()) >= psnr(truth, plain.numpy())


def test_back_projection_ends_where_no_more_is_missed_than_noise():
    """Told the noise, it does not sharpen it; without, it explains the observation to the last bit."""
    problem, clean = problem_of(imaging((2, 2), "gaussian:1.0"), count=2, side=48, std=0.02)
    told = replace(problem, noise=(Noise(read_std=0.02),))
    plain, blind, stop_when = run("bicubic", problem), run("back_projection", problem), run("back_projection", told)
    assert psnr(clean.numpy(), stop_when.numpy()) > psnr(clean.numpy(), blind.numpy()) + 2
    assert psnr(clean.numpy(), stop_when.numpy()) >= psnr(clean.numpy(), plain.numpy()) - 0.1


def test_what_is_not_trusted_asks_for_nothing():
    """Corrections come from trusted values only: a hole filled with nonsense leaves no more than its own cubic."""
    problem, _ = problem_of(imaging((2, 2)), count=1)
    trusted = torch.ones_like(problem.observed, dtype=torch.bool)
    trusted[..., 8:14, 8:14] = False
    spoilt = replace(problem, observed=torch.where(trusted, problem.observed, 5.0))
    masked = replace(spoilt, trusted=trusted)
    changes = [(run("back_projection", each) - run("bicubic", each))[..., 19:25, 19:25] for each in (spoilt, masked)]
    assert float(changes[0].abs().max()) > 4 * float(changes[1].abs().max())


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_bicubic_is_that_of_pillow_inside(factor):
    """An independent implementation of the same interpolation, away from its borders."""
    y = np.random.default_rng(0).normal(size=(12, 15)).astype(np.float32)
    other = np.asarray(Image.fromarray(y, "F").resize((15 * factor, 12 * factor), Image.Resampling.BICUBIC))
    ours = cubic(torch.from_numpy(y)[None, None], (factor, factor), (0, 0))[0, 0].numpy()
    rim = 3 * factor
    np.testing.assert_allclose(ours[rim:-rim, rim:-rim], other[rim:-rim, rim:-rim], atol=1e-4)


@pytest.mark.parametrize("factor", [Fraction(3, 2), Fraction(11, 8), Fraction(2)])
def test_a_cubic_goes_through_lines_at_any_ratio(factor):
    y = torch.arange(24, dtype=torch.float64).expand(1, 1, 16, 24)
    finer = cubic(y, (1, factor), (0, 0))
    places = (torch.arange(finer.shape[-1], dtype=torch.float64) + 0.5) / float(factor) - 0.5
    inner = slice(4, -4)
    assert torch.allclose(finer[0, 0, 3, inner], places[inner])
