"""An instrument that delivers other scans than it used to is noticed; one that always varied is not."""

import math
from pathlib import Path

import numpy as np
import pytest

from ilcore.archives.drift import ENOUGH, drift
from ilcore.archives.scan_registry import ScanRegistry, ScanState

NAME = "noise of channel 0"


def seen(*values: float) -> list[dict[str, float]]:
    return [{NAME: value} for value in values]


def test_twice_the_noise_is_told_with_both_numbers() -> None:
    words = drift(seen(10, 10.5, 9.8, 10.1, 9.9, 10.2), {NAME: 20.0})
    assert NAME in words
    assert "20" in words
    assert "10.05 in 6 earlier scans" in words


@pytest.mark.parametrize("value", [9.5, 11.0, 12.0])
def test_what_is_usual_is_not(value: float) -> None:
    assert drift(seen(10, 10.5, 9.8, 10.1, 9.9, 10.2), {NAME: value}) == ""


def test_less_noise_is_drift_too() -> None:
    assert NAME in drift(seen(10, 10.5, 9.8, 10.1, 9.9), {NAME: 4.0})


def test_an_instrument_that_varies_widely_is_given_more_room() -> None:
    varied = np.exp(np.random.default_rng(0).normal(math.log(10), 0.5, 30))
    assert drift(seen(*varied), {NAME: 25.0}) == ""
    assert drift(seen(*varied), {NAME: 400.0})


def test_few_scans_say_nothing() -> None:
    assert drift(seen(*[10.0] * (ENOUGH - 1)), {NAME: 100.0}) == ""
    assert drift(seen(*[10.0] * ENOUGH), {NAME: 100.0})


@pytest.mark.parametrize("value", [0.0, -1.0])
def test_what_has_no_noise_is_not_compared(value: float) -> None:
    assert drift(seen(*[10.0] * 9), {NAME: value}) == ""
    assert drift(seen(*[value] * 9), {NAME: 10.0}) == ""


def test_books_remember_an_instrument(tmp_path: Path) -> None:
    books = ScanRegistry.of(str(tmp_path / "books"))
    common = {"target": "t", "instrument": "a/b", "standing": "done", "stamp": "", "policy": "", "night": "n"}
    for number in range(5):
        books.remember(ScanState(source=f"s{number}", **common), {NAME: float(number)}, 3)
    assert books.history("a/b") == [{NAME: 2.0}, {NAME: 3.0}, {NAME: 4.0}]
    assert books.history("other") == []
    # The same scan again, changed: in place of what it was.
    books.remember(ScanState(source="s3", **common), {NAME: 30.0}, 3)
    assert books.history("a/b") == [{NAME: 2.0}, {NAME: 4.0}, {NAME: 30.0}]


def test_books_that_somebody_spoilt_are_begun_anew(tmp_path: Path) -> None:
    books = ScanRegistry.of(str(tmp_path / "books"))
    common = {"target": "t", "instrument": "a", "standing": "done", "stamp": "", "policy": "", "night": "n"}
    books.remember(ScanState(source="s", **common), {NAME: 1.0}, 3)
    [file] = (tmp_path / "books" / "instruments").iterdir()
    file.write_text("{")
    assert books.history("a") == []
    books.remember(ScanState(source="s", **common), {NAME: 1.0}, 3)
    assert books.history("a") == [{NAME: 1.0}]
