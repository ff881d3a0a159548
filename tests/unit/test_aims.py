"""What each aim answers: method, raw and classical image, limits, and where voxels come from."""

import dataclasses
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pytest
import torch

from ilcore import fit
from ilcore.aims.aim import Findings, OperatorOptions
from ilcore.aims.registry import AIMS, aim_for
from ilcore.degradations.estimate import Preflight
from ilcore.degradations.imaging import Imaging
from ilcore.grammar.arrays import Streams
from ilcore.grammar.errors import BadInput
from ilcore.grammar.layers import FILLED, KEPT, MEASURED, PRIOR
from ilcore.grammar.problem import Noise, Problem
from ilcore.methods.catalogue import METHODS
from ilcore.methods.entry import configure
from ilcore.qa.explained import explained
from ilcore.qa.verdict import TILE_LIMITS, tile_fails, tile_verdict, tile_verdicts
from tests.scenes import psnr, scene

NOISE = (Noise(read_std=0.1),)


@dataclass(frozen=True)
class Sized:
    shape: tuple[int, int, int, int, int]
    scale: tuple[float, ...] = (1.0,) * 5


PLANE, STACK = Sized((1, 1, 1, 32, 32)), Sized((1, 1, 12, 32, 32))


def asked(task, space=2):
    return aim_for(task, scale=2 if task == "superres" else None, space=space)


def patch_of(task, holes=False, noise=NOISE):
    """Return a noisy scene, through the operator of the aim, and the truth."""
    operator = asked(task).operator(OperatorOptions(), PLANE)
    domain = (32, 32) if operator is None else operator.domain((32, 32))
    clean = torch.from_numpy(scene("cells", domain, 1))[None, None]
    seen = clean if operator is None else operator.forward(clean)
    seen = seen + noise[0].read_std * torch.randn(seen.shape, generator=torch.Generator().manual_seed(0))
    trusted = None
    if holes:
        trusted = torch.ones_like(seen, dtype=torch.bool)
        trusted[..., 10:14, 12:15] = False
        seen = torch.where(trusted, seen, 0.5)
    problem = Problem(observed=seen, operator=operator, noise=noise, trusted=trusted)
    return problem, problem.inside(clean)


every_aim = pytest.mark.parametrize("task", sorted(AIMS))


@every_aim
def test_an_aim_is_frozen_equal_to_itself_and_known_by_its_name(task):
    aim = asked(task)
    assert aim == asked(task)
    assert hash(aim) == hash(asked(task))
    assert aim.name == task
    assert dataclasses.is_dataclass(aim)
    with pytest.raises(dataclasses.FrozenInstanceError):
        aim.name = "other"


@every_aim
def test_the_method_chosen_can_do_it(task):
    aim = asked(task)
    choice = aim.choose(Findings(preflight=Preflight(channels=())))
    entry = configure(METHODS[choice.method], choice.overrides)
    aim.check(entry)
    assert choice.scope in entry.scopes
    assert choice.why


def test_holes_are_filled_by_an_image_prior_that_a_vote_ends():
    choice = asked("inpaint").choose(Findings(preflight=Preflight(channels=())))
    assert (choice.method, choice.scope, dict(choice.overrides)) == ("dip", "tile", {"stop": "vote"})


@every_aim
def test_a_method_that_cannot_do_it_is_refused_with_those_that_can(task):
    aim = asked(task)
    for entry in METHODS.values():
        if task in entry.tasks:
            aim.check(entry)
        else:
            with pytest.raises(BadInput, match=f"got task {task}; methods that can: .*"):
                aim.check(entry)


@every_aim
def test_raw_and_classical_lie_on_the_field_and_classical_is_no_worse(task):
    problem, clean = patch_of(
        task, holes=task == "inpaint", noise=(Noise(read_std=0.1 if task == "denoise" else 1e-4),)
    )
    aim = asked(task)
    raw, classical = aim.raw(problem), aim.classical(problem)
    assert raw.shape == classical.shape == clean.shape
    assert psnr(clean.numpy(), classical.numpy()) > psnr(clean.numpy(), raw.numpy())


def test_denoising_has_a_classical_image_without_a_noise_level():
    problem, clean = patch_of("denoise")
    image = asked("denoise").classical(dataclasses.replace(problem, noise=None))
    assert psnr(clean.numpy(), image.numpy()) > psnr(clean.numpy(), problem.observed.numpy())


def test_classical_inpainting_touches_holes_only():
    problem, _ = patch_of("inpaint", holes=True)
    image = asked("inpaint").classical(problem)
    assert torch.equal(image[problem.trusted], problem.observed[problem.trusted])
    assert not torch.equal(image, problem.observed)


@every_aim
def test_provenance_says_where_voxels_come_from(task):
    problem, _ = patch_of(task, holes=True)
    aim = asked(task)
    found = aim.provenance(problem, aim.raw(problem))
    assert found.dtype == np.uint8
    assert found.shape == tuple(aim.raw(problem).shape)
    by = found.shape[-1] // 32
    hole = np.zeros(found.shape, bool)
    hole[..., 10 * by : 14 * by, 12 * by : 15 * by] = True
    assert set(found[hole]) == {FILLED if task == "inpaint" else KEPT}
    assert set(found[~hole]) <= {MEASURED, PRIOR}
    assert MEASURED in found[~hole]


