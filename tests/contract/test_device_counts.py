"""What a step asks of a GPU, counted without one: nothing is drawn on the host, and the host hardly ever waits."""

import pytest

from ilcore import fit
from ilcore.benchmark.counting import Counts, counted
from tests.claimed_device import claimed_device
from tests.on_device import moved, problem_of, start_of, streams
from tests.quick import quick

pytestmark = pytest.mark.slow

#: Another stop, readout or descent each; every look of their stops falls into the steps that are counted.
FITTED = ("zs_n2n", "n2v", "r2r", "dip")
SHORT, LONG = 2, 12


def a_step(name: str, tiles: int) -> tuple[float, float, float]:
    """Return launches, reads and bytes drawn on the host of one step."""
    few, many = (_of(name, tiles, steps) for steps in (SHORT, LONG))
    apart = many - few
    return tuple(n / (LONG - SHORT) for n in (apart.launches, apart.host_reads, apart.host_drawn_bytes))


def _of(name: str, tiles: int, steps: int) -> Counts:
    entry = quick(name).with_steps(steps)
    with claimed_device() as device:
        problem = moved(problem_of((tiles, 1, 16, 16)), device)
        with counted(device) as counts:
            fit.restore(entry.method, problem, streams(name, tiles), start=start_of(entry), strategy="grouped")
    return counts


@pytest.mark.parametrize("name", FITTED)
def test_a_step_of_many_tiles_costs_as_few_launches_and_no_waiting(name):
    two, eight = a_step(name, 2), a_step(name, 8)
    assert eight[0] < 1.2 * two[0], "launches grow with the tiles"
    assert eight[1] <= 0.5, "the host waits for numbers"
    assert eight[2] == 0, "numbers are drawn on the host"
