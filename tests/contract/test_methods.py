"""Every method of the catalogue keeps the same promises."""

import pickle
from dataclasses import replace
from importlib.util import find_spec

import pytest
import torch

from ilcore import fit
from ilcore.adapting.weights import SHIPPED, load_denoiser
from ilcore.grammar.arrays import Streams
from ilcore.grammar.errors import RecipeError
from ilcore.grammar.problem import Noise, Problem
from ilcore.methods.catalogue import METHODS
from ilcore.methods.entry import Entry, apply, knobs
from tests.quick import DENOISERS, QUICK, STACKS, quick
from tests.scenes import scene

NOISE_STD = 0.1


def start_of(entry: Entry):
    return load_denoiser(SHIPPED)[1] if "weights" in entry.needs else None


def shape_for(name: str, *shape: int) -> tuple[int, ...]:
    return (*shape[:2], 4, *shape[2:]) if name in STACKS else shape


def problem_of(*shape: int, seed: int = 0) -> tuple[Problem, torch.Tensor]:
    clean = torch.stack([torch.from_numpy(scene("cells", shape[2:], seed + n)) for n in range(shape[0] * shape[1])])
    clean = clean.reshape(shape).float()
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    noises = (Noise(read_std=NOISE_STD),) * shape[1]
    return Problem(observed=clean + NOISE_STD * noise, noise=noises, value_range=(-0.3, 1.3)), clean


def streams(name: str, count: int) -> Streams:
    return Streams.of(7, name, [(n, 0) for n in range(count)])


def run(name: str, problem: Problem, strategy="sequential", **more: int):
    entry = quick(name, **more)
    tiles = streams(name, len(problem.observed))
    return fit.restore(entry.method, problem, tiles, start=start_of(entry), strategy=strategy)


def error(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).square().mean())


def _named(name: str):
    absent = name == "bm3d" and find_spec("bm3d") is None
    return pytest.param(name, marks=pytest.mark.skipif(absent, reason="the extra bm3d is not installed"))


every_method = pytest.mark.parametrize("name", [_named(name) for name in DENOISERS])
#: Methods with weights that tiles may share.
every_model = pytest.mark.parametrize("name", sorted(name for name in METHODS if "volume" in METHODS[name].scopes))
#: Methods that are shown holes as they were filled before: they learn noise that is added, and fill nothing themselves.
SEES_HOLES = ("adapted", "r2r", "gr2r")
#: Methods of steps, whatever they learn.
every_fit = pytest.mark.parametrize("name", sorted(name for name in METHODS if METHODS[name].method.budget))


def test_every_method_has_quick_settings():
    assert set(QUICK) == set(METHODS)


@every_method
def test_a_method_prints_hashes_and_pickles(name):
    entry = METHODS[name]
    assert pickle.loads(pickle.dumps(entry)) == entry
    assert hash(entry.method) == hash(pickle.loads(pickle.dumps(entry.method)))
    assert name in repr(entry)
    assert knobs(entry)
    assert entry.method.budget > 0 or entry.scopes == {"tile"}


@every_method
def test_the_image_is_better_than_the_noisy_one(name):
    problem, clean = problem_of(*shape_for(name, 1, 1, 48, 48))
    done = run(name, problem, steps=300) if name == "dip" else run(name, problem)
    assert error(done.image, clean) < 0.7 * error(problem.observed, clean)


@every_method
def test_same_seed_same_image_and_another_seed_another(name):
    problem, _ = problem_of(*shape_for(name, 1, 1, 32, 32))
    first, second = run(name, problem, steps=6), run(name, problem, steps=6)
    assert torch.equal(first.image, second.image)
    assert first.stopped == second.stopped


@every_method
def test_tiles_together_equal_each_alone(name):
    problem, _ = problem_of(*shape_for(name, 3, 1, 32, 32))
    together = run(name, problem, steps=4)
    for row in range(3):
        entry, tiles = quick(name, steps=4), streams(name, 3)
        alone = fit.restore(entry.method, problem.rows([row]), tiles.only([row]), start=start_of(entry))
        assert torch.equal(together.image[row], alone.image[0])


