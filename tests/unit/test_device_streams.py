"""Numbers drawn on a device: as random as those of the CPU, and each row's own whoever shares the batch."""

import pytest
import torch
from scipy import stats

from ilcore.benchmark.counting import counted
from ilcore.grammar.arrays import Streams
from ilcore.grammar.device_streams import DeviceStreams, drawn_on
from tests.claimed_device import Claimed, claimed_device

SHAPE = (3, 50, 41)


def on_device(rows: int, device: str | torch.device = "cpu") -> DeviceStreams:
    return DeviceStreams.of_seeds(Streams.of(0, "drawn", [(n, 0) for n in range(rows)]).seeds, device)


@pytest.mark.parametrize("law", ["uniform", "normal", "signs"])
def test_a_row_draws_the_same_whoever_shares_the_batch(law):
    together, alone, turned = (getattr(on_device(5), law) for _ in range(3))
    first, second = together(SHAPE), together((7,))
    assert first.shape == (5, *SHAPE)
    for row in (3, 0):
        assert torch.equal(alone(SHAPE, [row])[0], first[row])
        assert torch.equal(alone((7,), [row])[0], second[row])
    assert torch.equal(turned(SHAPE, [4, 1]), first[[4, 1]])
    assert not torch.equal(first[0], first[1])


def test_a_row_that_is_named_twice_draws_on():
    twice, after = on_device(3), on_device(3)
    drawn, wanted = twice.uniform((9,), [1, 0, 1]), [after.uniform((9,), [1])[0] for _ in range(3)]
    assert torch.equal(drawn[[0, 2]], torch.stack(wanted[:2]))
    assert torch.equal(twice.uniform((9,), [1])[0], wanted[2])


def test_streams_of_some_rows_go_on_where_all_of_them_are():
    whole, wanted = on_device(4), on_device(4).normal((6,))
    assert torch.equal(whole.only([2, 1]).normal((6,)), wanted[[2, 1]])
    assert not torch.equal(whole.normal((6,), [2]), wanted[[2]])
    assert torch.equal(whole.normal((6,), [3]), wanted[[3]])
    assert whole.only([2]).generators[0] is whole.generators[2]


def test_another_purpose_has_streams_of_its_own_that_do_not_move_the_first():
    streams = on_device(2)
    apart = [streams.apart("risk").normal((50,)) for _ in range(2)]
    assert torch.equal(*apart)
    assert not torch.equal(apart[0], streams.apart("image").normal((50,)))
    assert torch.equal(streams.normal((50,)), on_device(2).normal((50,)))


def test_coins_of_a_step_differ_from_layer_to_layer():
    coins = on_device(2).many([0, 1])
    assert not torch.equal(coins((40,)), coins((40,)))


@pytest.mark.parametrize(("law", "wanted"), [("uniform", stats.uniform), ("normal", stats.norm)])
def test_numbers_follow_their_law_and_know_nothing_of_each_other(law, wanted):
    drawn = getattr(on_device(4), law)((1 << 16,)).double()
    for row in drawn:
        assert stats.kstest(row[::4].numpy(), wanted.cdf).pvalue > 1e-4
    centred = (drawn - wanted.mean()) / wanted.std()
    assert float(centred.square().mean()) == pytest.approx(1, abs=0.01)
    # Standard deviation of a correlation of 65536 pairs: 0.004.
    pairs = [centred[0] * centred[1], *(centred[:, lag:] * centred[:, :-lag] for lag in (1, 2, 64, 1 << 15))]
    assert max(abs(float(pair.mean())) for pair in pairs) < 0.02


def test_uniform_numbers_never_reach_one_and_normal_ones_are_finite():
    streams = on_device(2)
    drawn, normal = streams.uniform((1 << 20,)), streams.normal((1 << 20,))
    assert float(drawn.min()) >= 0
    assert float(drawn.max()) < 1
    assert torch.isfinite(normal).all()
    assert 4.5 < float(normal.abs().max()) < 7


def test_all_rows_are_drawn_in_few_operations_and_nothing_on_the_host():
    few, many = on_device(2), on_device(64)
    counts = []
    for streams in (few, many):
        streams.normal(SHAPE)
        with counted() as count:
            streams.normal(SHAPE)
        counts.append(count)
    assert counts[0] == counts[1]
    assert (counts[1].host_reads, counts[1].host_drawn_bytes) == (0, 0)
    assert counts[1].launches < 64


def test_a_gpu_draws_the_same_numbers_and_a_cpu_keeps_its_own():
    streams = Streams.of(0, "drawn", [(0, 0), (1, 0)])
    assert drawn_on(streams, torch.device("cpu")) is streams
    with claimed_device() as device:
        there = drawn_on(streams, device)
        image = there.normal(SHAPE)
        assert isinstance(image, Claimed)
        assert torch.equal(image.cpu(), DeviceStreams.of_seeds(there.seeds, "cpu").normal(SHAPE))
        assert all(one.device.type == "cuda" for one in there.generators)
        again = drawn_on(Streams.of(0, "drawn", [(0, 0), (1, 0)]).only([1]), device)
        assert again.seeds == there.seeds[1:], "a row depends on who shares the batch"


def test_who_begins_later_with_the_same_streams_draws_other_numbers():
    # Coins of a network and pixels that are hidden from it, or two methods in turn.
    streams = Streams.of(0, "drawn", [(0, 0), (1, 0)])
    with claimed_device() as device:
        first, second = (drawn_on(streams, device).seeds for _ in range(2))
    assert not set(first) & set(second)
