"""The bound on the error must be true as often as it says, and there must be none where its assumptions fail."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from ilcore.grammar.problem import Noise
from tests.bench import coverage
from tests.bench.coverage import Draw, by_name, drawn, gaussian, generated

#: A cheap restorer and one whose slope is anything but constant.
CHEAP = {"Gaussian filter": gaussian, "wavelet": by_name("wavelet")}
DRAWS, SIDE = 100, 96


@cache
def draws_of(law: str, *, told: bool, count: int = DRAWS, side: int = SIDE) -> list[Draw]:
    return list(drawn(law, generated(count, side), CHEAP, told=told))


def share(draws: list[Draw]) -> float:
    return float(np.mean([draw.holds for draw in draws if draw.bound.error is not None]))


@pytest.mark.parametrize("law", ["white, 10 %", "counts, 50 at most"])
def test_the_bound_holds_as_often_as_it_says_where_the_noise_is_known(law: str) -> None:
    """If 95 % hold, then of a hundred draws 88 or more do, and not all, in all but one case in a hundred."""
    draws = draws_of(law, told=True)
    assert sum(draw.bound.error is not None for draw in draws) > 0.4 * DRAWS
    assert 0.88 <= share(draws) <= 0.995


def test_the_bound_holds_where_the_level_of_the_noise_is_measured() -> None:
    draws = draws_of("white, 10 %", told=False, count=48, side=192)
    assert sum(draw.bound.error is not None for draw in draws) > 24
    assert share(draws) >= 0.85


def test_the_estimate_is_as_uncertain_as_it_says() -> None:
    """Of errors in standard errors the spread is 1: twice as much or half of it would be a wrong formula."""
    off = [
        (draw.bound.error.mean - draw.error) / draw.bound.error.variance**0.5
        for draw in draws_of("white, 10 %", told=True)
        if draw.bound.error is not None
    ]
    assert abs(np.mean(off)) < 0.4
    assert 0.75 < np.std(off) < 1.25


def test_a_level_that_is_wrong_is_noticed_and_not_published_as_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise is told to be a fifth stronger than it is: every error would be said to be far too small."""
    found = coverage.observed_of

    def weaker(clean: coverage.Values, law: Noise, blur: float, seed: int) -> coverage.Values:
        return found(clean, replace(law, read_std=law.read_std / 1.2), blur, seed)

    monkeypatch.setattr(coverage, "observed_of", weaker)
    draws = draws_of.__wrapped__("white, 10 %", told=True, count=24, side=192)
    # Where hardly anything is flat nothing contradicts what is told.
    assert np.mean([draw.bound.error is None for draw in draws]) > 0.6
    assert any("less noise than was told" in draw.bound.why_not for draw in draws)


def test_correlated_noise_has_no_bound_and_says_why() -> None:
    for draw in draws_of("correlated", told=False, count=6, side=192):
        assert draw.bound.least_db is None
        assert "correlated" in draw.bound.sentence
