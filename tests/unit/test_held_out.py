"""Rules that withhold pixels judge the image that is read out."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from ilcore import fit
from ilcore.grammar.arrays import Streams
from ilcore.grammar.masks import grid_phase
from ilcore.grammar.problem import Noise, Problem
from ilcore.grammar.step_context import Pair, StepContext
from ilcore.methods.catalogue import METHODS
from ilcore.methods.entry import configure
from ilcore.stops.held_out import _groups, _places, standard_error
from ilcore.stops.held_out_pixels import HeldOutPixels
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


@pytest.mark.medium
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


@pytest.mark.medium
@pytest.mark.parametrize("name", ["unsure", "n2v", "neighbor2neighbor"])
def test_the_risk_of_a_network_that_hides_pixels_only_to_judge_is_that_of_its_image(name: str) -> None:
    """Where pixels are hidden the risk is larger than in the image, and good tiles failed for it."""
    clean, problem = posed(read_std=STD)
    knobs = {"steps": 40, "stop.every": 20, "stop.share": 0.3, "network.width": 12, "network.depth": 2}
    recipe = configure(METHODS[name], knobs).method
    done = fit.restore(recipe, problem, streams())
    true = float((done.image - clean).square().mean())
    assert done.risk[0] == pytest.approx(true, abs=scatter(problem, int(0.3 * SIDE**2)))


def test_the_risk_of_the_image_is_reported_where_hidden_pixels_are_predicted_badly() -> None:
    """A network that hands on what it sees has the risk of the noise, not that of a mean of neighbours."""
    _, problem = posed(read_std=STD)
    live = HeldOutPixels(steps=0, hides_input=True, every=1, memory=0.0).start(problem, streams())
    shown = problem.observed
    context = StepContext(
        0, [0], problem, Pair(shown, shown), shown, lambda seen, rows: seen, lambda rows: shown,
        image_of=lambda posed, rows: posed.observed[list(rows)],
    )  # type: ignore[arg-type]  # fmt: skip
    assert live.judge(context).risks[0] == pytest.approx(STD**2, rel=1e-3)


def test_errors_of_neighbours_count_as_one_where_an_iterate_must_be_better_for_sure() -> None:
    """No better on the average: by two standard errors it looks so once in 44 draws, not once in ten."""
    held = grid_phase((SIDE, SIDE), 3, torch.zeros(1).long())
    places, count = _places(_groups(held, shared=False)[0])
    generator, mean, lucky = torch.Generator().manual_seed(0), nn.AvgPool2d(5, 1, 2), []
    for _ in range(400):
        gain = mean(torch.randn((1, 1, SIDE, SIDE), generator=generator))[held]
        limits = float(standard_error(gain, places, count)), float(gain.std()) / len(gain) ** 0.5
        lucky.append([float(gain.mean()) > 2 * limit for limit in limits])
    by_block, by_pixel = torch.tensor(lucky).float().mean(0).tolist()
    assert by_block < 0.05 < by_pixel


@pytest.mark.parametrize(("tiles", "side", "groups"), [(1, 128, 64), (1, 32, 16), (3, 128, 192), (9, 128, 9)])
def test_groups_are_tiles_or_blocks_of_few_tiles(tiles: int, side: int, groups: int) -> None:
    held = torch.ones(tiles, 2, side, side, dtype=torch.bool)
    assert len(_groups(held, shared=True)[0].unique()) == groups
    assert _groups(held, shared=False)[0].shape == (2 * side * side,)


def test_too_few_groups_are_never_sure() -> None:
    assert standard_error(torch.ones(100), *_places(torch.zeros(100))) == float("inf")


def test_plans_of_methods_whose_rule_chooses_anew_are_of_another_version() -> None:
    plain = METHODS["adapted"]
    assert configure(plain, {}).version == plain.version + 1
    # What makes no steps asks no rule, and its voxels are what they were.
    assert configure(plain, {"steps": 0}).version == plain.version
    assert configure(METHODS["sure"], {"stabilise": True}).version == METHODS["sure"].version + 1
    assert configure(METHODS["tv"], {}).version == METHODS["tv"].version
