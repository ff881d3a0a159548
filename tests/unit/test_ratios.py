"""Factors between source and result: p/q with a small q, or a sentence that tells the nearest."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ilcore.aims.ratios import LARGEST_Q, factors_of, finer, ratio_of, steps, whole
from ilcore.grammar.errors import BadInput


@pytest.mark.parametrize(
    ("given", "ratio"),
    [(2, "2"), (2.0, "2"), (1.5, "3/2"), ("3/2", "3/2"), (" 1.25 ", "5/4"), ("11/8", "11/8"), (Fraction(7, 3), "7/3"),
     (4 / 3, "4/3"), (0.3 / 0.1, "3"), (1, "1"), (np.float32(2.5), "5/2"), (np.int64(3), "3"), ("2e0", "2")],
)  # fmt: skip
def test_small_ratios_are_taken(given, ratio):
    assert str(ratio_of(given)) == ratio


@pytest.mark.parametrize(
    ("given", "nearest"),
    [(1.37, "11/8"), ("1.37", "11/8"), (1.34, "4/3"), (2.01, "2"), ("10/9", "9/8"), (1.0001, "1"), (3.14159, "22/7")],
)
def test_others_are_refused_with_the_nearest_that_is(given, nearest):
    with pytest.raises(BadInput, match=f"got {given}; the nearest is {nearest}$"):
        ratio_of(given)


@pytest.mark.parametrize("given", [0.5, 0, -2, "7/8", "-1"])
def test_a_result_is_never_coarser(given):
    with pytest.raises(BadInput, match="at least 1"):
        ratio_of(given)


@pytest.mark.parametrize("given", ["two", "", "1/0", float("nan"), float("inf"), None, True, [2], "2 x"])
def test_what_is_no_number_is_refused(given):
    with pytest.raises(BadInput, match="must be a number"):
        ratio_of(given)


@given(st.floats(1, 100))
def test_the_nearest_is_as_near_as_any(value):
    try:
        found = ratio_of(value)
    except BadInput as refused:
        found = Fraction(str(refused).rsplit(" ", 1)[1])
    assert found.denominator <= LARGEST_Q
    best = min(abs(Fraction(value) - Fraction(round(value * q), q)) for q in range(1, LARGEST_Q + 1))
    assert abs(Fraction(value) - found) <= best + Fraction(1, 10**7)


def test_one_number_holds_for_all_axes_of_space():
    assert factors_of(2, 2) == (1, 2, 2)
    assert factors_of("3/2", 3) == (Fraction(3, 2),) * 3
    assert factors_of((2, 1, 1), 3) == (2, 1, 1)
    assert factors_of(np.array([2, 3]), 2) == (1, 2, 3)


@pytest.mark.parametrize(
    ("scale", "space", "words"),
    [((2, 2, 2), 2, "each of y, x, got 3"), ((2,), 3, "each of z, y, x, got 1"), ((), 2, "got 0"), (1, 2, "above 1"),
     ((1, 1, 1), 3, "above 1"), ((2, 0.5), 2, "at least 1"), ((2, 1.37), 2, "nearest is 11/8")],
)  # fmt: skip
def test_other_axes_are_refused(scale, space, words):
    with pytest.raises(BadInput, match=words):
        factors_of(scale, space)


def test_what_needs_whole_factors_says_so():
    assert whole(factors_of((2, 1, 3), 3)) == (2, 1, 3)
    with pytest.raises(BadInput, match="got 1, 3/2, 3/2; take 1, 2, 2"):
        whole(factors_of(1.5, 2))


def test_lengths_on_the_finer_grid():
    assert steps(factors_of((2, 1.5), 2)) == (1, 1, 2)
    assert finer(6, Fraction(3, 2)) == 9
    with pytest.raises(BadInput, match="multiple of 2 .* got 7; cut a region of 6"):
        finer(7, Fraction(3, 2))
