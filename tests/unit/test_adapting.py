"""Do no harm, and weights by hash."""

from dataclasses import replace

import pytest
import torch

from ilcore import fit
from ilcore.adapting.weights import SHIPPED, load_denoiser, load_weights, save_weights, sha256_of
from ilcore.grammar.arrays import Streams
from ilcore.grammar.errors import BadWeights, RecipeError, UnknownMethod
from ilcore.grammar.problem import Noise, Problem
from ilcore.methods.catalogue import METHODS, find
from ilcore.methods.entry import configure
from ilcore.readouts.last import Best
from ilcore.views.hidden_grid import HiddenGrid
from tests.scenes import scene


def noisy_problem(seed: int = 0) -> Problem:
    clean = torch.from_numpy(scene("cells", (48, 48), seed)).float()[None, None]
    noisy = clean + 0.1 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(seed))
    return Problem(observed=noisy, noise=(Noise(read_std=0.1),))


def adapt(problem: Problem, **knobs):
    entry = configure(METHODS["adapted"], knobs)
    streams = Streams.of(0, "adapted", [(n,) for n in range(len(problem.observed))])
    return fit.restore(entry.method, problem, streams, start=load_denoiser(SHIPPED)[1])


@pytest.mark.medium
def test_the_held_out_risk_never_rises():
    for seed in range(3):
        done = adapt(noisy_problem(seed), steps=20, **{"stop.every": 5})
        assert done.risk[0] <= done.risk_before[0]


@pytest.mark.medium
def test_a_harmful_rate_leaves_the_untouched_model():
    untouched = adapt(noisy_problem(), steps=0)
    harmed = adapt(noisy_problem(), steps=12, **{"stop.every": 3, "descent.learning_rate": 0.05})
    assert torch.equal(untouched.image, harmed.image)
    assert harmed.risk == harmed.risk_before


def test_patience_ends_a_fit_that_does_not_gain():
    done = adapt(noisy_problem(), steps=100, **{"stop.every": 1, "stop.patience": 3, "descent.learning_rate": 0.05})
    assert "has not fallen" in str(done.stopped[0])
    assert done.steps[0] < 10


def test_the_shipped_file_is_small_and_described():
    network, weights = load_denoiser(SHIPPED)
    assert SHIPPED.stat().st_size <= 3_000_000
    assert network == METHODS["adapted"].method.network
    assert all(torch.isfinite(value).all() for value in weights.values())


def test_weights_of_another_hash_are_refused(tmp_path):
    path = tmp_path / "w.safetensors"
    digest = save_weights(path, {"conv.0.weight": torch.zeros(4, 1, 3, 3)})
    assert sha256_of(path) == digest
    with pytest.raises(BadWeights, match="must have sha256 000000000000"):
        load_weights(path, "0" * 64)


@pytest.mark.parametrize("content", [b"", b"not weights", b"\x00" * 64])
def test_garbage_is_no_weights(tmp_path, content):
    for name in ("w.pt", "w.safetensors"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(BadWeights, match="safetensors or tensor-only"):
            load_weights(tmp_path / name)
    with pytest.raises(BadWeights, match="must be a file"):
        load_weights(tmp_path / "absent.pt")


def dncnn(depth: int = 4, width: int = 8, *, norm: bool) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    sides = [1] + [width] * (depth - 1) + [1]
    found = {}
    for n, (a, b) in enumerate(zip(sides, sides[1:], strict=False)):
        found[f"conv.{n}.weight"], found[f"conv.{n}.bias"] = torch.randn(b, a, 3, 3) / 10, torch.randn(b) / 10
        if norm and 0 < n < depth - 1:
            found |= {f"bn.{n}.weight": torch.rand(b), f"bn.{n}.bias": torch.randn(b)}
            found |= {f"bn.{n}.running_mean": torch.randn(b), f"bn.{n}.running_var": torch.rand(b)}
    return found


def by_torch(weights: dict[str, torch.Tensor], image: torch.Tensor) -> torch.Tensor:
    """The same network by torch's own layers."""
    hidden, depth = image, len([key for key in weights if key.startswith("conv") and key.endswith("weight")])
    for n in range(depth):
        hidden = torch.nn.functional.conv2d(hidden, weights[f"conv.{n}.weight"], weights[f"conv.{n}.bias"], padding=1)
        if f"bn.{n}.weight" in weights:
            mean, var = weights[f"bn.{n}.running_mean"], weights[f"bn.{n}.running_var"]
            gain, shift = weights[f"bn.{n}.weight"], weights[f"bn.{n}.bias"]
            hidden = torch.nn.functional.batch_norm(hidden, mean, var, gain, shift, eps=1e-3)
        hidden = hidden.relu() if n < depth - 1 else hidden
    return image - hidden


@pytest.mark.parametrize("norm", [False, True])
def test_a_plain_dncnn_of_the_user_serves_as_the_pretrained_model(tmp_path, norm):
    weights, path = dncnn(norm=norm), tmp_path / "user.pt"
    torch.save(weights, path)
    network, start = load_denoiser(path)
    entry, problem = METHODS["adapted"].with_network(network), noisy_problem()
    streams = Streams.of(0, "adapted", [(0,)])
    image = fit.predict(entry.method, problem, start, streams)
    assert torch.allclose(image, by_torch(weights, problem.observed), atol=1e-5)


def test_a_colour_network_is_refused(tmp_path):
    torch.save({"a.0.weight": torch.zeros(8, 3, 3, 3), "a.1.weight": torch.zeros(3, 8, 3, 3)}, tmp_path / "c.pt")
    with pytest.raises(BadWeights, match="grey to grey"):
        load_denoiser(tmp_path / "c.pt")


def test_an_unknown_method_names_the_nearest():
    with pytest.raises(UnknownMethod, match="did you mean 'zs_n2n'"):
        find("zsn2n")


def test_knobs_are_checked_by_name_and_type():
    with pytest.raises(RecipeError, match="must name a knob"):
        configure(METHODS["dip"], {"network.colour": 3})
    with pytest.raises(RecipeError, match="must be int"):
        configure(METHODS["dip"], {"steps": "many"})
    assert configure(METHODS["dip"], {"descent.inner.learning_rate": 1}).method != METHODS["dip"].method


def test_the_best_iterate_of_a_code_is_refused():
    odd = replace(METHODS["dip"].method, readout=Best())
    with pytest.raises(RecipeError, match="show the observation itself"):
        odd.check(noisy_problem())


def test_a_blind_spot_with_a_residual_network_is_refused():
    odd = replace(METHODS["adapted"].method, views=HiddenGrid())
    with pytest.raises(RecipeError, match="set residual=False"):
        odd.check(noisy_problem())


def test_the_held_out_risk_is_that_of_the_truth():
    clean = torch.from_numpy(scene("cells", (160, 160), 0)).float()[None, None]
    noise = 0.1 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(1))
    problem = Problem(observed=clean + noise, noise=(Noise(read_std=0.1),))
    done = adapt(problem, steps=0)
    true_risk = (done.image - clean).square().mean()
    # 57^2 held-out pixels, each with a spread of about sqrt(2) times the noise variance.
    assert done.risk[0] == pytest.approx(float(true_risk), abs=2.5 * 1.42 * 0.01 / 53)
