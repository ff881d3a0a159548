"""What a step asks of a GPU is counted without one, on narrow networks that ask as much as wide ones."""

from dataclasses import replace

import pytest

from ilcore.benchmark.counting import Counts
from ilcore.methods.catalogue import METHODS
from tests.bench import launches

pytestmark = pytest.mark.medium


def test_narrow_networks_ask_as_much_as_those_of_the_catalogue(monkeypatch: pytest.MonkeyPatch) -> None:
    def step() -> Counts:
        return launches.counts("zs_n2n", 2, 3) - launches.counts("zs_n2n", 2, 2)

    narrow = step()
    monkeypatch.setattr(launches, "narrow", lambda entry: entry)
    assert step() == narrow != Counts()


def test_a_method_that_fails_is_a_line_and_the_others_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METHODS, "broken", replace(METHODS["bicubic"], tasks=frozenset({"denoise"})))
    broken, whole = (launches.line(name, (1, 2)) for name in ("broken", "nlm"))
    assert "Error" in broken[1]
    assert whole[:2] == ["`nlm`", "whole"]
    assert len(broken) == len(whole) == 8
    assert "| `nlm` | whole |" in launches.text([broken, whole], (1, 2), "python -m tests.bench.launches")
