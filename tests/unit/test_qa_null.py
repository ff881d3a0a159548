"""The null test: what has a shape where there was only noise is caught, whatever the noise; honest restorers pass."""

import numpy as np
import pytest
import torch

from ilcore.grammar.arrays import Streams
from ilcore.grammar.draws import noise_on
from ilcore.grammar.problem import Noise
from ilcore.qa.null import law_of, null_numbers, worst_channel
from ilcore.qa.verdict import NULL_LIMITS, RUN_LIMITS, judge
from tests.bench.null import BAD, LAWS, Fields, copes

#: Restorers that take no time; `python -m tests.bench.null` tries the others.
HONEST = ("adapted", "photographs", "nlm", "tv")


def verdict_on(fields, restored, confidence=1.0):
    """Return the verdict and the checks that are not passed."""
    report = judge(
        {**fields.numbers(restored), "noise confidence": confidence}, limits=NULL_LIMITS[law_of(fields.noise)]
    )
    return report.verdict, {finding.check for finding in report.findings if finding.verdict != "pass"}


@pytest.fixture(scope="module", params=LAWS)
def fields(request):
    return Fields(request.param, seed=11)


@pytest.mark.medium
@pytest.mark.parametrize("name", HONEST)
def test_honest_restorers_pass(name, fields):
    if not copes(name, fields.noise):
        return
    assert verdict_on(fields, fields.through(name)) == ("pass", set())


def test_a_flat_answer_passes(fields):
    assert verdict_on(fields, 0 * fields.seen + fields.levels[:, None, None, None])[0] == "pass"


@pytest.mark.parametrize("name", BAD)
def test_what_has_a_shape_is_caught(name, fields):
    verdict, marked = verdict_on(fields, BAD[name](fields))
    assert verdict != "pass"
    wanted = {
        "smoothed over 0.7": "null worms", "smoothed over 1": "null worms", "nlm told a third": "null noise",
        "tv told a third": "null noise", "sharpened": "null lump", "blobs invented": "null lump",
        "nothing done": "null noise", "a quarter of the noise brighter": "null bias",
    }[name]  # fmt: skip
    assert wanted in marked


def test_what_noise_does_not_hold_refuses_the_run(fields):
    flat = fields.levels[:, None, None, None]
    for restored in (BAD["sharpened"](fields), flat + 2 * (BAD["blobs invented"](fields) - flat)):
        assert verdict_on(fields, restored)[0] == "fail"
        assert verdict_on(fields, restored, confidence=0.1)[0] == "warn", "the noise may not be so at all"


def test_the_worst_channel_counts_against_the_limits_of_its_own_noise():
    numbers = dict.fromkeys(NULL_LIMITS["white"], 0.0)
    found = worst_channel([
        ("white", numbers | {"null noise": 0.2, "null bias": -0.1}), ("lines", numbers | {"null noise": 0.3}),
    ])  # fmt: skip
    assert found["null noise"] == (0.2, "white")
    assert found["null bias"] == (-0.1, "white")


def test_the_gate_knows_the_checks():
    assert set(NULL_LIMITS["white"]) < set(RUN_LIMITS)
    assert judge({"null worms": 0.5}, {"null worms": (0, 0.4)}).verdict == "fail"
    assert [law_of(noise) for noise in (
        Noise(read_std=1), Noise(gain=1), Noise(correlation="row"), Noise(correlation="column"),
        Noise(gain=1, correlation="isotropic"), Noise(read_std=1, correlation="unknown"),
    )] == ["white", "counts", "lines", "lines", "isotropic", "white"]  # fmt: skip


@pytest.mark.parametrize("law", LAWS)
def test_noise_is_drawn_from_its_law(law):
    noise, levels = LAWS[law], torch.tensor([0.1, 0.8])
    flat = levels[:, None, None, None].expand(-1, 1, 300, 300)
    drawn = noise_on(flat, [noise], Streams.of(0, "law", [(0,), (1,)])).double()
    apart = (drawn - flat).numpy()[:, 0]
    variance = np.array([noise.variance(float(level)) for level in levels])
    np.testing.assert_allclose((apart**2).mean((1, 2)), variance, rtol=0.06)
    np.testing.assert_allclose(apart.mean((1, 2)) / np.sqrt(variance), 0, atol=0.03)
    lags = [
        (apart[:, 1:] * apart[:, :-1]).mean() / variance.mean(),
        (apart[:, :, 1:] * apart[:, :, :-1]).mean() / variance.mean(),
    ]
    np.testing.assert_allclose(lags, noise.lags, atol=0.03)
    again = noise_on(flat, [noise], Streams.of(0, "law", [(0,), (1,)])).double()
    np.testing.assert_array_equal(drawn, again)


def test_counts_are_counted():
    flat = torch.full((1, 1, 200, 200), 0.15)
    drawn = noise_on(flat, [Noise(gain=0.1, offset=0.05)], Streams.of(0, "law", [(0,)])).double().numpy()
    np.testing.assert_allclose((drawn - 0.05) / 0.1, np.round((drawn - 0.05) / 0.1), atol=1e-4)
    apart = drawn - drawn.mean()
    assert (apart**3).mean() / apart.std() ** 3 == pytest.approx(1, abs=0.1), "one count a pixel is skewed by 1"


def test_where_there_is_no_light_there_is_nothing_to_compare_with():
    seen = np.full((2, 1, 48, 48), 0.1)
    numbers = null_numbers(seen, seen + 1e-5, np.array([0.1, 0.1]), np.array([0.002, 0.002]))
    assert np.isfinite(list(numbers.values())).all()
    assert judge(numbers).verdict == "pass"
