"""The generalised Anscombe transform against simulated counts."""

import numpy as np
import pytest
import torch

from ilcore import fit
from ilcore.degradations.stabilise import VarianceStabilised, stabilised, unstabilised
from ilcore.grammar.arrays import Streams
from ilcore.grammar.errors import RecipeError
from ilcore.grammar.problem import Noise, Problem
from ilcore.grammar.recipe import Transformed
from ilcore.methods.catalogue import METHODS
from ilcore.methods.entry import configure, knobs
from ilcore.running.arrays import restore


def draws(counts, noise, number=400_000):
    generator = torch.Generator().manual_seed(0)
    light = torch.poisson(torch.full((number,), float(counts), dtype=torch.float64), generator=generator)
    read = noise.read_std * torch.randn(number, generator=generator, dtype=torch.float64)
    return noise.offset + noise.gain * light + read


@pytest.mark.parametrize("std", [0.0, 1.0, 3.0])
@pytest.mark.parametrize("counts", [0.2, 0.5, 1, 2, 5, 20])
def test_the_inverse_has_no_bias(counts, std):
    noise = Noise(gain=2.0, read_std=2.0 * std, offset=10.0)
    mean = stabilised(draws(counts, noise), noise).mean()
    back = float(unstabilised(mean, noise) - noise.offset) / noise.gain
    # 0.03 counts is the published accuracy, the rest the scatter of the simulation.
    assert back == pytest.approx(counts, abs=0.03 + 3 * ((counts + std**2) / 400_000) ** 0.5)


@pytest.mark.parametrize(
    ("counts", "std", "spread"),
    [(0.2, 0, 0.47), (1, 0, 0.85), (5, 0, 1.0), (20, 0, 1.0), (1, 1, 1.04), (5, 3, 1.0)],
)
def test_the_noise_becomes_one(counts, std, spread):
    noise = Noise(gain=0.01, read_std=0.01 * std)
    assert float(stabilised(draws(counts, noise), noise).std()) == pytest.approx(spread, abs=0.05)


def dark(side=64):
    noise = Noise(gain=0.05, read_std=0.01)
    generator = torch.Generator().manual_seed(1)
    clean = 0.05 + 0.6 * (torch.arange(side) // 16 % 2).float().expand(1, 1, side, side)
    observed = noise.gain * torch.poisson(clean / noise.gain, generator=generator)
    observed = observed + noise.read_std * torch.randn(clean.shape, generator=generator)
    return clean, Problem(observed=observed, noise=(noise,), value_range=(-0.1, 1.2))


def test_a_method_that_changes_nothing_returns_the_scan():
    _, problem = dark()
    change = VarianceStabilised()
    posed = change.forward(problem)
    assert posed.noise[0].gain == 0
    level = (posed.observed[..., 16:32] - posed.observed[..., 16:32].mean()).std()
    assert float(level) == pytest.approx(posed.noise[0].read_std, rel=0.1)
    # The inverse returns expectations, not single values: equal up to the correction of a quarter count.
    assert (change.backward(posed.observed, problem) - problem.observed).abs().max() < 0.05


def test_every_method_can_be_stabilised_and_keeps_its_knobs():
    clean, problem = dark()
    entry = configure(METHODS["nl_ridge"], {"stabilise": True, "window": 15})
    assert isinstance(entry.method, Transformed)
    assert entry.method.method.window == 15
    image = fit.restore(entry.method, problem, Streams.of(0, "s", [(0,)])).image
    assert (image - clean).square().mean() < 0.1 * (problem.observed - clean).square().mean()
    assert abs(float((image - clean).mean())) < 0.005
    quick = configure(METHODS["zs_n2n"], {"stabilise": True, "steps": 2})
    assert quick.method.budget == 2
    assert knobs(quick)["stop.steps"] == 2, "by the name that turns it"


def test_unknown_noise_cannot_be_stabilised():
    entry = configure(METHODS["zs_n2n"], {"stabilise": True})
    with pytest.raises(RecipeError, match="needs the noise model"):
        fit.restore(entry.method, Problem(observed=torch.zeros(1, 1, 8, 8)), Streams.of(0, "s", [(0,)]))


@pytest.mark.medium
def test_arrays_are_stabilised_with_noise_that_is_measured_where_a_knob_asks_for_it():
    rng = np.random.default_rng(0)
    clean = 20 + 15 * np.sin(np.arange(96) / 9.0) * np.ones((96, 1))
    done = restore(rng.poisson(clean).astype(np.float32), "zs_n2n", overrides={"stabilise": True, "steps": 100})
    assert np.mean((done.image - clean) ** 2) < 0.6 * clean.mean()
    assert abs(float(np.mean(done.image - clean))) < 0.5