def test_what_the_prior_decided_is_where_it_adds_what_no_observation_tells():
    """Fine stripes of which the operator sees nothing, in one half of the image only."""
    problem, _ = patch_of("superres", noise=(Noise(read_std=0.02),))
    aim = asked("superres")
    plain = aim.classical(problem)
    stripes = torch.zeros_like(plain)
    stripes[..., :, :20] = 0.3 * (1 - 2 * (torch.arange(plain.shape[-2]) % 2))[:, None]
    found = aim.provenance(problem, plain + stripes)
    assert (found[..., 4:-4, 4:16] == PRIOR).mean() > 0.9
    assert (found[..., 4:-4, 28:-4] == MEASURED).mean() > 0.9


def test_a_consistent_result_passes_the_limits_of_superres_and_not_those_of_denoising():
    problem, _ = patch_of("superres", noise=(Noise(read_std=0.05),))
    aim = asked("superres")
    image = aim.classical(dataclasses.replace(problem, noise=None))
    numbers = {name: found[0] for name, found in explained(problem, image).items()}
    limits = aim.limits()
    assert all(limits[name].judge(value) == "pass" for name, value in numbers.items())
    assert numbers["consistency"] < 0.01
    assert limits["residual_level"].judge(numbers["consistency"] ** 2) == "pass"
    assert TILE_LIMITS["residual_level"].judge(numbers["consistency"] ** 2) == "warn"
    assert "untouched" not in limits
    assert limits["consistency"].judge(3.0) == "fail"
    row = {"residual_level": 0.0, "untouched": 1.0, "consistency": 0.0, "invented_share": 0.1}
    assert tile_verdict(row, limits) == ("pass", "")
    assert tile_fails(row)
    assert "explain what was observed" in (tile_fails(row | {"consistency": 3.0}, limits) or "")
    table = {name: np.array([value, value]) for name, value in row.items()} | {"consistency": np.array([0.0, 3.0])}
    assert tile_verdicts(table, limits=limits).tolist() == [0, 2]
    assert set(asked("denoise").limits()) == set(TILE_LIMITS) == set(asked("inpaint").limits())


def test_only_superres_has_factors_and_an_operator():
    for task in ("denoise", "inpaint"):
        assert asked(task).factors(PLANE) == (1, 1, 1)
        assert asked(task).operator(OperatorOptions(), PLANE) is None
        with pytest.raises(BadInput, match=f"got task {task}; leave it out"):
            asked(task).operator(OperatorOptions(psf="box"), PLANE)
    assert asked("superres").factors(PLANE) == (1, 2, 2)
    operator = asked("superres", 3).operator(OperatorOptions(space=3), STACK)
    assert isinstance(operator, Imaging)
    assert operator.factors == (2, 2, 2)


def test_planes_one_by_one_keep_their_z_and_a_length_must_fit_its_factor():
    with pytest.raises(BadInput, match="keep their z, got a factor of 2"):
        asked("superres", 3).operator(OperatorOptions(space=2), STACK)
    assert aim_for("superres", scale=(1, 2, 2), space=3).operator(OperatorOptions(space=2), STACK).factors == (2, 2)
    halves = aim_for("superres", scale=(1, 1.5, 2), space=3)
    assert halves.factors(STACK) == (1, Fraction(3, 2), 2)
    with pytest.raises(BadInput, match="multiple of 2 .* got 33"):
        halves.factors(Sized((1, 1, 12, 33, 32)))


def test_a_kernel_over_a_plane_given_with_one_voxel_of_z_serves_planes():
    options = OperatorOptions(psf=np.ones((1, 4, 4)))
    assert asked("superres").operator(options, PLANE).kernel.shape == (4, 4)


@pytest.mark.medium
def test_an_image_prior_makes_a_finer_image_through_the_operator():
    """Deep image prior: the network makes the domain, the loss sees the observation, the field comes out."""
    problem, clean = patch_of("superres", noise=(Noise(read_std=0.02),))
    knobs = {"steps": 60, "network.width": 8, "network.scales": 2, "readout.weight": 0.9}
    recipe = configure(METHODS["dip"], knobs).method
    done = fit.restore(recipe, problem, Streams.of(0, "dip", [(0,)]))
    assert done.image.shape == clean.shape
    mean = clean.mean().expand_as(clean)
    assert psnr(clean.numpy(), done.image.numpy()) > psnr(clean.numpy(), mean.numpy()) + 3


def test_a_row_that_diverges_comes_out_on_the_field():
    problem, clean = patch_of("superres")
    problem.observed[..., 3, 3] = torch.nan
    knobs = {"steps": 5, "network.width": 4, "network.scales": 1}
    done = fit.restore(configure(METHODS["dip"], knobs).method, problem, Streams.of(0, "dip", [(0,)]))
    assert done.stopped[0].has_diverged
    assert done.image.shape == clean.shape
    assert torch.equal(done.image[..., 8:, 8:], problem.plain()[..., 8:, 8:])
