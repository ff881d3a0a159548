"""The risk of methods that draw random numbers: both ends of a difference quotient get the same draws."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ilcore.adapting.weights import SHIPPED
from ilcore.aims.choosing import Candidate
from ilcore.grammar.arrays import Streams
from ilcore.grammar.problem import Noise, Problem
from ilcore.grammar.recipe import DirectMethod
from ilcore.grammar.step_context import Restoration
from ilcore.grammar.stop_reason import StopReason
from ilcore.methods.catalogue import METHODS
from ilcore.planning.probing import Trial
from ilcore.running.carry_out import carry_out
from ilcore.running.run import Run
from tests.scenes import noisy, scene
from tests.standins import assembled, entry, planned, saved

AMOUNT, LEVEL = 0.05, 0.1


@dataclass(frozen=True)
class Shaken(DirectMethod):
    """Half of what is seen, and draws of its own on top: by Stein's formula its slope is a half."""

    def halo(self, space: int) -> tuple[int, ...]:
        return (0,) * space

    def own_complaints(self, problem: Problem):  # type: ignore[no-untyped-def]
        yield from ()

    def restore(self, problem: Problem, streams: Streams, *, start=None) -> Restoration:
        drawn = AMOUNT * streams.normal(problem.observed.shape[1:])
        count = len(problem.observed)
        return Restoration(
            image=problem.observed / 2 + drawn, steps=(0,) * count, stopped=(StopReason.applied("applied"),) * count
        )


@pytest.fixture(autouse=True)
def shaken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METHODS, "shaken", replace(entry("box"), name="shaken", method=Shaken()))


def risk_by_hand(observed: torch.Tensor, drawn: torch.Tensor, variance: float) -> float:
    """Stein's risk of half the observation plus draws: its slope is known."""
    return float((observed / 2 - drawn).square().mean()) - variance + variance


@dataclass(frozen=True)
class Smoothed(Shaken):
    """A mean of neighbours, and draws of its own on top: near enough to the truth to pass."""

    def restore(self, problem: Problem, streams: Streams, *, start=None) -> Restoration:
        done = super().restore(problem, streams)
        mean = F.avg_pool2d(problem.observed, 3, 1, 1, count_include_pad=False)
        return replace(done, image=done.image - problem.observed / 2 + mean)


@pytest.mark.medium
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_risk_of_a_tile_is_that_of_the_draws_of_its_image(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(METHODS, "shaken", replace(METHODS["shaken"], method=Smoothed()))
    clean = np.asarray(scene("cells", (64, 64)))
    source = saved(tmp_path, np.asarray(noisy(clean, std=LEVEL)))
    plan = planned(source, tmp_path / "out.ome.zarr", "shaken", noise_std=LEVEL, seed=seed)
    carry_out(plan)
    row = next(Run.of(plan).ledger.rows())
    span = plan.channels[0].high - plan.channels[0].low
    true = float(np.mean((assembled(plan).squeeze() - clean) ** 2)) / span**2
    assert row["used"] == "tile"
    # The scatter of the estimate: sqrt(2 / N) of twice the noise.
    assert row["risk"] == pytest.approx(true, abs=4 * (LEVEL / span) ** 2 / 64)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_risk_of_a_trial_knows_the_slope_whatever_the_seed(seed: int) -> None:
    observed = torch.from_numpy(np.asarray(noisy(scene("cells", (96, 96)), std=LEVEL))).float()[None, None]
    problem = Problem(observed=observed, noise=(Noise(read_std=LEVEL),))
    trial = Trial(Candidate(method="shaken", words="", seconds=(1, 1)), SHIPPED, seed)
    drawn = 2 * (trial.restored(problem) - observed / 2) / 2
    assert trial.look(problem).risk == pytest.approx(risk_by_hand(observed, drawn, LEVEL**2), rel=0.02)


@dataclass(frozen=True)
class Signed(Shaken):
    """Says of every pixel whether its own draw is above the middle: a probe that repeats draws would be seen."""

    def restore(self, problem: Problem, streams: Streams, *, start=None) -> Restoration:
        drawn = streams.signs(problem.observed.shape[1:])
        return Restoration(image=problem.observed * (1 + drawn), steps=(0,), stopped=(StopReason.applied("applied"),))


def test_a_probe_does_not_repeat_what_the_method_drew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METHODS, "shaken", replace(METHODS["shaken"], method=Signed()))
    seen: list[torch.Tensor] = []
    trial = Trial(Candidate(method="shaken", words="", seconds=(1, 1)), SHIPPED, seed=0)
    whole = trial.restored
    monkeypatch.setattr(trial, "restored", lambda problem: seen.append(problem.observed) or whole(problem))
    trial.look(Problem(observed=torch.zeros(1, 1, 32, 32), noise=(Noise(read_std=LEVEL),)))
    probe, drawn = (seen[1] - seen[0]).sign(), whole(Problem(observed=torch.ones(1, 1, 32, 32))) - 1
    assert abs(float((probe * drawn).mean())) < 0.2


def test_streams_for_another_purpose_are_the_same_whenever_asked_and_do_not_move_those_they_come_from() -> None:
    streams, fresh = Streams.of(0, "x", [(0,), (1,)]), Streams.of(0, "x", [(0,), (1,)])
    first = streams.apart("image").normal((4,))
    moved = streams.normal((4,))
    assert torch.equal(moved, fresh.normal((4,)))
    assert torch.equal(first, streams.apart("image").normal((4,)))
    assert torch.equal(first[[1]], streams.only([1]).apart("image").normal((4,)))
    assert not torch.equal(first, streams.apart("probe").normal((4,)))
    assert not torch.equal(first, moved)
