"""What result and observation say of each other through the operator, against cases worked out by hand."""

import math
from dataclasses import replace

import pytest
import torch

from ilcore.degradations.imaging import Imaging
from ilcore.degradations.kernels import kernel_of
from ilcore.degradations.operators import Blur, Mask, gaussian_kernel
from ilcore.grammar.problem import Noise, Problem
from ilcore.qa.explained import consistency, explained, invented_share, missed, undecided

F64 = torch.float64
#: Operators that see a little or much beyond the field, of planes and stacks.
OPERATORS = [((2, 2), "bicubic"), ((3, 3), "gaussian:1.2"), ((4, 2), "box"), ((2, 1, 1), "bicubic"), ((1, 2, 2), "box")]


def imaging(factors, psf):
    return Imaging(kernel_of(psf, factors), factors)


def seen(operator, std=0.0, count=2):
    space = tuple(12 if len(operator.factors) == 3 else 24 for _ in operator.factors)
    x = torch.randn(count, 1, *operator.domain(space), dtype=F64, generator=torch.Generator().manual_seed(1))
    noise = torch.randn(count, 1, *space, dtype=F64, generator=torch.Generator().manual_seed(2))
    problem = Problem(observed=operator.forward(x) + std * noise, operator=operator, noise=(Noise(read_std=std),))
    return problem, x, noise


@pytest.mark.parametrize(("factors", "psf"), OPERATORS)
def test_the_truth_misses_the_noise_and_nothing_else(factors, psf):
    problem, x, noise = seen(imaging(factors, psf), std=0.05)
    rim = problem.operator.rim(len(factors))
    inner = (..., *(slice(each, -each or None) for each in rim))
    truth = problem.inside(x)
    assert torch.allclose(missed(problem, truth), 0.05 * noise[inner], atol=1e-12)
    expected = noise[inner].flatten(1).square().mean(1).sqrt()
    assert consistency(problem, truth) == pytest.approx(expected.tolist())


@pytest.mark.parametrize(("factors", "psf"), OPERATORS)
def test_what_explains_an_observation_is_consistent_with_it(factors, psf):
    problem, x, _ = seen(imaging(factors, psf))
    assert max(consistency(problem, problem.inside(x))) < 1e-9
    assert min(consistency(problem, problem.inside(x) + 0.1)) > 5


def test_only_what_is_trusted_is_asked():
    problem, x, _ = seen(imaging((2, 2), "box"))
    trusted = torch.ones_like(problem.observed, dtype=torch.bool)
    trusted[..., 10:, :] = False
    spoilt = replace(problem, observed=torch.where(trusted, problem.observed, 7.0), trusted=trusted)
    assert max(consistency(spoilt, problem.inside(x))) < 1e-9


def test_noise_that_nobody_knows_leaves_the_number_open():
    problem, x, _ = seen(imaging((2, 2), "box"))
    assert all(map(math.isnan, consistency(replace(problem, noise=None), problem.inside(x))))


def test_a_tile_that_is_all_border_is_not_asked():
    operator = imaging((2, 2), "gaussian:2")
    problem = Problem(observed=torch.zeros(2, 1, 8, 8), operator=operator, noise=(Noise(read_std=0.1),))
    image = torch.zeros(2, 1, 16, 16)
    assert missed(problem, image) is None
    assert all(math.isnan(each) for numbers in explained(problem, image).values() for each in numbers)
    assert {len(numbers) for numbers in explained(problem, image).values()} == {2}


@pytest.mark.parametrize(("factors", "psf"), OPERATORS)
def test_of_the_smallest_explanation_nothing_is_invented_and_of_the_rest_everything(factors, psf):
    """Built on the part that is judged, so that both are known: A+ y is decided, what A makes nothing of is not."""
    operator = imaging(factors, psf)
    space = [12 if len(factors) == 3 else 24 for _ in factors]
    problem = Problem(observed=torch.zeros(1, 1, *space, dtype=F64), operator=operator)
    inner = [side - 2 * rim for side, rim in zip(space, operator.rim(len(factors)), strict=True)]
    x = torch.randn(1, 1, *operator.domain(inner), dtype=F64, generator=torch.Generator().manual_seed(3))
    decided = operator.pseudo_inverse(operator.forward(x))
    free = x - decided

    def share(part):
        pad = [
            (whole - side) // 2
            for whole, side in zip(reversed(problem.field), reversed(part.shape[2:]), strict=True) for _ in (0, 1)
        ]  # fmt: skip
        return invented_share(problem, torch.nn.functional.pad(part, pad))[0]

    assert share(free - free.mean()) > 0.9
    assert share(decided) < 0.1
    assert share(decided) < share(x) < share(free)


def test_a_box_decides_the_means_of_cells_and_nothing_else():
    operator = imaging((2, 2), "box")
    x = torch.randn(3, 1, 24, 24, dtype=F64, generator=torch.Generator().manual_seed(4))
    means = x.reshape(3, 1, 12, 2, 12, 2).mean((3, 5)).repeat_interleave(2, 2).repeat_interleave(2, 3)
    problem = Problem(observed=operator.forward(x), operator=operator)
    expected = (x - means).flatten(1).square().sum(1) / (x - x.mean((2, 3), keepdim=True)).flatten(1).square().sum(1)
    assert invented_share(problem, x) == pytest.approx(expected.tolist(), abs=1e-3)
    assert torch.allclose(undecided(problem, x), x - means, atol=1e-3)
    assert max(invented_share(problem, means + 40)) < 1e-6


def test_without_an_operator_nothing_is_invented():
    problem = Problem(observed=torch.zeros(1, 1, 8, 8), noise=(Noise(read_std=0.5),))
    image = torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    assert invented_share(problem, image) == (0.0,)
    assert consistency(problem, image)[0] == pytest.approx(float(image.square().mean().sqrt()) / 0.5)


def test_what_was_hidden_is_invented():
    mask = torch.ones(8, 8, dtype=torch.bool)
    mask[:, 4:] = False
    image = torch.cat([torch.eye(4), torch.eye(4)], 1).expand(1, 1, 4, 8).repeat(1, 1, 2, 1)
    assert invented_share(Problem(observed=image, operator=Mask(mask)), image) == pytest.approx((0.5,))


def test_what_a_blur_does_not_pass_is_invented():
    fine = torch.randn(1, 1, 32, 32, dtype=F64, generator=torch.Generator().manual_seed(5))
    problem = Problem(observed=fine, operator=Blur(gaussian_kernel(2.0)))
    soft = problem.operator.forward(fine)
    assert invented_share(problem, soft)[0] < 0.01 < 0.1 < invented_share(problem, fine)[0]


def test_a_constant_has_no_structure_to_invent():
    problem, _, _ = seen(imaging((2, 2), "bicubic"))
    assert invented_share(problem, torch.full((2, 1, *problem.field), 0.4)) == pytest.approx((0, 0), abs=1e-9)
