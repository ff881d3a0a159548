"""Weights that do not move are shared by all tiles, those that move have a row for each."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import torch
from torch import nn

from ilcore import fit
from ilcore.descents.adam import Adam
from ilcore.descents.backtracking import Backtracking
from ilcore.descents.langevin import Langevin
from ilcore.grammar.arrays import Streams, Weights
from ilcore.grammar.errors import BadWeights
from ilcore.grammar.problem import Noise, Problem
from ilcore.grammar.recipe import Recipe
from ilcore.grammar.slots import Descent, LiveNetwork, Network
from ilcore.grammar.wrapping import WrappedNetwork
from ilcore.losses.fidelity import SquaredError
from ilcore.networks.blind_spot import BlindSpot
from ilcore.networks.masked_unet import MaskedUNet
from ilcore.networks.plain import Plain
from ilcore.networks.skip import SkipNet
from ilcore.networks.unet import UNet
from ilcore.readouts.last import Best, Last
from ilcore.stops.budget import After
from ilcore.stops.held_out import HeldOut
from ilcore.views.recorruption import Recorruption

COUNT = 3
_ADAM = Adam(1e-2)
#: Which weights move, by their names.
MOVES: dict[str, Callable[[str], bool]] = {
    "biases": lambda name: name.endswith("bias"),
    "kernels": lambda name: name.endswith("weight"),
    "last": lambda name: name.startswith(("conv.1", "end", "up")),
    "all": lambda name: True,
}


@dataclass(frozen=True)
class Moving(WrappedNetwork):
    """A network of which some weights move; the others are the same for all tiles."""

    inner: Network
    moves: str

    def build(self, problem: Problem, channels: int, streams: Streams, *, shared: bool = False) -> LiveNetwork:
        live = self.inner.build(problem, channels, streams, shared=shared)
        for name, value in list(live.named_parameters()):
            if not MOVES[self.moves](name):
                owner, _, own = name.rpartition(".")
                frozen = nn.Parameter(value.detach()[:1].clone(), requires_grad=False)
                setattr(live.get_submodule(owner), own, frozen)
        return live


def streams(count: int = COUNT) -> Streams:
    return Streams.of(3, "frozen", [(n,) for n in range(count)])


def problem_of(*space: int) -> Problem:
    observed = torch.rand((COUNT, 1, *space), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return Problem(observed=observed, noise=(Noise(read_std=0.1),))


def start_of(network: Network, problem: Problem) -> Weights:
    model = network.build(problem, 1, Streams.of(0, "start", [(0,)]), shared=True)
    return {name: value.detach() for name, value in model.named_parameters()}


def recipe_of(network: Network, descent: Descent = _ADAM) -> Recipe:
    return Recipe(Recorruption(), network, SquaredError(), descent, After(3), Last())


@pytest.fixture(autouse=True)
def _double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


NETWORKS = [Plain(width=4, depth=3), UNet(width=4, depth=1, norm=True), SkipNet(width=4, skip=2, scales=1)]
every_network = pytest.mark.parametrize("network", NETWORKS, ids=lambda network: type(network).__name__)
every_choice = pytest.mark.parametrize("moves", sorted(MOVES))


@every_choice
@every_network
def test_frozen_weights_have_one_row_and_moving_ones_a_row_a_tile(network, moves):
    model = Moving(network, moves).build(problem_of(8, 8), 1, streams())
    moving = model.moving()
    assert moving
    assert set(moving) == {name for name, _ in model.named_parameters() if MOVES[moves](name)}
    assert {len(value) for value in moving.values()} == {COUNT}
    assert {len(value) for name, value in model.named_parameters() if name not in moving} <= {1}


@every_choice
@every_network
@pytest.mark.parametrize("space", [(8, 9), (2, 8, 8)])
@pytest.mark.parametrize("strategy", ["grouped", "vmap", "sequential"])
def test_tiles_together_equal_each_alone_whatever_is_frozen(network, moves, space, strategy):
    problem, frozen = problem_of(*space), Moving(network, moves)
    recipe, start = recipe_of(frozen), start_of(frozen, problem)
    together = fit.restore(recipe, problem, streams(), start=start, strategy=strategy)
    for row in range(COUNT):
        alone = fit.fit(recipe, problem.rows([row]), streams().only([row]), start=start)
        assert torch.allclose(together.image[row], alone.image[0], rtol=0, atol=1e-9)
        assert together.curves[row] == tuple((step, pytest.approx(loss)) for step, loss in alone.curves[0])
        for name, value in alone.weights.items():
            mine = together.weights[name]
            assert len(mine) == (COUNT if MOVES[moves](name) else 1)
            assert torch.allclose(mine[row if len(mine) > 1 else 0], value[0], rtol=0, atol=1e-9)
            assert torch.equal(value, start[name]) == (not MOVES[moves](name))
    assert together.frozen == {name for name in start if not MOVES[moves](name)}


@pytest.mark.parametrize("descent", [Langevin(1e-2), Backtracking(Adam(1e-2)), Adam(1e-2, rectified=True)])
def test_no_descent_moves_what_is_frozen(descent):
    problem, network = problem_of(8, 8), Moving(NETWORKS[0], "last")
    start = start_of(network, problem)
    done = fit.restore(recipe_of(network, descent), problem, streams(), start=start, strategy="grouped")
    for name, value in done.weights.items():
        assert torch.equal(value, start[name].expand_as(value)) == (not MOVES["last"](name)), name


def test_the_best_weights_return_beside_frozen_ones():
    problem, network = problem_of(24, 24), Moving(NETWORKS[0], "last")
    start = start_of(network, problem)
    recipe = replace(recipe_of(network, Adam(0.1)), stop=HeldOut(steps=4, every=1), readout=Best())
    done = fit.restore(recipe, problem, streams(), start=start, strategy="grouped")
    assert all(torch.equal(done.weights[name], start[name]) for name in done.frozen)
    assert torch.allclose(done.image, fit.predict(recipe, problem, done.weights, streams()))


def test_fitted_weights_are_a_start_again_and_others_are_refused():
    problem, network = problem_of(8, 8), Moving(NETWORKS[0], "biases")
    recipe, start = recipe_of(network), start_of(network, problem)
    done = fit.restore(recipe, problem, streams(), start=start)
    again = fit.restore(replace(recipe, stop=After(0)), problem, streams(), start=done.weights)
    assert torch.allclose(again.image, fit.predict(recipe, problem, done.weights, streams()))
    each = {name: value.repeat(COUNT, *(1,) * (value.ndim - 1)) for name, value in start.items()}
    with pytest.raises(BadWeights, match="once for all tiles.*wanted, got"):
        fit.fit(recipe, problem, streams(), start=each)


@pytest.mark.parametrize("network", [BlindSpot(width=4, depth=1), MaskedUNet(width=4, depth=1)])
@pytest.mark.parametrize("moves", ["biases", "kernels"])
def test_layers_mix_shared_and_own_weights_in_any_network(network, moves):
    problem = problem_of(8, 8)
    seen = problem.observed.repeat(1, 2, 1, 1) if isinstance(network, MaskedUNet) else problem.observed
    model = Moving(network, moves).build(problem, seen.shape[1], streams())
    together = model(seen, range(COUNT))
    model.compute("vmap")
    assert together.shape[0] == COUNT
    if isinstance(network, BlindSpot):
        assert torch.allclose(model(seen, range(COUNT)), together)
        assert torch.allclose(model(seen[[1]], [1])[0], together[1])
