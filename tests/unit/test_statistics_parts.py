"""Parts that learn from the statistics of the noise, each against what its paper says."""

from dataclasses import replace

import pytest
import torch

from ilcore.grammar.arrays import Streams
from ilcore.grammar.fills import shown
from ilcore.grammar.problem import Noise, Problem
from ilcore.grammar.trial import Pair, Trial
from ilcore.losses.invariance import InvarianceBound
from ilcore.methods.catalogue import METHODS
from ilcore.views.hidden_grid import HiddenGrid
from ilcore.views.hidden_pixels import HiddenPixels
from ilcore.views.stitched import Stitched


def streams(count: int = 1) -> Streams:
    return Streams.of(0, "test", [(n,) for n in range(count)])


def image(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def complaints(name: str, problem: Problem, **parts) -> str:
    return "; ".join(replace(METHODS[name].method, **parts).complaints(problem))


def test_untrusted_values_are_never_shown():
    trusted = torch.ones(1, 1, 8, 8, dtype=torch.bool)
    trusted[..., 2:6, 2:6] = False
    one, two = (
        shown(Problem(observed=torch.where(trusted, image(1, 1, 8, 8), value), trusted=trusted)) for value in (0.0, 9.0)
    )
    assert torch.equal(one, two)
    assert (one[trusted] == image(1, 1, 8, 8)[trusted]).all()


@pytest.mark.parametrize("replacement", ["uniform", "median"])
@pytest.mark.parametrize("shape", [(2, 2, 32, 31), (1, 1, 3, 32, 32), (1, 1, 5, 7)])
def test_the_value_asked_for_never_reaches_the_input(replacement, shape):
    # No two pixels are alike, so that a value tells where it comes from.
    observed = torch.randperm(image(*shape).numel()).reshape(shape).float()
    views = HiddenPixels(percent=4.0, replacement=replacement)
    pair = views.start(Problem(observed=observed), streams(shape[0])).draw(0, range(shape[0]))
    assert (pair.input != observed)[pair.trusted].all()
    assert (pair.input == observed)[~pair.trusted].all()
    assert torch.equal(pair.target, observed)
    boxes = -(-shape[-2] // 5) * -(-shape[-1] // 5)
    assert (pair.trusted.flatten(-2).sum(-1) == boxes).all()


def test_replacements_come_from_the_window_around_the_pixel():
    places = torch.arange(40 * 40).reshape(1, 1, 40, 40)
    pair = HiddenPixels(percent=4.0, window=5).start(Problem(observed=places.float()), streams()).draw(0, [0])
    source, own = pair.input[pair.trusted].long(), places[pair.trusted]
    down, across = source // 40 - own // 40, source % 40 - own % 40
    assert int(down.abs().max()) == int(across.abs().max()) == 2
    assert ((down != 0) | (across != 0)).all()


def test_the_median_is_that_of_the_window_without_its_centre():
    observed = image(1, 1, 9, 9)
    views = HiddenPixels(percent=1.0, window=3, replacement="median")
    pair = views.start(Problem(observed=observed), streams()).draw(0, [0])
    y, x = pair.trusted[0, 0].nonzero()[0].tolist()
    rows, columns = slice(max(0, y - 1), y + 2), slice(max(0, x - 1), x + 2)
    around = [v for v in observed[0, 0, rows, columns].flatten().tolist() if v != float(observed[0, 0, y, x])]
    assert pair.input[0, 0, y, x] == torch.tensor(around).median()


@pytest.mark.parametrize(
    ("kind", "pixels"),
    [("row", [(0, -1), (0, 0), (0, 1)]), ("column", [(-1, 0), (0, 0), (1, 0)]), ("cross", 5), ("block", 9)],
)
def test_a_footprint_is_hidden_whole_and_asked_for_in_its_centre(kind, pixels):
    observed = torch.arange(33.0 * 33).reshape(1, 1, 33, 33)
    views = HiddenPixels(percent=1.0, footprint=kind, span=3)
    problem = Problem(observed=observed)
    offsets = views.hidden_offsets(problem)
    assert len(offsets) == pixels if isinstance(pixels, int) else offsets == pixels
    pair = views.start(problem, streams()).draw(0, [0])
    changed = pair.input != observed
    for y, x in pair.trusted[0, 0].nonzero().tolist():
        inside = [(y + dy, x + dx) for dy, dx in offsets if 0 <= y + dy < 33 and 0 <= x + dx < 33]
        assert all(changed[0, 0, a, b] for a, b in inside)
        # What stands there now comes from outside of the footprint.
        sources = {divmod(int(pair.input[0, 0, a, b]), 33) for a, b in inside}
        assert not sources & set(inside)
    assert int(changed.sum()) > 2 * int(pair.trusted.sum())


def test_a_measured_footprint_covers_what_shares_noise():
    views = HiddenPixels(footprint="measured")

    def reach(correlation, *lags):
        noise = Noise(read_std=0.1, correlation=correlation, lags=lags)
        return views.reach(Problem(observed=image(1, 1, 32, 32), noise=(noise,)))

    assert reach("white", 0.0, 0.0) == (0, 0)
    assert reach("row", 0.05, 0.5) == (0, 1)
    assert reach("row", 0.0, 0.7) == (0, 2)
    assert reach("column", 0.6, 0.0) == (1, 0)
    assert reach("isotropic", 0.6, 0.7) == (1, 2)
    unknown = Problem(observed=image(1, 1, 32, 32), noise=(Noise(correlation="unknown"),))
    assert "needs a measured correlation" in complaints("struct_n2v", unknown)
    assert "let preflight measure it" in complaints("struct_n2v", Problem(observed=image(1, 1, 32, 32)))


def test_channels_are_hidden_together_only_where_that_is_asked_for():
    problem = Problem(observed=image(1, 2, 40, 40))
    apart, together = (
        HiddenPixels(jointly=jointly).start(problem, streams()).draw(0, [0]).trusted for jointly in (False, True)
    )
    assert torch.equal(together[:, 0], together[:, 1])
    assert not torch.equal(apart[:, 0], apart[:, 1])


@pytest.mark.parametrize("name", ["n2v", "n2v2", "struct_n2v", "noise2self", "noise2same"])
def test_blind_spots_refuse_a_network_that_copies(name):
    network = replace(METHODS[name].method.network, residual=True)
    known = Problem(observed=image(1, 1, 32, 32), noise=(Noise(read_std=0.1),))
    assert "set residual=False" in complaints(name, known, network=network)
    assert not complaints(name, known)


def test_tiles_no_larger_than_the_footprint_are_refused():
    views = HiddenPixels(footprint="block", span=5)
    assert "use larger tiles" in complaints("n2v", Problem(observed=image(1, 1, 5, 4)), views=views)
    assert not complaints("n2v", Problem(observed=image(1, 1, 6, 4)), views=views)


def test_a_stitched_image_owes_nothing_to_a_pixels_own_value():
    problem = Problem(observed=image(1, 1, 16, 16))
    live = Stitched(HiddenGrid(4)).start(problem, streams())

    def copy(seen, rows):
        return seen

    changed = problem.observed.clone()
    changed[..., 7, 9] += 5
    one = live.image(copy, problem, [0])
    two = live.image(copy, replace(problem, observed=changed), [0])
    assert one[0, 0, 7, 9] == two[0, 0, 7, 9] != problem.observed[0, 0, 7, 9]
    plain = Stitched(HiddenGrid(4), unseen=False).start(problem, streams())
    assert torch.equal(plain.image(copy, problem, [0]), problem.observed)


@pytest.mark.parametrize("noise", [None, (Noise(read_std=0.2),)])
def test_the_invariance_bound_is_equation_6(noise):
    observed, hidden = image(1, 1, 16, 16), image(1, 1, 16, 16, seed=1) < 0.1
    problem = Problem(observed=observed, noise=noise)
    pair = Pair(torch.where(hidden, 0.0, observed), observed, hidden)

    def half(seen, rows):
        return seen / 2

    trial = Trial(0, [0], problem, pair, half(pair.input, [0]), half, lambda rows: observed)
    scale = 0.2 if noise else float(observed.std())
    by_hand = (observed / 2).square().mean() + 2 * scale * (observed[hidden] / 2).square().mean().sqrt()
    assert float(InvarianceBound().start(problem, streams())(trial)) == pytest.approx(float(by_hand), rel=1e-4)
