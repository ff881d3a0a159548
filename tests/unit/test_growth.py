"""What shares of the steps bring is read off the loss curves, and decides where a short night spends its seconds."""

import math
from pathlib import Path

import numpy as np
import pytest

from ilcore.archives.allocating import SHARES, budget_options
from ilcore.archives.gain_curve import gain_curve_of
from ilcore.archives.scan_registry import ScanRegistry
from tests.standins import planned

STEPS = np.linspace(0, 1000, 33)


def falling(rate: float, noise: float = 0.0) -> list[tuple[int, float]]:
    loss = 0.1 + np.exp(-rate * STEPS / 1000) + np.random.default_rng(0).normal(0, noise, len(STEPS))
    return list(zip(STEPS.astype(int).tolist(), loss.tolist(), strict=True))


@pytest.mark.parametrize("rate", [3.0, 10.0])
def test_an_exponential_is_read_as_what_it_is(rate: float) -> None:
    found = gain_curve_of([falling(rate)], SHARES)
    assert found is not None
    # The end is the median of the last quarter, so nearly all of the fall is what is divided by.
    expected = [(1 - math.exp(-rate * share)) / (1 - math.exp(-rate * 0.875)) for share in SHARES]
    assert found == pytest.approx(np.clip(expected, 0, 1), abs=0.06)


def test_noise_of_batches_does_not_hide_it() -> None:
    quiet, loud = gain_curve_of([falling(8.0)], SHARES), gain_curve_of([falling(8.0, 0.05)] * 3, SHARES)
    assert quiet is not None
    assert loud == pytest.approx(quiet, abs=0.15)
    assert list(loud) == sorted(loud)


@pytest.mark.parametrize(
    "curve",
    [
        [],
        [(0, 1.0), (10, 0.5)],
        [(n, 1.0) for n in range(20)],
        [(n, float(n)) for n in range(20)],
        [(0, math.nan)] * 20,
    ],
)
def test_what_tells_nothing_is_left_out(curve: list[tuple[int, float]]) -> None:
    assert gain_curve_of([curve], SHARES) is None
    assert gain_curve_of([curve, falling(5.0)], SHARES) == gain_curve_of([falling(5.0)], SHARES)


def test_books_keep_the_median_of_the_last_scans(tmp_path: Path) -> None:
    books = ScanRegistry.of(str(tmp_path / "books"))
    assert books.growth("zs_n2n-tile", 3) is None
    for first in (0.0, 0.5, 0.6, 0.7):
        books.learn_growth("zs_n2n-tile", [first, 0.8, 1.0], 3)
    assert books.growth("zs_n2n-tile", 3) == (0.6, 0.8, 1.0)
    # Rows of an earlier version, with other shares.
    assert books.growth("zs_n2n-tile", 4) is None


def test_a_method_that_learns_late_is_worth_its_last_steps(tmp_path: Path) -> None:
    np.save(tmp_path / "scan.npy", np.random.default_rng(0).normal(size=(64, 64)))
    plan = planned(tmp_path / "scan.npy", tmp_path / "out.ome.zarr", "zs_n2n", axes="yx", tile=(1, 32, 32))
    early, late = (budget_options(plan, 1, growth=growth) for growth in ((0.9, 0.95, 1.0), (0.1, 0.3, 1.0)))
    assert [rung.seconds > 0 for rung in early] == [True] * len(SHARES)
    assert early[-1].gain == pytest.approx(late[-1].gain)
    assert early[0].gain > 5 * late[0].gain