@every_fit
@pytest.mark.parametrize("strategy", ["grouped", "vmap"])
def test_every_strategy_computes_the_same_image(name, strategy):
    problem, _ = problem_of(*shape_for(name, 2, 1, 32, 32))
    # Adam's first steps are signs of gradients: small ones, or the last bits of a gradient near zero decide.
    gently = {knob: 1e-4 for knob in knobs(METHODS[name]) if knob.endswith("learning_rate")} | {"steps": 2}
    one_by_one, at_once = run(name, problem, **gently), run(name, problem, strategy=strategy, **gently)
    assert torch.allclose(one_by_one.image, at_once.image, atol=2e-3)
    assert one_by_one.stopped == at_once.stopped


@every_method
@pytest.mark.parametrize("shape", [(1, 2, 33, 27), (1, 1, 6, 32, 32), (1, 2, 5, 17, 30), (1, 1, 5, 7)])
def test_two_and_three_axes_many_channels_odd_and_tiny_sizes_come_out_finite(name, shape):
    generator = torch.Generator().manual_seed(0)
    observed = 0.5 + NOISE_STD * torch.randn(shape, generator=generator)
    problem = Problem(observed=observed, noise=(Noise(read_std=NOISE_STD),) * shape[1])
    if name in STACKS and len(shape) == 4:
        with pytest.raises(RecipeError, match=STACKS[name]):
            run(name, problem, steps=2)
        return
    done = run(name, problem, steps=2)
    assert done.image.shape == observed.shape
    assert torch.isfinite(done.image).all()


@every_method
def test_a_constant_image_stays_finite(name):
    flat = torch.full(shape_for(name, 1, 1, 24, 24), 0.5)
    done = run(name, Problem(observed=flat, noise=(Noise(read_std=0.0),)), steps=3)
    assert torch.isfinite(done.image).all()


@every_method
def test_untrusted_values_have_no_influence_on_what_is_learnt(name):
    problem, _ = problem_of(*shape_for(name, 1, 1, 32, 32))
    trusted = torch.ones_like(problem.observed, dtype=torch.bool)
    trusted[..., 8:12, 8:12] = False
    images = []
    for value in (0.5, 0.9):
        observed = torch.where(trusted, problem.observed, torch.tensor(value))
        images.append(run(name, replace(problem, observed=observed, trusted=trusted), steps=3).image)
    if name in SEES_HOLES:
        # The network sees the filled value, so its neighbourhood may differ; what lies beyond its reach may not.
        far = (..., slice(0, 2), slice(28, 32))
        assert error(images[0][far], images[1][far]) < 1e-4
    else:
        assert torch.equal(images[0], images[1])


@every_model
def test_a_model_of_the_volume_restores_tiles_it_has_not_seen(name):
    problem, clean = problem_of(*shape_for(name, 6, 1, 48, 48))
    entry = quick(name)
    learnt = fit.learn(entry.method, problem.rows(range(4)), streams(name, 4), start=start_of(entry), batch=2)
    assert learnt.weights is not None
    assert all(len(value) == 1 for value in learnt.weights.values())
    unseen, tiles = problem.rows([4, 5]), streams(name, 6).only([4, 5])
    if entry.can_apply:
        image = apply(entry, unseen, learnt.weights, tiles)
        assert error(image, clean[4:]) < 0.8 * error(unseen.observed, clean[4:])
    else:
        with pytest.raises(RecipeError, match="needs steps on every tile"):
            apply(entry, unseen, learnt.weights, tiles)
        assert entry.tile_steps > 0
        warm = fit.restore(entry.with_steps(30).method, unseen, tiles, start=learnt.weights)
        cold = fit.restore(entry.with_steps(30).method, unseen, tiles)
        assert error(warm.image, clean[4:]) < error(cold.image, clean[4:])


@every_fit
def test_a_diverging_fit_is_a_verdict_of_its_tile_alone(name):
    problem, _ = problem_of(*shape_for(name, 2, 1, 32, 32))
    broken = problem.observed.clone()
    broken[1] = float("inf")
    done = run(name, replace(problem, observed=broken), strategy="grouped", steps=3)
    assert done.stopped[1].startswith("diverged")
    assert not done.stopped[0].startswith("diverged")
    assert torch.isfinite(done.image[0]).all()
