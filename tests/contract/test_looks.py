"""How often the host looks at the numbers of a device changes nothing of what comes out."""

from dataclasses import replace

import pytest
import torch

from ilcore import fit
from tests.on_device import problem_of, start_of, streams
from tests.quick import quick

#: One for each kind of end and readout: a budget, held-out pixels, a vote, samples, a guard that steps back.
KINDS = {
    "zs_n2n": {}, "adapted": {}, "n2v": {"stop.every": 3, "stop.patience": 9}, "dip_sgld": {}, "r2r": {},
    "dip": {"stop": "vote"}, "esure": {},
}  # fmt: skip
STEPS = 12


def done(name, look, problem, **more):
    entry = quick(name, steps=STEPS, **KINDS[name])
    given = streams(name, len(problem.observed))
    return fit.fit(entry.method, problem, given, start=start_of(entry), look=look, **more)


def _told(restoration):
    # In words, in which no number is the same as itself too.
    return repr([getattr(restoration, name) for name in ("steps", "stopped", "curves", "risk", "risk_before")])


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("shared", [False, True], ids=["tile by tile", "one model"])
def test_results_are_equal_however_seldom_the_host_looks(name, shared):
    problem = problem_of((3, 1, 16, 16))
    broken = problem.observed.clone()
    broken[1, 0, 4, 4] = torch.inf
    broken = broken if not shared else problem.observed
    wanted, *others = (
        done(name, look, replace(problem, observed=broken), shared=shared, batch=2) for look in (1, 5, 1000)
    )
    for other in others:
        assert torch.equal(other.image, wanted.image)
        assert _told(other) == _told(wanted)
    assert [reason.has_diverged for reason in wanted.stopped] == [False, not shared, False]


def test_a_row_that_diverges_between_two_looks_ended_where_it_did():
    problem = problem_of((2, 1, 16, 16))
    entry = quick("zs_n2n", steps=STEPS)
    entry = replace(entry, method=replace(entry.method, descent=replace(entry.method.descent, learning_rate=1e18)))
    one, other = (fit.fit(entry.method, problem, streams("zs_n2n", 2), look=look) for look in (1, 7))
    assert 0 < one.steps[0] < STEPS
    assert _told(one) == _told(other)
    assert torch.equal(one.image, other.image)
