"""Stein's estimate against the true error, which it never sees."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from ilcore import fit
from ilcore.grammar.arrays import Streams
from ilcore.grammar.problem import Noise, Problem
from ilcore.methods.catalogue import METHODS
from ilcore.methods.entry import configure
from ilcore.qa.risk import risk_sure
from tests.scenes import noisy, scene

SIDE, TILES = 160, 4


def smoothing(width):
    def predict(tiles):
        blurred = ndimage.gaussian_filter(tiles.numpy(), (0, 0, width, width))
        return torch.from_numpy(blurred)

    return predict


def problem(kind="cells", **law):
    clean = np.stack([scene(kind, (SIDE, SIDE), seed) for seed in range(TILES)])[:, None]
    observed = np.stack([noisy(one, seed=seed, **law) for seed, one in enumerate(clean)])
    noise = (Noise(gain=law.get("gain", 0.0), read_std=law.get("std", 0.0), offset=law.get("offset", 0.0)),)
    return torch.from_numpy(clean), torch.from_numpy(observed), noise


def streams(count=TILES, seed=0):
    return Streams.of(seed, "risk", [(n,) for n in range(count)])


@pytest.mark.medium
@pytest.mark.parametrize("width", [0.6, 1.0, 2.0, 4.0])
@pytest.mark.parametrize(
    "law", [{"std": 0.05}, {"std": 0.2}, {"std": 0.02, "gain": 0.01}, {"std": 0.01, "gain": 0.05, "offset": 0.02}]
)
def test_the_estimate_is_within_five_percent_of_the_true_error(width, law):
    clean, observed, noise = problem(**law)
    predict = smoothing(width)
    true = float((predict(observed) - clean).square().mean())
    estimated = float(risk_sure(predict, observed, noise, streams(), probes=2).mean())
    # Where almost nothing is left of the error, the estimate's own scatter counts: sqrt(2 / N) noise variances.
    variance = float((observed - clean).square().mean())
    assert estimated == pytest.approx(true, rel=0.05, abs=2 * variance * np.sqrt(2 / clean.numel()))


@pytest.mark.medium
@pytest.mark.parametrize("std", [0.01, 0.03, 0.1])
def test_the_slope_of_a_restorer_that_bends_within_the_noise_is_measured_within_it(std):
    """Non-local means by a hundredth of the range: at 3 % noise the risk was a quarter too high."""
    clean, observed, noise = problem("edges", std=std)
    method = configure(METHODS["nlm"], {}).method

    def predict(tiles):
        return fit.restore(method, Problem(observed=tiles, noise=noise), streams(len(tiles))).image

    true = float((predict(observed) - clean).square().mean())
    found = float(risk_sure(predict, observed, noise, streams(), probes=2).mean())
    assert found == pytest.approx(true, rel=0.05, abs=0.02 * std**2)


def test_doing_nothing_costs_exactly_the_noise():
    _, observed, noise = problem(std=0.1)
    found = risk_sure(lambda tiles: tiles, observed, noise, streams())
    torch.testing.assert_close(found, torch.full((TILES,), 0.01), rtol=1e-2, atol=0)


def test_a_tile_has_the_same_risk_alone_as_in_company():
    _, observed, noise = problem(std=0.1)
    predict, everyone = smoothing(1.0), streams()
    together = risk_sure(predict, observed, noise, everyone)
    alone = risk_sure(predict, observed[2:3], noise, streams().only([2]))
    torch.testing.assert_close(alone, together[2:3])


def test_the_same_seed_gives_the_same_risk():
    _, observed, noise = problem(std=0.1)
    first, second = (risk_sure(smoothing(1.0), observed, noise, streams(seed=5)) for _ in range(2))
    assert torch.equal(first, second)


def test_values_that_are_no_data_do_not_count():
    clean, observed, noise = problem(std=0.1)
    trusted = torch.ones_like(observed, dtype=torch.bool)
    trusted[..., : SIDE // 2] = False
    spoilt = torch.where(trusted, observed, torch.tensor(0.3))
    predict = smoothing(0.8)
    found = float(risk_sure(predict, spoilt, noise, streams(), trusted=trusted, probes=2).mean())
    true = float((predict(spoilt) - clean)[trusted].square().mean())
    assert found == pytest.approx(true, rel=0.1)
    assert float(risk_sure(predict, spoilt, noise, streams()).mean()) != pytest.approx(true, rel=0.1)


def test_volumes_and_channels_have_their_own_noise():
    clean = torch.from_numpy(np.stack([scene("cells", (8, 40, 40), seed) for seed in range(2)])[None])
    stds = torch.tensor([0.05, 0.2]).reshape(1, 2, 1, 1, 1)
    observed = clean + stds * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))

    def predict(tiles):
        return torch.from_numpy(ndimage.gaussian_filter(tiles.numpy(), (0, 0, 0.7, 0.7, 0.7)))

    noise = (Noise(read_std=0.05), Noise(read_std=0.2))
    true = float((predict(observed) - clean).square().mean())
    assert float(risk_sure(predict, observed, noise, streams(1), probes=4)[0]) == pytest.approx(true, rel=0.1)
