"""Rules that withhold pixels judge the image that is read out."""

from dataclasses import replace

import pytest
import torch

from ilcore import fit
from ilcore.grammar.arrays import Streams
from ilcore.grammar.problem import Noise, Problem
from ilcore.methods.catalogue import METHODS
from ilcore.methods.entry import configure
from tests.scenes import scene

SIDE, STD = 128, 0.15


def streams() -> Streams:
    return Streams.of(0, "held out", [(0,)])


def posed(**law: float) -> tuple[torch.Tensor, Problem]:
    clean = torch.from_numpy(scene("cells", (SIDE, SIDE), 0)).float()[None, None]
    noise = Noise(**law)
    std = (noise.gain * clean + noise.read_std**2).sqrt()
    observed = clean + std * torch.randn(clean.shape, generator=torch.Generator().manual_seed(1))
    return clean, Problem(observed=observed, noise=(noise,))


def scatter(problem: Problem, held: int) -> float:
    """Return how far the risk on so many pixels may lie off."""
    return 3 * 1.42 * float(problem.unbiased_variance().mean()) / held**0.5


@pytest.mark.parametrize("name", ["r2r", "gr2r"])
def test_a_mean_over_draws_is_judged_as_a_mean(name: str) -> None:
    clean, problem = posed(read_std=STD)
    knobs = {"steps": 40, "network.width": 12, "network.depth": 4, "stop.every": 20, "views.draws": 6}
    done = fit.restore(configure(METHODS[name], knobs | {"descent.learning_rate": 3e-3}).method, problem, streams())
    assert done.risk[0] == pytest.approx(
        float((done.image - clean).square().mean()), abs=scatter(problem, SIDE**2 // 9)
    )


def test_the_start_of_a_mean_over_draws_is_judged_as_a_mean() -> None:
    """An untouched network that gives back its input shows it best: one pass has five times the risk of many."""
    clean, problem = posed(read_std=STD)
    knobs = {"steps": 0, "network.width": 4, "network.depth": 2, "views.draws": 30, "views.inner.amount": 2.0}
    recipe = configure(METHODS["r2r"], knobs).method
    done = fit.restore(recipe, problem, streams())
    true = float((done.image - clean).square().mean())
    assert done.risk[0] == pytest.approx(true, abs=scatter(problem, SIDE**2 // 9) + 0.1 * true)


def test_an_image_is_the_same_whenever_it_is_looked_at_and_training_does_not_notice() -> None:
    _, problem = posed(read_std=STD)
    recipe = configure(METHODS["r2r"], {"network.width": 4, "network.depth": 2, "views.draws": 3}).method
    model = recipe.network.build(problem, 1, streams())
    drawn, fresh = streams(), streams()
    live, other = recipe.views.start(problem, drawn), recipe.views.start(problem, fresh)
    assert torch.equal(live.image(model, problem, [0]), live.image(model, problem, [0]))
    assert torch.equal(live.draw(0, [0]).input, other.draw(0, [0]).input)
    moved = replace(problem, observed=problem.observed + 1e-3)
    with torch.no_grad():
        difference = live.image(model, moved, [0]) - live.image(model, problem, [0])
    assert float(difference.abs().max()) < 0.1
