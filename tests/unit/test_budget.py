"""Hours of all workers together, on a clock of our own."""

import pytest

from tasks.executors import budget as budget_module
from tasks.executors.budget import EVERY, Budget
from tasks.executors.shutdown import OutOfTime, is_asked, stopped, while_left


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(budget_module, "time", clock)
    return clock


def test_every_worker_costs_while_it_is_there(clock: Clock) -> None:
    workers = [2]
    budget = Budget(1000.0, lambda: workers[0], _looked=clock.now)
    assert budget.seconds == 500
    clock.now += 100
    assert budget.look() == 800
    workers[0] = 8
    clock.now += 10
    # Those that came since the last count are charged from this one on.
    assert budget.look() == 780
    clock.now += 10
    assert budget.look() == 700
    assert budget.seconds == pytest.approx(700 / 8)


def test_workers_are_not_counted_at_every_tile(clock: Clock) -> None:
    counted = []
    budget = Budget(1e6, lambda: counted.append(1) or 1, _looked=clock.now)
    for _ in range(100):
        clock.now += EVERY / 50
        budget.look()
    assert len(counted) == 2


def test_when_nothing_is_left_no_new_work_is_begun(clock: Clock) -> None:
    budget = Budget(10.0, lambda: 4, _looked=clock.now)
    with while_left(budget.look):
        assert not is_asked()
        clock.now += 3
        assert is_asked()
        assert isinstance(stopped(), OutOfTime)
    assert not is_asked()
