"""Parts of methods, each against what its paper says."""

from dataclasses import replace

import pytest
import torch

from ilcore import fit
from ilcore.descents.adam import Adam
from ilcore.descents.backtracking import Backtracking
from ilcore.grammar.arrays import Streams, per_tile_mean
from ilcore.grammar.masks import grid_phase, neighbour_mean
from ilcore.grammar.problem import Noise, Problem
from ilcore.losses.fidelity import SquaredError
from ilcore.methods.catalogue import METHODS
from ilcore.methods.entry import configure
from ilcore.networks.per_tile import ConvSpec, TileConv
from ilcore.networks.plain import Plain
from ilcore.networks.skip import SkipNet
from ilcore.stops.held_out import HeldOut
from ilcore.views.diagonal_halves import DiagonalHalves, diagonal_halves
from ilcore.views.hidden_grid import HiddenGrid
from ilcore.views.recorruption import Recorruption


def streams(count: int = 1) -> Streams:
    return Streams.of(0, "test", [(n,) for n in range(count)])


def image(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def test_streams_depend_on_seed_method_and_tile_alone():
    draws = {
        name: Streams.of(seed, method, [index]).normal((3,)).tolist()[0][0]
        for name, seed, method, index in [
            ("a", 0, "m", (0, 1)), ("b", 1, "m", (0, 1)), ("c", 0, "n", (0, 1)), ("d", 0, "m", (1, 0)),
        ]
    }  # fmt: skip
    assert len(set(draws.values())) == 4
    together = Streams.of(0, "m", [(9, 9), (0, 1)]).normal((3,))
    assert together[1, 0].item() == draws["a"]


def test_diagonal_halves_are_the_means_of_the_paper():
    cell = torch.tensor([[1.0, 2.0], [3.0, 5.0]])[None, None]
    assert diagonal_halves(cell).flatten().tolist() == [2.5, 3.0]
    assert diagonal_halves(image(2, 1, 4, 7, 9)).shape == (4, 1, 4, 3, 4)


def test_halves_of_white_noise_are_uncorrelated():
    noise = torch.randn(1, 1, 256, 256, generator=torch.Generator().manual_seed(0))
    one, two = diagonal_halves(noise)
    assert abs(float((one * two).mean())) < 0.01


def test_a_half_pixel_counts_only_where_its_cells_are_trusted():
    trusted = torch.ones(1, 1, 4, 4, dtype=torch.bool)
    trusted[..., 0, 0] = False
    pair = DiagonalHalves().start(Problem(observed=image(1, 1, 4, 4), trusted=trusted), streams()).draw(0, [0])
    assert pair.trusted.shape == pair.target.shape
    assert pair.trusted[:, 0].tolist() == [[[False, True], [True, True]]] * 2


def test_the_zs_n2n_loss_is_equation_4_plus_5():
    problem = Problem(observed=image(1, 1, 8, 8))
    recipe = configure(METHODS["zs_n2n"], {"steps": 0}).method
    done = fit.restore(recipe, problem, streams())
    model = recipe.network.build(problem, 1, streams())
    one, two = diagonal_halves(problem.observed).split(1)

    def g(y):
        return model(y, [0])

    whole = diagonal_halves(g(problem.observed)).split(1)
    by_hand = sum(
        ((a - b) ** 2).mean() / 2 for a, b in [(g(one), two), (g(two), one), (g(one), whole[0]), (g(two), whole[1])]
    )
    assert done.curves[0][0][1] == pytest.approx(by_hand.item(), rel=1e-5)


def test_hidden_pixels_do_not_reach_the_input():
    problem = Problem(observed=image(1, 1, 16, 16))
    pair = HiddenGrid(4).start(problem, streams()).draw(0, [0])
    assert int(pair.trusted.sum()) == 16
    assert not (pair.input == pair.target)[pair.trusted].any()
    assert (pair.input == pair.target)[~pair.trusted].all()
    changed = torch.where(pair.trusted, problem.observed + 1, problem.observed)
    again = HiddenGrid(4).start(replace(problem, observed=changed), streams()).draw(0, [0])
    assert torch.equal(again.input, pair.input)


def test_grid_phases_cover_the_plane_once():
    places = torch.stack([grid_phase((6, 9, 10), 3, torch.tensor([place]))[0] for place in range(9)])
    assert torch.equal(places.sum(0), torch.ones(1, 6, 9, 10, dtype=torch.long))


def test_neighbour_means_ignore_the_centre_and_what_is_not_trusted():
    flat = torch.zeros(1, 1, 5, 5)
    flat[..., 2, 2] = 100
    assert neighbour_mean(flat)[..., 2, 2] == 0
    trusted = torch.ones_like(flat, dtype=torch.bool)
    trusted[..., 2, 2] = False
    assert neighbour_mean(flat, trusted).sum() - neighbour_mean(flat, trusted)[..., 2, 2] == 0


def test_recorrupted_copies_are_uncorrelated_and_centred():
    noise = Noise(gain=0.02, read_std=0.05)
    clean = 0.2 + 0.6 * image(1, 1, 256, 256)
    generator = torch.Generator().manual_seed(1)
    observed = clean + noise.variance(clean).sqrt() * torch.randn(clean.shape, generator=generator)
    pair = Recorruption(0.5).start(Problem(observed=observed, noise=(noise,)), streams()).draw(0, [0])
    one, two = pair.input - clean, pair.target - clean
    assert abs(float((one * two).mean())) < 0.03 * float(noise.variance(clean).mean())
    assert one.var() / (observed - clean).var() == pytest.approx(1.25, rel=0.03)


def test_recorruption_refuses_unknown_and_correlated_noise():
    recipe = replace(METHODS["adapted"].method, views=Recorruption())
    problem = Problem(observed=image(1, 1, 8, 8))
    assert any("noise model" in text for text in recipe.complaints(problem))
    correlated = replace(problem, noise=(Noise(read_std=0.1, correlation="isotropic"),))
    assert any("white" in text for text in recipe.complaints(correlated))


def test_per_tile_means_count_only_weights():
    values = torch.tensor([[1.0, 3.0], [5.0, 7.0]])
    assert per_tile_mean(values).tolist() == [2.0, 6.0]
    assert per_tile_mean(values, torch.tensor([[1, 0], [0, 0]])).tolist() == [1.0, 0.0]


@pytest.mark.parametrize("space", [2, 3])
@pytest.mark.parametrize("padding", ["zeros", "reflect"])
def test_a_tile_layer_equals_torchs_own_layer_tile_by_tile(space, padding):
    layer = TileConv(ConvSpec(inputs=2, outputs=3, kernel=(3,) * space, stride=2, padding=padding), streams(4))
    seen = image(2, 5, 2, *(6, 7, 8)[-space:])
    together = layer(seen, [3, 1])
    kind = torch.nn.Conv2d if space == 2 else torch.nn.Conv3d
    for n, row in enumerate([3, 1]):
        own = kind(2, 3, 3, stride=2, padding=1, padding_mode=padding)
        own.weight.data, own.bias.data = layer.weight[row].data, layer.bias[row].data
        assert torch.allclose(together[n], own(seen[n]), atol=1e-6)
    layer.strategy = "vmap"
    assert torch.allclose(together, layer(seen, [3, 1]), atol=1e-6)


def test_the_zs_n2n_network_has_the_size_of_the_paper():
    model = METHODS["zs_n2n"].method.network.build(Problem(observed=image(1, 3, 8, 8)), 3, streams())
    assert sum(value.numel() for value in model.parameters()) == 22_275


def test_the_hourglass_has_about_the_size_of_the_paper():
    model = SkipNet().build(Problem(observed=image(1, 3, 64, 64)), 32, streams())
    assert sum(value.numel() for value in model.parameters()) == pytest.approx(2.2e6, rel=0.05)


def test_a_halo_of_the_receptive_field_makes_tiles_exact():
    network = replace(METHODS["adapted"].method.network, width=6, depth=4)
    whole = Problem(observed=image(1, 1, 64, 64))
    model = network.build(whole, 1, streams())
    reach = network.halo(2)[0] + network.halo(2)[0] % 2
    middle = slice(24 - reach, 40 + reach)
    part = whole.observed[..., middle, middle]
    inner = slice(reach, reach + 16)
    assert torch.allclose(model(whole.observed, [0])[..., 24:40, 24:40], model(part, [0])[..., inner, inner], atol=1e-6)


def test_a_network_without_biases_commutes_with_scaling():
    model = METHODS["adapted"].method.network.build(Problem(observed=image(1, 1, 16, 16)), 1, streams())
    seen = image(1, 1, 16, 16)
    assert torch.allclose(model(7 * seen, [0]), 7 * model(seen, [0]), rtol=1e-4, atol=1e-5)


def test_the_guard_returns_to_good_weights_after_a_jump():
    problem = Problem(observed=image(2, 1, 8, 8))
    model = Plain(width=4).build(problem, 1, streams(2))
    descent = Backtracking(Adam(0.1), drop_db=5).start(model, streams(2))

    def step(factors):
        before = [value.detach().clone() for value in model.parameters()]
        error = per_tile_mean((model(problem.observed, [0, 1]) - problem.observed).square())
        descent.step(error / error.detach() * torch.tensor(factors), [0, 1])
        return before

    start = step([1.0, 1.0])
    step([10.0, 1.0])  # tile 0 jumped by 10 dB
    for value, old in zip(model.parameters(), start, strict=True):
        assert torch.equal(value[0], old[0])
        assert not torch.equal(value[1], old[1])


def test_held_out_pixels_are_never_asked_for():
    problem = Problem(observed=image(1, 1, 21, 21), noise=(Noise(read_std=0.1),))
    training = HeldOut(steps=10).start(problem, streams()).training_problem()
    assert int((~training.trusted).sum()) == 49
    pair = Recorruption().start(training, streams()).draw(0, [0])
    assert torch.equal(pair.trusted, training.trusted)


def test_finished_tiles_leave_the_batch_and_do_not_move_any_more():
    """Tile 1 starts from harmful weights' risk; whatever ends first, each result equals that of a lone run."""
    entry = configure(METHODS["adapted"], {"network.width": 4, "network.depth": 3, "steps": 30, "stop.every": 2})
    entry = configure(entry, {"stop.patience": 2, "descent.learning_rate": 0.01})
    observed = torch.cat([image(1, 1, 32, 32), 0.5 + 0.01 * image(1, 1, 32, 32, seed=3)])
    problem = Problem(observed=observed, noise=(Noise(read_std=0.05),))
    together = fit.restore(entry.method, problem, streams(2), strategy="grouped")
    for row in range(2):
        alone = fit.restore(entry.method, problem.rows([row]), streams(2).only([row]))
        assert alone.steps[0] == together.steps[row]
        assert torch.allclose(alone.image[0], together.image[row], atol=1e-3)


def test_losses_add_and_scale():
    loss = SquaredError() + 0.5 * SquaredError()
    problem = Problem(observed=image(1, 1, 8, 8))
    recipe = replace(METHODS["zs_n2n"].method, loss=loss)
    plain = replace(recipe, loss=SquaredError())
    both = [fit.restore(replace(r, stop=type(r.stop)(0)), problem, streams()).curves[0][0][1] for r in (recipe, plain)]
    assert both[0] == pytest.approx(1.5 * both[1])


@pytest.mark.parametrize("hole", [0.0, 9.0, float("nan"), float("inf")])
def test_what_stands_in_holes_reaches_neither_halves_nor_their_consistency(hole):
    trusted = torch.ones(1, 1, 12, 12, dtype=torch.bool)
    trusted[..., 4:7, 5:9] = False
    recipe = configure(METHODS["zs_n2n"], {"steps": 2, "network.width": 8}).method

    def restored(value):
        observed = torch.where(trusted, image(1, 1, 12, 12), value)
        return fit.restore(recipe, Problem(observed=observed, trusted=trusted), streams())

    done, wanted = restored(hole), restored(0.5)
    assert done.stopped == wanted.stopped
    assert torch.equal(done.image, wanted.image)
    assert done.curves == wanted.curves


@pytest.mark.parametrize("views", [DiagonalHalves(), HiddenGrid(4)], ids=lambda views: type(views).__name__)
def test_holes_are_filled_in_every_input(views):
    trusted = torch.ones(1, 1, 12, 12, dtype=torch.bool)
    trusted[..., 4:7, 5:9] = False
    problem = Problem(observed=torch.where(trusted, image(1, 1, 12, 12), torch.nan), trusted=trusted)
    live = views.start(problem, streams())
    assert torch.isfinite(live.look(problem, [0])).all()
    assert torch.isfinite(live.draw(0, [0]).input).all()
