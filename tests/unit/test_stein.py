"""Stein's losses against simulated and analytic truth (section 11 of the survey notes: pointwise tanh, dark counts)."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from ilcore.grammar.arrays import Streams
from ilcore.grammar.draws import unit_noise
from ilcore.grammar.problem import Noise, Problem
from ilcore.grammar.step_context import Pair, StepContext
from ilcore.losses.sure import Sure, UnknownNoiseSure
from ilcore.methods.catalogue import METHODS
from ilcore.views.whole import Whole


def streams():
    return Streams.of(0, "stein", [(0,)])


class Pointwise(nn.Module):
    def forward(self, seen, rows):
        return 0.5 + 0.4 * torch.tanh(6 * (seen - 0.5))


class Smoothing(nn.Module):
    """A linear filter with a known centre: its divergence per pixel is h(0)."""

    def __init__(self, centre=0.4):
        super().__init__()
        self.kernel = torch.full((1, 1, 3, 3), (1 - centre) / 8)
        self.kernel[0, 0, 1, 1] = centre

    def forward(self, seen, rows):
        return nn.functional.conv2d(nn.functional.pad(seen, (1, 1, 1, 1), "circular"), self.kernel)


def loss_of(loss, model, observed, noise):
    problem = Problem(observed=observed, noise=(noise,))
    pair = Pair(observed, observed)
    context = StepContext(0, [0], problem, pair, model(observed, [0]), model, lambda rows: observed)
    return float(loss.start(problem, streams())(context)[0])


def counts(gain, std, low, high, side=1000):
    generator = torch.Generator().manual_seed(0)
    clean = low + (high - low) * torch.rand(1, 1, side, side, generator=generator)
    observed = gain * torch.poisson(clean / gain, generator=generator)
    return clean, observed + std * torch.randn(clean.shape, generator=generator)


@pytest.mark.parametrize(
    ("gain", "std", "low", "high", "true", "first_order"),
    [(0.05, 0.1, 0.1, 0.4, 0.02467, 0.03042), (0.1, 0.2, 0.1, 0.4, 0.05254, 0.07231),
     (0.05, 0.1, 0.1, 1.0, 0.03838, 0.03704)],
)  # fmt: skip
def test_both_second_order_terms_are_needed_on_dark_counts(gain, std, low, high, true, first_order):
    clean, observed = counts(gain, std, low, high)
    noise = Noise(gain=gain, read_std=std)
    model = Pointwise()
    assert float((model(observed, [0]) - clean).square().mean()) == pytest.approx(true, rel=0.02)
    assert loss_of(Sure(), model, observed, noise) == pytest.approx(first_order, rel=0.03)
    second = loss_of(Sure(second_order=True, second_step=0.02), model, observed, noise)
    assert abs(second - true) < 0.6 * abs(first_order - true) + 0.03 * true


@pytest.mark.parametrize("light", [0.0, 0.02])
def test_read_noise_below_zero_light_leaves_no_bias(light):
    clean, observed = counts(0.05, 0.05, light, light)
    noise, model = Noise(gain=0.05, read_std=0.05), Smoothing(1 / 9)
    true = float((model(observed, [0]) - clean).square().mean())
    assert loss_of(Sure(), model, observed, noise) == pytest.approx(true, abs=4e-5)
    problem = Problem(observed=observed, noise=(noise,))
    residual = float((clean - observed).square().mean())
    assert float(problem.unbiased_variance().mean()) == pytest.approx(residual, rel=0.02)


@pytest.mark.parametrize("lags", [(0.0, 0.0), (0.6, 0.6), (0.0, 0.5)])
def test_the_probe_of_the_noise_gives_the_trace_of_its_covariance(lags):
    noise = Noise(read_std=0.1, correlation="white" if lags == (0, 0) else "isotropic", lags=lags)
    problem = Problem(observed=torch.zeros(1, 1, 512, 512), noise=(noise,))
    clean = 0.5 + 0.2 * torch.sin(torch.arange(512) / 20.0).expand(1, 1, 512, 512)
    observed = clean + 0.1 * unit_noise(problem, Streams.of(1, "noise", [(0,)]))
    model = Smoothing()
    true = float((model(observed, [0]) - clean).square().mean())
    assert loss_of(Sure(), model, observed, noise) == pytest.approx(true, rel=0.05)
    # Taken for white, correlated noise makes a smoother look better than it is.
    as_white = loss_of(Sure(), model, observed, replace(noise, correlation="white"))
    assert (as_white < 0.8 * true) == (lags != (0, 0))


def test_holes_have_no_noise_but_that_of_what_fills_them():
    noise = Noise(read_std=0.1, correlation="isotropic", lags=(0.6, 0.6))
    trusted = torch.rand(1, 1, 512, 512, generator=torch.Generator().manual_seed(3)) > 0.3
    problem = Problem(observed=torch.zeros(1, 1, 512, 512), noise=(noise,), trusted=trusted)
    clean = 0.5 + 0.2 * torch.sin(torch.arange(512) / 20.0).expand(1, 1, 512, 512)
    problem = replace(problem, observed=clean + 0.1 * unit_noise(problem, Streams.of(1, "noise", [(0,)])))
    pair, model = Whole().start(problem, streams()).draw(0, [0]), Smoothing()
    output = model(pair.input, [0])
    context = StepContext(0, [0], problem, pair, output, model, lambda rows: output)
    true = float((output - clean)[trusted].square().mean())
    assert float(Sure().start(problem, streams())(context)[0]) == pytest.approx(true, rel=0.05)


@pytest.mark.parametrize("lag", [0.2, 0.6, 0.8])
def test_drawn_noise_has_unit_variance_and_the_correlation_asked_for(lag):
    noise = Noise(read_std=0.1, correlation="row", lags=(0.0, lag))
    drawn = unit_noise(Problem(observed=torch.zeros(1, 1, 512, 512), noise=(noise,)), streams())[0, 0]
    assert float(drawn.var()) == pytest.approx(1, abs=0.03)
    assert float((drawn[:, 1:] * drawn[:, :-1]).mean()) == pytest.approx(lag, abs=0.03)
    assert abs(float((drawn[1:] * drawn[:-1]).mean())) < 0.02


def test_the_multiplier_of_unsure_climbs_while_the_output_leans_on_its_own_pixel():
    problem = Problem(observed=torch.rand(1, 1, 32, 32))
    live = UnknownNoiseSure(rate=0.01).start(problem, streams())
    pair = Pair(problem.observed, problem.observed)
    losses, errors = [], []
    for model in (Smoothing(1.0), Smoothing(1.0), Smoothing(0.0)):
        output = model(problem.observed, [0])
        losses.append(float(live(StepContext(0, [0], problem, pair, output, model, tuple))))
        errors.append(float((output - problem.observed).square().mean()))
    assert live.eta[0, 0] > 0
    assert losses[1] > losses[0] > errors[0]
    # Nothing of its own pixel is left: the multiplier has nothing to weigh but the scatter of one probe.
    assert losses[2] == pytest.approx(errors[2], abs=float(live.eta[0, 0]) * 0.1)


def test_losses_that_need_the_noise_complain_without_it():
    unknown = Problem(observed=torch.zeros(1, 1, 8, 8))
    unmeasured = Problem(observed=unknown.observed, noise=(Noise(read_std=0.1, correlation="row"),))
    for name in ("sure", "pure", "dip_sure", "esure"):
        assert any("needs the noise model" in word for word in METHODS[name].method.complaints(unknown))
        assert any("correlation" in word for word in METHODS[name].method.complaints(unmeasured))
    assert not list(METHODS["unsure"].method.complaints(unknown))
    blind = replace(METHODS["dip"].method, loss=Sure())
    assert any("show the observation itself" in word for word in blind.complaints(unmeasured))
