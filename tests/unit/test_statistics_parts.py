"""Parts that learn from the statistics of the noise, each against what its paper says."""

import math
from dataclasses import replace

import pytest
import torch

from ilcore import fit
from ilcore.grammar.arrays import Streams
from ilcore.grammar.draws import unit_noise
from ilcore.grammar.fills import shown
from ilcore.grammar.problem import Noise, Problem
from ilcore.grammar.step_context import Pair, StepContext
from ilcore.grammar.stop_reason import StopReason
from ilcore.losses.cross_entropy import CrossEntropy
from ilcore.losses.invariance import InvarianceBound
from ilcore.losses.neighbours import NeighbourDifference
from ilcore.methods.catalogue import METHODS
from ilcore.methods.entry import configure
from ilcore.networks.bounded import Bounded
from ilcore.networks.by_plane import ByPlane
from ilcore.networks.plain import Plain
from ilcore.readouts.rounds import MeanOfLast
from ilcore.stops.observation import NearestObservation
from ilcore.views.adjacent_planes import AdjacentPlanes, trust
from ilcore.views.averaged import AveragedDraws
from ilcore.views.checkerboards import Checkerboards, colours
from ilcore.views.count_split import CountSplit
from ilcore.views.fading_noise import FadingNoise
from ilcore.views.hidden_grid import HiddenGrid
from ilcore.views.hidden_pixels import HiddenPixels
from ilcore.views.j_invariant_image import JInvariantImage
from ilcore.views.neighbour_halves import NeighbourHalves
from ilcore.views.pixel_bank import PixelBank, alike
from ilcore.views.recorruption import Recorruption
from ilcore.views.sorted_halves import SortedHalves

_BRIEF = {"steps": 80, "network.width": 8, "network.depth": 4, "descent.learning_rate": 3e-3}


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


@pytest.mark.parametrize("views", [HiddenPixels(percent=1.0), JInvariantImage(HiddenGrid())])
def test_a_hole_does_not_betray_the_hidden_pixel_next_to_it(views):
    # One pixel is hidden by the first; it has holes beside it.
    trusted = image(1, 1, 9, 9, seed=5) > 0.3
    problem = Problem(observed=image(1, 1, 9, 9), trusted=trusted)
    pair = views.start(problem, streams()).draw(0, [0])
    # The same stream hides the same pixels, whatever their values.
    other = replace(problem, observed=torch.where(pair.trusted, 1 - problem.observed, problem.observed))
    again = views.start(other, streams()).draw(0, [0])
    assert torch.equal(pair.trusted, again.trusted)
    assert pair.trusted.any()
    assert torch.equal(pair.input, again.input)


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
    live = JInvariantImage(HiddenGrid(4)).start(problem, streams())

    def copy(seen, rows):
        return seen

    changed = problem.observed.clone()
    changed[..., 7, 9] += 5
    one = live.image(copy, problem, [0])
    two = live.image(copy, replace(problem, observed=changed), [0])
    assert one[0, 0, 7, 9] == two[0, 0, 7, 9] != problem.observed[0, 0, 7, 9]
    plain = JInvariantImage(HiddenGrid(4), unseen=False).start(problem, streams())
    assert torch.equal(plain.image(copy, problem, [0]), problem.observed)


@pytest.mark.parametrize("noise", [None, (Noise(read_std=0.2),)])
def test_the_invariance_bound_is_equation_6(noise):
    observed, hidden = image(1, 1, 16, 16), image(1, 1, 16, 16, seed=1) < 0.1
    problem = Problem(observed=observed, noise=noise)
    pair = Pair(torch.where(hidden, 0.0, observed), observed, hidden)

    def half(seen, rows):
        return seen / 2

    context = StepContext(0, [0], problem, pair, half(pair.input, [0]), half, lambda rows: observed)
    scale = 0.2 if noise else float(observed.std())
    by_hand = (observed / 2).square().mean() + 2 * scale * (observed[hidden] / 2).square().mean().sqrt()
    assert float(InvarianceBound().start(problem, streams())(context)) == pytest.approx(float(by_hand), rel=1e-4)


