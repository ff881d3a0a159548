"""Noise that is drawn has the variance and correlation of its model."""

import pytest
import torch

from ilcore.degradations.noise import add_noise, correlated_normal
from ilcore.grammar.arrays import Streams
from ilcore.grammar.errors import BadInput
from ilcore.grammar.problem import Noise

CLEAN = torch.linspace(0.1, 1, 4)[:, None, None, None].expand(4, 1, 128, 128).double().contiguous()


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def lag(error, axis):
    error = error - error.mean()
    size = error.shape[axis]
    product = error.narrow(axis, 1, size - 1) * error.narrow(axis, 0, size - 1)
    return float(product.mean() / error.square().mean())


@pytest.mark.parametrize("correlation", ["white", "row", "column", "isotropic"])
@pytest.mark.parametrize("model", [Noise(read_std=0.1), Noise(gain=0.02, read_std=0.03), Noise(gain=0.05, offset=0.05)])
def test_variance_follows_the_model(model, correlation):
    model = Noise(gain=model.gain, read_std=model.read_std, offset=model.offset, correlation=correlation)
    error = add_noise(CLEAN, model, seeded()) - CLEAN
    for row in range(4):
        level = float(CLEAN[row].mean())
        assert float(error[row].std()) == pytest.approx(model.std_at(level), rel=0.05)
        assert float(error[row].mean()) == pytest.approx(0, abs=0.05 * model.std_at(level))


@pytest.mark.parametrize(
    ("correlation", "down", "right"),
    [("white", 0, 0), ("row", 0, 0.6), ("column", 0.6, 0), ("isotropic", 0.6, 0.6)],
)
def test_correlation_runs_along_the_named_axes(correlation, down, right):
    error = add_noise(CLEAN, Noise(read_std=1.0, correlation=correlation), seeded()) - CLEAN
    assert lag(error, -2) == pytest.approx(down, abs=0.05)
    assert lag(error, -1) == pytest.approx(right, abs=0.05)


def test_counts_are_whole():
    noisy = add_noise(CLEAN, Noise(gain=0.05), seeded())
    assert torch.allclose((noisy / 0.05).round() * 0.05, noisy)


def test_darker_than_zero_light_stays():
    clean = torch.full((1, 1, 8, 8), -3.0)
    assert torch.equal(add_noise(clean, Noise(gain=0.1, offset=1.0), seeded()), clean)


def test_same_seed_same_noise_and_streams_ignore_the_batch():
    streams = Streams.of(3, "noise", [(0,), (1,)])
    both = add_noise(CLEAN[:2], Noise(gain=0.02, read_std=0.1), streams)
    alone = add_noise(CLEAN[1:2], Noise(gain=0.02, read_std=0.1), Streams.of(3, "noise", [(1,)]))
    assert torch.equal(both[1:], alone)
    assert torch.equal(add_noise(CLEAN, Noise(read_std=1), seeded(4)), add_noise(CLEAN, Noise(read_std=1), seeded(4)))


def test_each_channel_has_its_model():
    clean = torch.zeros(1, 2, 64, 64)
    error = add_noise(clean, [Noise(read_std=0.1), Noise(read_std=1.0)], seeded())
    assert float(error[:, 1].std() / error[:, 0].std()) == pytest.approx(10, rel=0.1)
    with pytest.raises(BadInput, match="got 1 for 2 channels"):
        add_noise(clean, [Noise()], seeded())


def test_correlated_noise_has_unit_variance_up_to_the_border():
    field = correlated_normal((400, 1, 12, 12), (-2, -1), seeded(), 1.5, torch.float64)
    assert field.shape == (400, 1, 12, 12)
    assert float(field[..., 0, 0].std()) == pytest.approx(1, abs=0.12)
    assert float(field[..., 6, 6].std()) == pytest.approx(1, abs=0.12)


def test_volumes_work():
    clean = torch.zeros(1, 1, 8, 32, 32)
    error = add_noise(clean, Noise(read_std=1, correlation="isotropic"), seeded())
    assert error.shape == clean.shape
    assert lag(error, -3) == pytest.approx(0, abs=0.05)
