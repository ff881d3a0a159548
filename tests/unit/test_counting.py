"""What a computation asks of a device is counted, on a CPU as on a GPU."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from ilcore import fit
from ilcore.benchmark.counting import Counts, counted
from ilcore.grammar.arrays import Streams
from ilcore.methods.catalogue import find
from ilcore.methods.entry import configure
from tests.claimed_device import claimed_device
from tests.on_device import moved, problem_of

pytestmark = pytest.mark.medium

VALUES = torch.arange(20.0).reshape(4, 5)
PLACES = torch.tensor([0, 1])
MASK = VALUES > 7
DRAWN: dict[str, tuple[Callable[[torch.Generator], object], int]] = {
    "normal": (lambda g: torch.randn(3, generator=g), 12),
    "uniform, in place": (lambda g: torch.empty(5).uniform_(generator=g), 20),
    "permutation": (lambda g: torch.randperm(6, generator=g), 48),
    "integers": (lambda g: torch.randint(9, (2,), generator=g), 16),
    "events": (lambda g: torch.bernoulli(torch.full((7,), 0.5), generator=g), 28),
    "counts": (lambda g: torch.poisson(VALUES, generator=g), 80),
    "binomial": (lambda g: torch.binomial(VALUES, torch.full_like(VALUES, 0.5), generator=g), 80),
    "places": (lambda g: torch.multinomial(VALUES[0], 2, generator=g), 16),
    "drop-out": (lambda g: torch.nn.functional.dropout(VALUES, 0.5), 80),
    "nothing": (lambda g: torch.zeros(9), 0),
}


def of(work: Callable[[], object], device: str = "cpu") -> Counts:
    with counted(device) as counts:
        work()
    return counts


@pytest.mark.parametrize(
    ("work", "reads"),
    [
        (lambda: float(VALUES.sum()), 1),
        (lambda: bool((VALUES > 3).any()), 1),
        (lambda: VALUES[0, 0].item(), 1),
        (VALUES.tolist, 1),
        (VALUES.numpy, 1),
        (lambda: np.asarray(VALUES), 1),
        (VALUES.cpu, 1),
        (lambda: VALUES[MASK], 1),
        (lambda: VALUES.clone().__setitem__(MASK, 0.0), 1),
        (MASK.nonzero, 1),
        (lambda: torch.equal(VALUES, VALUES), 1),
        (lambda: torch.unique(VALUES), 1),
        (lambda: VALUES[PLACES], 0),
        (lambda: VALUES[[0, 1]], 0),
        (lambda: torch.where(MASK, VALUES, 0.0), 0),
        (lambda: VALUES.double().mean(), 0),
    ],
)
def test_a_read_is_whatever_the_host_waits_for(work: Callable[[], object], reads: int) -> None:
    assert of(work).host_reads == reads


@pytest.mark.parametrize(
    ("work", "launches"),
    [
        (lambda: VALUES + 1, 1),
        (lambda: VALUES.T @ VALUES, 1),
        (lambda: VALUES.T.reshape(20), 1),
        (lambda: VALUES.reshape(20)[None].expand(3, -1).detach().mT, 0),
        (lambda: (torch.empty(4), torch.empty_like(VALUES), VALUES.new_empty(2)), 0),
        (lambda: torch.stack([VALUES, VALUES]), 1),
        (lambda: VALUES.clone().add_(1).mul_(2), 3),
    ],
)
def test_a_launch_is_an_operator_that_computes(work: Callable[[], object], launches: int) -> None:
    assert of(work).launches == launches


def test_the_backward_pass_counts_too() -> None:
    weight = torch.ones(5, requires_grad=True)
    loss = (VALUES * weight).sum()
    assert of(loss.backward).launches >= 2


@pytest.mark.parametrize("what", DRAWN)
def test_what_is_drawn_on_the_host_is_told_in_bytes(what: str) -> None:
    work, size = DRAWN[what]
    assert of(lambda: work(torch.Generator())).host_drawn_bytes == size


def test_on_a_device_only_what_touches_it_counts() -> None:
    with claimed_device() as device:
        there = VALUES.to(device)
        told = str(device)
        assert of(lambda: (float(VALUES.sum()), VALUES.tolist(), VALUES[MASK], VALUES + 1), told) == Counts()
        assert of(lambda: float(there.sum()), told) == Counts(1, 1, 0)
        for read in (there.tolist, there.cpu, lambda: there.to("cpu"), lambda: torch.zeros(4, 5).copy_(there)):
            assert of(read, told).host_reads == 1
        assert of(lambda: there[there > 7], told).host_reads == 1
        assert of(lambda: VALUES.to(device), told).host_reads == 0
        assert of(lambda: torch.randn(4).to(device), told).host_drawn_bytes == 16
        assert of(lambda: torch.randn(4, device=device), told).host_drawn_bytes == 0


def test_steps_are_told_apart_from_the_start_by_a_difference() -> None:
    def counts(steps: int) -> Counts:
        method = configure(find("zs_n2n"), {"steps": steps, "network.width": 4}).method
        with claimed_device() as device:
            problem = moved(problem_of((2, 1, 16, 16)), device)
            streams = Streams.of(0, "counting", [(0,), (1,)])
            return of(lambda: fit.restore(method, problem, streams, strategy="grouped"), str(device))

    two, four, six = counts(2), counts(4), counts(6)
    assert six - four == four - two
    assert (four - two).launches > 2 * 20


def test_work_gives_what_it_gives_uncounted() -> None:
    method = configure(find("zs_n2n"), {"steps": 3, "network.width": 4}).method

    def image() -> torch.Tensor:
        return fit.restore(method, problem_of((1, 1, 16, 16)), Streams.of(0, "same", [(0,)])).image

    with counted():
        watched = image()
    assert torch.equal(watched, image())