def test_neighbour_halves_are_adjacent_and_never_equal():
    places = torch.arange(40.0 * 40).reshape(1, 1, 40, 40).repeat(1, 2, 1, 1)
    views = NeighbourHalves().start(Problem(observed=places), streams())
    pair = views.draw(0, [0])
    one, two = pair.input.long(), pair.target.long()
    down, across = two // 40 - one // 40, two % 40 - one % 40
    assert (down.abs() + across.abs() == 1).all()
    assert torch.equal(one // 80, two // 80)
    assert torch.equal(one % 40 // 2, two % 40 // 2)
    assert torch.equal(one[:, 0], one[:, 1])
    place = (one // 40 % 2 * 2 + one % 2) * 4 + two // 40 % 2 * 2 + two % 2
    kinds, often = place[:, 0].unique(return_counts=True)
    assert len(kinds) == 8
    assert float(often.float().std() / often.float().mean()) < 0.4
    assert not torch.equal(views.draw(1, [0]).input, pair.input)
    again = pair.shrink(places).chunk(2)
    assert torch.equal(again[0], pair.input)
    assert torch.equal(again[1], pair.target)


def test_a_pair_of_neighbours_counts_only_where_both_are_trusted():
    trusted = image(1, 1, 32, 32) < 0.7
    pair = NeighbourHalves().start(Problem(observed=trusted.float(), trusted=trusted), streams()).draw(0, [0])
    one, two = pair.shrink(trusted).chunk(2)
    assert torch.equal(pair.trusted, one & two)
    assert (pair.target[pair.trusted] == 1).all()


def test_the_neighbour_difference_is_equation_12():
    problem = Problem(observed=image(1, 1, 16, 16))
    pair = NeighbourHalves().start(problem, streams()).draw(0, [0])
    factor = torch.tensor(0.5, requires_grad=True)

    def scaled(seen, rows):
        return factor * seen

    context = StepContext(5, [0], problem, pair, scaled(pair.input, [0]), scaled, lambda rows: problem.observed)
    loss = NeighbourDifference(gamma=2.0, ramp=10).start(problem, streams())(context)
    rest = factor * pair.input - pair.target - 0.5 * (pair.input - pair.target)
    assert loss.item() == pytest.approx(rest.square().mean().item())
    (slope,) = torch.autograd.grad(loss, factor)
    assert slope.item() == pytest.approx((2 * rest * pair.input).mean().item(), rel=1e-4)


def poisson(mean: float, side: int, gain: float, offset: float) -> tuple[Problem, torch.Tensor]:
    rate = mean * (0.5 + image(1, 1, side, side))
    counts = torch.poisson(rate, generator=torch.Generator().manual_seed(1))
    noise = (Noise(gain=gain, offset=offset),)
    return Problem(observed=offset + gain * counts, noise=noise), offset + gain * rate


@pytest.mark.parametrize("share", [0.15, 0.5])
def test_thinned_counts_are_unbiased_and_uncorrelated_at_two_counts(share):
    problem, clean = poisson(2.0, 400, gain=0.05, offset=0.1)
    pair = CountSplit(share).start(problem, streams()).draw(0, [0])
    one, two, variance = pair.input - clean, pair.target - clean, 0.05 * (clean - 0.1)
    assert abs(float(one.mean())) < 4 * (0.1**2 / (1 - share) / 400**2) ** 0.5
    assert abs(float(two.mean())) < 4 * (0.1**2 / share / 400**2) ** 0.5
    assert abs(float((one * two).mean())) < 0.02 * float(variance.mean()) / (share * (1 - share)) ** 0.5
    # Independent, not only uncorrelated: squares do not know of each other. A Gaussian split fails here.
    squares = [part.square() - part.square().mean() for part in (one / variance.sqrt(), two / variance.sqrt())]
    assert abs(float((squares[0] * squares[1]).mean())) < 0.04 * float(squares[0].std() * squares[1].std())
    assert float(one.var()) == pytest.approx(float(variance.mean()) / (1 - share), rel=0.03)
    assert float(two.var()) == pytest.approx(float(variance.mean()) / share, rel=0.03)
    assert torch.allclose((1 - share) * pair.input + share * pair.target, problem.observed, atol=1e-5)


@pytest.mark.parametrize(
    "noise", [Noise(read_std=0.2), Noise(gain=0.02, read_std=0.015), Noise(gain=0.01, read_std=0.1)]
)
def test_other_noise_is_split_into_uncorrelated_parts(noise):
    clean = 0.3 + 0.5 * image(1, 1, 400, 400)
    observed = clean if not noise.gain else noise.gain * torch.poisson(clean / noise.gain)
    problem = Problem(observed=observed + noise.read_std * normal(*clean.shape), noise=(noise,))
    pair = CountSplit(0.15).start(problem, streams()).draw(0, [0])
    one, two, variance = pair.input - clean, pair.target - clean, float(noise.variance(clean).mean())
    assert abs(float((one * two).mean())) < 0.03 * variance / (0.15 * 0.85) ** 0.5
    assert float(one.var()) == pytest.approx(variance / 0.85, rel=0.03)


def test_a_split_refuses_noise_it_does_not_know():
    assert "noise model" in complaints("gr2r", Problem(observed=image(1, 1, 32, 32)))
    stripes = Problem(observed=image(1, 1, 32, 32), noise=(Noise(gain=0.1, correlation="row"),))
    assert "its correlation" in complaints("gr2r", stripes)


def test_an_averaged_image_is_the_mean_over_draws():
    problem = Problem(observed=image(1, 1, 64, 64), noise=(Noise(read_std=0.5),))

    def left(draws):
        live = AveragedDraws(Recorruption(0.5), draws).start(problem, streams())
        return float((live.image(lambda seen, rows: seen, problem, [0]) - problem.observed).var())

    assert left(0) == 0
    assert left(1) == pytest.approx(0.25**2, rel=0.1)
    assert left(16) == pytest.approx(0.25**2 / 16, rel=0.1)


def test_planes_are_paired_with_their_neighbours_alone():
    stack = torch.arange(6.0).reshape(1, 1, 6, 1, 1).expand(1, 1, 6, 8, 8)
    live = AdjacentPlanes(neighbours=2, planes=200).start(Problem(observed=stack), streams())
    pair = live.draw(0, [0])
    here, near, far = pair.input[..., 0, 0].T
    there = pair.target[:, 0, 0, 0]
    assert set(zip(here.tolist(), there.tolist(), strict=True)) == {
        (z, z + side) for z in range(6) for side in (-1, 1) if 0 <= z + side < 6
    }
    side = here - there
    assert torch.equal(near, (here + side).clamp(0, 5))
    assert torch.equal(far, (here + 2 * side).clamp(0, 5))
    assert not ((near == there) | (far == there)).any()
    seen_first = live.image(lambda seen, rows: seen[:, 1:2], live.problem, [0])[0, 0, :, 0, 0]
    assert seen_first.tolist() == [0.5, 1.0, 2.0, 3.0, 4.0, 4.5]


@pytest.mark.parametrize("lags", [(0.0, 0.0), (0.7, 0.7)])
def test_planes_that_show_different_things_teach_each_other_less(lags):
    noise = Noise(read_std=0.1, correlation="isotropic" if lags[0] else "white", lags=lags)
    problem = Problem(observed=torch.zeros(1, 1, 4, 40, 40), noise=(noise,))
    observed = 0.1 * unit_noise(problem, streams())
    observed[:, :, 2:, 15:25, 15:25] += 1.0
    weights = trust(observed, replace(problem, observed=observed))
    assert weights.shape == (1, 1, 3, 40, 40)
    assert float(weights[:, :, [0, 2]].mean()) > 0.98
    assert float(weights[:, :, 1, 17:23, 17:23].max()) < 0.4
    assert float(weights[:, :, 1, :10].mean()) > 0.95
    assert (trust(observed, Problem(observed=observed)) == 1).all()


def test_frame_pairs_refuse_single_planes_and_networks_of_three_axes():
    assert "use 3-D tiles" in complaints("frame_pairs", Problem(observed=image(1, 1, 16, 16)))
    assert "use 3-D tiles" in complaints("frame_pairs", Problem(observed=image(1, 1, 1, 16, 16)))
    stack = Problem(observed=image(1, 1, 4, 16, 16))
    assert not complaints("frame_pairs", stack)
    assert "in ByPlane" in complaints("frame_pairs", stack, network=Plain())
    assert "set network.reach" in complaints("frame_pairs", stack, views=AdjacentPlanes(neighbours=2))


def test_a_network_by_plane_restores_each_plane_alone():
    problem = Problem(observed=image(2, 1, 3, 12, 12))
    model = ByPlane(inner=Plain(width=4, residual=False)).build(problem, 1, streams(2))
    whole = model(problem.observed, [0, 1])
    assert torch.allclose(whole[:, :, 1], model(problem.observed[:, :, 1], [0, 1]))
    assert not torch.allclose(model(problem.observed[:, :, 1], [1, 0]), whole[:, :, 1])


def test_chequerboard_halves_hold_every_pixel_once_beside_its_neighbour():
    places = torch.arange(7 * 10).reshape(7, 10)
    for along_x in (True, False):
        one, two = colours(places, along_x=along_x)
        assert one.shape == two.shape == ((6, 5) if along_x else (3, 10))
        assert set(one.flatten().tolist()) | set(two.flatten().tolist()) == set(places[:6].flatten().tolist())
        for half, colour in ((one, 0), (two, 1)):
            assert ((half // 10 + half % 10) % 2 == colour).all()
        apart = (two - one).abs()
        assert set(apart.flatten().tolist()) == ({1} if along_x else {10})


def test_the_four_chequerboard_pairs_take_turns():
    trusted = image(1, 1, 8, 8) < 0.8
    problem = Problem(observed=image(1, 1, 8, 8), trusted=trusted)
    live = Checkerboards().start(problem, streams())
    pairs = [live.draw(step, [0]) for step in range(5)]
    assert [tuple(pair.input.shape[2:]) for pair in pairs] == [(8, 4), (8, 4), (4, 8), (4, 8), (8, 4)]
    for first, second in ((0, 1), (2, 3)):
        assert torch.equal(pairs[first].input, pairs[second].target)
        assert not torch.equal(pairs[first].input, pairs[first].target)
    assert torch.equal(pairs[0].input, pairs[4].input)
    for pair in pairs:
        assert torch.isin(pair.target[pair.trusted], problem.observed[trusted]).all()
    assert sum(int(pair.trusted.sum()) for pair in pairs[:2]) == int(trusted.sum())


def test_the_least_cross_entropy_is_at_the_mean_of_noisy_targets():
    problem = Problem(observed=torch.zeros(1, 1, 64, 64), value_range=(-0.5, 1.5))
    target = 0.9 + 0.5 * normal(1, 1, 64, 64)
    loss = CrossEntropy().start(problem, streams())

    def at(level):
        level = torch.full_like(target, level)
        return loss(StepContext(0, [0], problem, Pair(level, target), level, None, None)).item()

    mean = float(target.mean())
    assert at(mean) < min(at(mean - 0.05), at(mean + 0.05))
    share = (mean + 0.5) / 2
    assert at(mean) == pytest.approx(-share * math.log(share) - (1 - share) * math.log(1 - share), rel=1e-4)


def test_a_bounded_network_stays_in_range_and_refuses_noise_predictors():
    problem = Problem(observed=image(1, 1, 16, 16), value_range=(0.2, 0.6))
    model = Bounded(Plain(width=8, residual=False)).build(problem, 1, streams())
    out = model(100 * problem.observed, [0]).detach()
    assert 0.2 <= float(out.min()) < float(out.max()) <= 0.6
    known = Problem(observed=image(1, 1, 16, 16))
    assert "set residual=False" in complaints("noise2fast", known, network=Bounded(Plain(residual=True)))
    assert "set residual=False" in complaints("noise2fast", known, network=Plain(residual=True))


def trial_of(step: int, images: torch.Tensor, rows=(0,)) -> StepContext:
    chosen = list(rows)
    pair = Pair(images[chosen], images[chosen])
    return StepContext(
        step, chosen, Problem(observed=images), pair, images[chosen], None, lambda wanted: images[list(wanted)]
    )


def test_a_fit_ends_when_its_image_comes_no_nearer_to_the_observation():
    problem = Problem(observed=torch.zeros(2, 1, 4, 4))
    stop = NearestObservation(steps=1000, every=2, patience=3).start(problem, streams(2))
    reasons = []
    for step, (one, two) in enumerate([(5, 5), (0, 0), (4, 6), (0, 0), (4, 6), (0, 0), (3, 6)]):
        distances = torch.tensor([one, two]).float().reshape(2, 1, 1, 1).expand(2, 1, 4, 4)
        reasons.append(stop.judge(trial_of(step, distances, rows=(0, 1))).reasons)
    assert reasons[-2] == (None, None)
    assert reasons[-1][0] is None
    assert reasons[-1][1] == StopReason("rule", "no nearer to the observation for 3 rounds")
    assert all(reason == (None, None) for reason in reasons[:-1])


@pytest.mark.parametrize(("count", "expected"), [(1, 26.0), (7, 20.0), (14, 13.0)])
def test_the_mean_of_the_last_images_forgets_older_ones(count, expected):
    readout = MeanOfLast(count=count, every=2).start(Problem(observed=torch.zeros(1, 1, 2, 2)))
    for step in range(28):
        readout.observe(trial_of(step, torch.full((1, 1, 2, 2), float(step) if step % 2 == 0 else 999.0)), set())
    assert float(readout.result([0], lambda rows: torch.zeros(1, 1, 2, 2)).mean()) == expected


def test_sorted_halves_agree_on_every_ramp():
    down, across = torch.meshgrid(torch.arange(24.0), torch.arange(24.0), indexing="ij")
    for slope in ((1.0, 0.0), (0.0, 1.0), (1.0, 0.4), (0.3, -1.0), (1.0, 1.0)):
        ramp = (slope[0] * down + slope[1] * across)[None, None]
        pair = SortedHalves(smoothing=3).start(Problem(observed=ramp), streams()).draw(0, [0])
        inner = (slice(None), slice(None), slice(2, -2), slice(2, -2))
        assert torch.allclose(pair.input[inner], pair.target[inner], atol=1e-4)


def test_sorted_halves_use_every_pixel_once_and_shrink_alike():
    problem = Problem(observed=image(2, 1, 3, 9, 8))
    pair = SortedHalves().start(problem, streams(2)).draw(0, [1, 0])
    assert pair.input.shape == (4, 1, 3, 4, 4)
    cells = problem.observed[[1, 0], ..., :8, :].unfold(-2, 2, 2).unfold(-2, 2, 2).mean((-1, -2))
    assert torch.allclose((pair.input[:2] + pair.target[:2]) / 2, cells, atol=1e-6)
    assert torch.equal(pair.input[:2], pair.target[2:])
    assert torch.equal(pair.shrink(problem.observed[[1, 0]]), pair.input)


def test_the_halves_of_white_noise_stay_uncorrelated_although_they_are_sorted():
    problem = Problem(observed=normal(1, 1, 400, 400))
    pair = SortedHalves(smoothing=5).start(problem, streams()).draw(0, [0])
    one, two = pair.input[0], pair.target[0]
    assert abs(float(((one - one.mean()) * (two - two.mean())).mean())) < 0.03


def test_a_pixel_bank_finds_repeated_texture():
    stripes = (torch.arange(40) % 4 == 0).float().expand(40, 40)[None, None]
    noisy = stripes + 0.1 * normal(1, 1, 40, 40)
    spec = PixelBank(size=10, patch=5, window=21)
    places, count = alike(noisy[0], torch.ones(40, 40, dtype=torch.bool), spec)
    assert (count == 10).all()
    same = (places % 40 % 4) == (torch.arange(40) % 4)
    assert float(same.float().mean()) > 0.99
    down, across = places // 40 - torch.arange(40)[:, None], places % 40 - torch.arange(40)
    assert int(down.abs().max()) <= 10
    assert int(across.abs().max()) <= 10
    assert torch.equal(places[0], torch.arange(1600).reshape(40, 40).int())
    live = spec.start(Problem(observed=noisy), streams())
    pair = live.draw(0, [0])
    assert not torch.equal(live.draw(1, [0]).input, pair.input)
    one, two = pair.input - stripes, pair.target - stripes
    assert float(one.square().mean()) == pytest.approx(0.01, rel=0.15)
    assert abs(float((one * two).mean())) < 0.001
    assert not (pair.input == pair.target).any()


def test_a_bank_does_not_choose_pixels_for_their_own_noise():
    noise = normal(1, 64, 64)
    places, _ = alike(noise, torch.ones(64, 64, dtype=torch.bool), PixelBank(size=5, patch=3, window=15))
    others = noise.flatten()[places[1:].long()]
    assert abs(float((others * noise).mean())) < 0.05


def test_untrusted_pixels_are_in_no_bank():
    trusted = image(1, 1, 24, 24) < 0.8
    observed = torch.where(trusted, image(1, 1, 24, 24, seed=2), 7.0)
    live = PixelBank(size=6, patch=5, window=11).start(Problem(observed=observed, trusted=trusted), streams())
    pair = live.draw(0, [0])
    assert float(pair.input.max()) <= 1
    assert float(pair.target.max()) <= 1
    assert not (pair.trusted & ~trusted).any()
    assert float(pair.trusted.float().mean()) > 0.75


def test_fading_noise_joined_with_tweedie_is_equation_6():
    problem = Problem(observed=image(1, 1, 16, 16), noise=(Noise(read_std=0.2),))
    views = FadingNoise(largest=0.05, least=0.01, steps=10)
    assert [round(views.amount(step), 6) for step in (0, 5, 10, 99)] == [0.05, 0.022361, 0.01, 0.01]
    pair = views.start(problem, streams()).draw(5, [0])
    amount, variance = views.amount(5), 0.04
    w = (pair.input - problem.observed) / amount
    assert float(w.std()) == pytest.approx(1, abs=0.15)
    denoised = 0.3 * pair.input
    score = (denoised - pair.input) / variance
    by_hand = (w + amount * score).square()
    assert torch.allclose((denoised - pair.target).square() * (amount / variance) ** 2, by_hand, rtol=1e-3, atol=1e-4)


def test_noise2score_recovers_the_posterior_mean_of_a_gaussian():
    """Clean and noise both normal: the best image is y / 2, and no network without the score finds it."""
    problem = Problem(observed=0.1 * 2**0.5 * normal(1, 1, 40, 40), noise=(Noise(read_std=0.1),))
    recipe = configure(METHODS["noise2score"], _BRIEF).method
    image_of = fit.restore(recipe, problem, streams()).image
    slope = float((image_of * problem.observed).sum() / problem.observed.square().sum())
    assert slope == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize(
    ("noise", "text"),
    [
        (None, "noise level"),
        ((Noise(gain=0.1),), "set stabilise=True"),
        ((Noise(read_std=0.1, correlation="row", lags=(0.0, 0.5)),), "white noise"),
    ],
)
def test_noise2score_refuses_noise_whose_tweedie_formula_it_does_not_know(noise, text):
    assert text in complaints("noise2score", Problem(observed=image(1, 1, 16, 16), noise=noise))
