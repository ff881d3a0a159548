"""What a scan is measured in has no say: a y + b in, a x + b out, and a risk a^2 times as large."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import ilcore
from ilcore import fit
from ilcore.grammar.arrays import Streams
from ilcore.grammar.problem import Noise, Problem
from ilcore.methods.catalogue import METHODS
from tests.contract.test_methods import NOISE_STD, by_hand, every_method
from tests.quick import QUICK, STACKS, quick
from tests.scenes import scene

#: Methods by hand that need the units of `Problem`, in which the expected range is about 0 to 1, and why.
ABSOLUTE = {
    **dict.fromkeys(("nlm_j", "tv_j", "wavelet_j"), "the levels that are tried are fixed, from 0.01 to 0.5"),
    "nl_ridge": "the size of its patches follows the noise in 255ths of that range",
}


def restored(values: np.ndarray, name: str, noise_std: float | None) -> ilcore.Restoration:
    few = {"steps": 6} if METHODS[name].method.budget else {}
    return ilcore.restore(
        values, method=name, noise_std=noise_std, overrides=QUICK[name] | few, space=3 if name in STACKS else 2
    )


@every_method
def test_an_array_may_be_in_any_units(name):
    shape = (4, 24, 24) if name in STACKS else (32, 32)
    noise = np.random.default_rng(0).normal(size=shape)
    values = scene("cells", shape, 1).astype(np.float64) + NOISE_STD * noise
    one = restored(values, name, NOISE_STD)
    for factor, offset in ((250.0, 1000.0), (2.0**-7, -3.0)):
        other = restored(factor * values + offset, name, factor * NOISE_STD)
        assert other.stopped == one.stopped
        assert np.abs((other.image - offset) / factor - one.image).max() < 1e-3 * NOISE_STD
        expected = [risk and factor**2 * risk for risk in one.risk]
        assert list(other.risk) == [risk and pytest.approx(risk, rel=1e-3) for risk in expected]
    if name == "nlm":
        assert np.abs(one.image - values).max() > NOISE_STD / 10


@by_hand
def test_a_problem_may_be_in_any_units_where_nothing_is_learnt(name):
    """What is learnt cannot: networks begin with weights made for values of about one."""
    observed = torch.from_numpy(scene("cells", (1, 32, 32), 1))[None]
    observed = observed + NOISE_STD * torch.randn(observed.shape, generator=torch.Generator().manual_seed(0))
    problem = Problem(observed=observed, noise=(Noise(read_std=NOISE_STD),))
    factor, offset = 4.0, 0.5
    other = replace(
        problem, observed=factor * observed + offset, noise=(Noise(read_std=factor * NOISE_STD),),
        value_range=(offset, factor + offset),
    )  # fmt: skip
    streams = Streams.of(0, name, [(0,)])
    one, two = (fit.restore(quick(name).method, each, streams).image for each in (problem, other))
    furthest = float(((two - offset) / factor - one).abs().max())
    assert (furthest < 1e-3 * NOISE_STD) == (name not in ABSOLUTE)
