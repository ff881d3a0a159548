"""Every method of the catalogue keeps the same promises."""

import pickle
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec

import pytest
import torch

from ilcore import fit
from ilcore.adapting.weights import SHIPPED, load_denoiser
from ilcore.grammar.arrays import Streams, Weights
from ilcore.grammar.errors import RecipeError
from ilcore.grammar.problem import Noise, Problem
from ilcore.grammar.slots import Descent, LiveDescent, LiveNetwork, LiveStop, Stop
from ilcore.grammar.step_context import Judgement, Restoration, StepContext
from ilcore.grammar.stop_reason import StopReason
from ilcore.methods.catalogue import METHODS
from ilcore.methods.entry import Entry, apply, knobs
from tests.quick import DENOISERS, QUICK, STACKS, quick
from tests.scenes import scene

NOISE_STD = 0.1


@dataclass(frozen=True)
class Swapped(Descent):
    """A descent in which each of two tiles gets the gradient of the other."""

    inner: Descent

    def start(self, model: LiveNetwork, streams: Streams) -> LiveDescent:
        for value in model.moving().values():
            value.register_hook(lambda gradient: gradient.flip(0))
        return self.inner.start(model, streams)


@dataclass(frozen=True)
class Leaving(Stop):
    """The rule of a method, but every row ends at a step of its own."""

    inner: Stop
    ends: tuple[int, ...]

    @property
    def budget(self) -> int:
        return max(self.ends)

    def start(self, problem: Problem, streams: Streams, *, shared: bool = False) -> LiveStop:
        return _Leaving(self, self.inner.start(problem, streams, shared=shared))


class _Leaving:
    def __init__(self, spec: Leaving, inner: LiveStop) -> None:
        self.spec, self.inner = spec, inner
        self.training_problem = inner.training_problem

    def judge(self, context: StepContext) -> Judgement:
        judged = self.inner.judge(context)
        left = [context.step >= self.spec.ends[row] for row in context.rows]
        return replace(judged, reasons=tuple(StopReason("rule", "left") if gone else None for gone in left))


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


def streams(name: str, count: int, seed: int = 7) -> Streams:
    return Streams.of(seed, name, [(n, 0) for n in range(count)])


def run(name: str, problem: Problem, strategy="sequential", seed: int = 7, **more: int):
    entry = quick(name, **more)
    tiles = streams(name, len(problem.observed), seed)
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


by_hand = pytest.mark.parametrize("name", [_named(name) for name in DENOISERS if not METHODS[name].method.budget])
STARTS_FROM_WEIGHTS = {name for name in METHODS if "weights" in METHODS[name].needs}


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
    first, second, other = (run(name, problem, seed=seed, steps=6) for seed in (7, 7, 8))
    assert torch.equal(first.image, second.image)
    assert (first.stopped, first.curves) == (second.stopped, second.curves)
    if METHODS[name].method.budget:
        assert first.curves != other.curves
        # What starts from given weights returns them until it is certain that others are better.
        assert torch.equal(first.image, other.image) == (name in STARTS_FROM_WEIGHTS)
    else:
        assert torch.equal(first.image, other.image)


@by_hand
def test_tiles_of_a_method_by_hand_equal_each_alone(name):
    problem, _ = problem_of(*shape_for(name, 3, 1, 32, 32))
    together = run(name, problem)
    for row in range(3):
        alone = fit.restore(quick(name).method, problem.rows([row]), streams(name, 3).only([row]))
        assert torch.equal(together.image[row], alone.image[0])


@pytest.fixture
def double() -> Iterator[None]:
    """Numbers of 64 bits, so that Adam's first steps, the signs of gradients, do not hang on roundings."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def exact(name: str, count: int) -> tuple[Problem, Weights | None]:
    problem, _ = problem_of(*shape_for(name, count, 1, 24, 24))
    start = start_of(METHODS[name])
    return replace(problem, observed=problem.observed.double()), start and {n: v.double() for n, v in start.items()}


def agree(one: Restoration, other: Restoration, rows: Sequence[int]) -> bool:
    """Tell whether rows of a restoration are those of another: images, losses at every step, and ends.

    Losses tell of every step, also where the image is that of the start.
    """
    losses = ([one.curves[row] for row in rows], list(other.curves))
    return (
        [one.stopped[row] for row in rows] == list(other.stopped)
        and torch.allclose(one.image[list(rows)], other.image, rtol=0, atol=1e-6)
        and all(mine == [(step, pytest.approx(loss, rel=1e-6, abs=1e-9)) for step, loss in theirs]
                for mine, theirs in zip(map(list, losses[0]), losses[1], strict=True))
    )  # fmt: skip


@every_fit
@pytest.mark.parametrize("strategy", ["sequential", "grouped", "vmap"])
def test_tiles_together_equal_each_alone_by_every_strategy(name, strategy, double):
    problem, start = exact(name, 3)
    method, tiles = quick(name, steps=5).method, streams(name, 3)
    together = fit.restore(method, problem, streams(name, 3), start=start, strategy=strategy)
    for row in range(3):
        assert agree(together, fit.fit(method, problem.rows([row]), tiles.only([row]), start=start), [row])


@every_fit
def test_gradients_of_another_tile_would_be_noticed(name, double):
    problem, start = exact(name, 2)
    method = quick(name, steps=5).method
    swapped = replace(method, descent=Swapped(method.descent))
    right, wrong = (fit.fit(one, problem, streams(name, 2), start=start) for one in (method, swapped))
    assert agree(right, right, [0, 1])
    assert not agree(wrong, right, [0, 1])


@every_fit
@pytest.mark.parametrize("strategy", ["grouped", "vmap"])
def test_a_row_that_leaves_early_disturbs_no_other(name, strategy, double):
    problem, start = exact(name, 3)
    method, ends = quick(name, steps=6).method, (2, 6, 4)
    together = fit.fit(replace(method, stop=Leaving(method.stop, ends)), problem, streams(name, 3), start=start,
                       strategy=strategy)  # fmt: skip
    assert together.steps == ends
    for row, end in enumerate(ends):
        leaving, tiles = replace(method, stop=Leaving(method.stop, (end,))), streams(name, 3).only([row])
        assert agree(together, fit.fit(leaving, problem.rows([row]), tiles, start=start), [row])


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
    assert done.stopped[1].has_diverged
    assert not done.stopped[0].has_diverged
    assert torch.isfinite(done.image[0]).all()
