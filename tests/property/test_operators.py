"""Laws of linear operators: adjoint, pseudo-inverse, brightness, place, and every tile by itself."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ilcore.degradations.imaging import Imaging
from ilcore.degradations.kernels import kernel_of
from ilcore.degradations.operators import Blur, Identity, Mask, gaussian_kernel
from ilcore.grammar.problem import Problem

F64 = torch.float64
#: Factors of every kind: one axis, some, all, odd, even, mixed; of planes and of stacks.
FACTORS = [(1, 1), (2, 2), (3, 3), (4, 4), (3, 2), (1, 4), (1, 2, 2), (2, 1, 1), (3, 2, 1), (1, 1, 1)]
NAMES = ["bicubic", "box", "gaussian:0.7", "gaussian:1.0"]


def odd_or_even(factors, generator, wider=2):
    """Return a lopsided kernel over all axes with the parity of each factor."""
    return torch.rand([factor + 2 * wider for factor in factors], dtype=F64, generator=generator)


@st.composite
def imagings(draw):
    """Draw an imaging operator and the shape of an observation."""
    factors = draw(st.sampled_from(FACTORS))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    kind = draw(st.sampled_from([*NAMES, "array", "per axis"]))
    psf = {
        "array": odd_or_even(factors, generator, draw(st.integers(0, 2))),
        "per axis": [torch.rand(factor + 2, dtype=F64, generator=generator) for factor in factors],
    }.get(kind, kind)
    operator = Imaging(kernel_of(psf, factors), factors)
    least = [-(-side // factor) for side, factor in zip(operator.kernel.shape, factors, strict=True)]
    return operator, tuple(n + draw(st.integers(0, 3)) for n in least), generator


@st.composite
def cases(draw):
    """Draw an operator and an image of its domain."""
    space = tuple(draw(st.integers(4, 12)) for _ in range(draw(st.integers(2, 3))))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    kernel = torch.rand(
        [2 * draw(st.integers(0, (side - 1) // 2)) + 1 for side in space], dtype=F64, generator=generator
    )
    mask = torch.rand(space, generator=generator) < 0.6
    each = torch.rand((2, 1, *space), generator=generator) < 0.6
    imaging, small, _ = draw(imagings())
    operator, observed = draw(
        st.sampled_from([
            (Identity(), space), (Mask(mask), space), (Mask(each), space), (Blur(kernel / kernel.sum()), space),
            (imaging, small),
        ])
    )  # fmt: skip
    return operator, torch.randn((2, 1, *operator.domain(observed)), dtype=F64, generator=generator), generator


def inner(a, b):
    return float((a * b).sum())


laws = settings(max_examples=50, deadline=None)


@laws
@given(cases())
def test_adjoint(case):
    operator, x, generator = case
    y = operator.forward(x)
    u = torch.randn(y.shape, dtype=F64, generator=generator)
    scale = float(x.norm() * u.norm()) * max(1.0, float(y.norm() / x.norm()))
    assert abs(inner(y, u) - inner(x, operator.adjoint(u))) < 1e-10 * scale


@laws
@given(cases())
def test_adjoint_in_32_bits(case):
    operator, x, generator = case
    y = operator.forward(x.float())
    u = torch.randn(y.shape, generator=generator)
    assert abs(inner(y, u) - inner(x.float(), operator.adjoint(u))) < 1e-6 * float(x.norm() * u.norm())


@laws
@given(cases())
def test_linearity(case):
    operator, x, generator = case
    z = torch.randn(x.shape, dtype=F64, generator=generator)
    together = operator.forward(2 * x - 3 * z)
    assert torch.allclose(together, 2 * operator.forward(x) - 3 * operator.forward(z), atol=1e-9)


@laws
@given(cases())
def test_pseudo_inverse(case):
    operator, x, _ = case
    y = operator.forward(x)
    again = operator.forward(operator.pseudo_inverse(y))
    # A pure blur passes some frequencies by less than a thousandth of the strongest; those are left out.
    is_blur = isinstance(operator, Blur) or (isinstance(operator, Imaging) and max(operator.factors) == 1)
    allowed = 3e-3 if is_blur else 1e-6
    assert float((again - y).norm()) <= allowed * float(x.norm())


@laws
@given(cases())
def test_pseudo_inverse_invents_nothing(case):
    """A+ y lies in the range of A': what A cannot see stays zero."""
    operator, x, _ = case
    best = operator.pseudo_inverse(operator.forward(x))
    again = operator.pseudo_inverse(operator.forward(best))
    assert float((again - best).norm()) <= 1e-5 * max(float(best.norm()), 1e-9)


@laws
@given(imagings().filter(lambda drawn: drawn[0].kernel.name in NAMES and max(drawn[0].factors) > 1))
def test_where_nothing_is_lost_the_pseudo_inverse_explains_any_observation(drawn):
    # Without any reduction a Gaussian passes so little of the finest detail that it is lost in rounding.
    operator, space, generator = drawn
    y = torch.randn((2, 1, *space), dtype=F64, generator=generator)
    assert float((operator.forward(operator.pseudo_inverse(y)) - y).norm()) <= 1e-6 * float(y.norm())


@laws
@given(cases(), st.sampled_from([1e-3, 0.1, 2.0]))
def test_solving_with_a_ridge_solves(case, ridge):
    operator, x, _ = case
    y = operator.forward(x)
    solved = operator.solve(y, ridge)
    again = operator.forward(operator.adjoint(solved)) + ridge * solved
    assert float((again - y).norm()) <= 1e-8 * float(y.norm())


@laws
@given(cases().filter(lambda case: not isinstance(case[0], Imaging)))
def test_whitening_twice_solves(case):
    operator, x, _ = case
    y = operator.forward(x)
    assert torch.allclose(operator.whitened(operator.whitened(y, 0.1), 0.1), operator.solve(y, 0.1), atol=1e-9)


@pytest.mark.parametrize("factors", FACTORS)
@pytest.mark.parametrize("psf", NAMES)
def test_whitening_a_small_thing_far_from_borders_is_the_root_of_solving(psf, factors):
    operator = Imaging(kernel_of(psf, factors), factors)
    space = tuple(24 if factor > 1 or len(factors) == 2 else 12 for factor in factors)
    y = torch.zeros(1, 1, *space, dtype=F64)
    y[(0, 0, *(side // 2 for side in space))] = 1
    twice = operator.whitened(operator.whitened(y, 0.2), 0.2)
    assert float((twice - operator.solve(y, 0.2)).norm()) <= 0.02 * float(twice.norm())


@laws
@given(imagings())
def test_brightness_stays(drawn):
    operator, space, _ = drawn
    seen = operator.forward(torch.ones(1, 1, *operator.domain(space), dtype=F64))
    assert seen.shape[2:] == space
    assert torch.allclose(seen, torch.ones_like(seen), atol=1e-12)


@pytest.mark.parametrize("operator", [Identity(), Mask(torch.ones(9, 9, dtype=torch.bool)), Blur(gaussian_kernel(0.8))])
def test_brightness_stays_on_the_same_grid(operator):
    ones = torch.ones(1, 1, 9, 9, dtype=F64)
    assert torch.allclose(operator.forward(ones), ones)


def centre_of(image, spacing, first):
    """Return the centre of mass of an image [*space], whose voxels lie `spacing` apart, the first middle at `first`."""
    places = [first[n] + spacing[n] * np.arange(length) for n, length in enumerate(image.shape)]
    lines = [image.sum(tuple(other for other in range(image.ndim) if other != n)) for n in range(image.ndim)]
    return np.array([float((line * at).sum() / line.sum()) for line, at in zip(lines, places, strict=True)])


def blob_of(space, middle, width):
    axes = np.meshgrid(*(np.arange(length) for length in space), indexing="ij")
    square = sum((axis - at) ** 2 for axis, at in zip(axes, middle, strict=True))
    return np.exp(-0.5 * square / width**2)


@pytest.mark.parametrize("factors", FACTORS)
@pytest.mark.parametrize("psf", [*NAMES, "odd or even"])
def test_nothing_moves(psf, factors):
    """A smooth blob has its centre at the same place of the sample before and after, odd kernels and even ones."""
    square = torch.ones([factor + 4 for factor in factors])
    operator = Imaging(kernel_of(square if psf == "odd or even" else psf, factors), factors)
    space = tuple(14 if len(factors) == 3 else 24 for _ in factors)
    field, domain = operator.field(space), operator.domain(space)
    margins = [(wide - inner) // 2 for wide, inner in zip(domain, field, strict=True)]
    middle = [margin + 0.5 * length - 0.7 for margin, length in zip(margins, field, strict=True)]
    x = blob_of(domain, middle, 1.3 * max(factors))
    y = operator.forward(torch.from_numpy(x)[None, None])[0, 0].numpy()
    before = centre_of(x, [1.0] * len(factors), [-float(margin) for margin in margins])
    after = centre_of(y, [float(factor) for factor in factors], operator.phase(len(factors)))
    assert np.abs(before - after).max() <= 0.1


def test_a_blur_moves_nothing():
    x = blob_of((24, 24), (11.3, 12.4), 2.0)
    for kernel in (gaussian_kernel(1.1), torch.ones(5, 3, dtype=F64) / 15):
        y = Blur(kernel).forward(torch.from_numpy(x)[None, None])[0, 0].numpy()
        assert np.abs(centre_of(x, (1, 1), (0, 0)) - centre_of(y, (1, 1), (0, 0))).max() <= 0.1


@laws
@given(cases())
def test_tiles_together_are_each_alone_to_the_bit(case):
    operator, x, _ = case
    y = operator.forward(x)
    for row in range(len(x)):
        alone = operator.rows([row])
        assert torch.equal(alone.forward(x[[row]]), y[[row]])
        assert torch.equal(alone.adjoint(y[[row]]), operator.adjoint(y)[[row]])
        assert torch.equal(alone.pseudo_inverse(y[[row]], 0.01), operator.pseudo_inverse(y, 0.01)[[row]])
        assert torch.equal(alone.whitened(y[[row]], 0.01), operator.whitened(y, 0.01)[[row]])


def test_tiles_that_end_sooner_wait_for_nobody():
    """A blank tile, which is solved at once, changes nothing of a hard one beside it."""
    operator = Imaging(kernel_of("gaussian:1.6", (2, 2)), (2, 2))
    y = torch.randn(3, 2, 12, 12, dtype=F64, generator=torch.Generator().manual_seed(0))
    y[0], y[2, 1] = 0, 1e-9 * y[2, 1]
    together = operator.solve(y, 1e-4)
    assert torch.equal(together[0], torch.zeros_like(together[0]))
    assert all(torch.equal(together[[n]], operator.solve(y[[n]], 1e-4)) for n in range(3))
    assert all(
        torch.allclose(together[[n]][:, [c]], operator.solve(y[[n]][:, [c]], 1e-4)) for n in range(3) for c in (0, 1)
    )


def test_some_rows_of_a_problem_have_their_own_part_of_the_operator():
    mask = torch.rand(3, 1, 5, 5, generator=torch.Generator().manual_seed(0)) > 0.5
    problem = Problem(observed=torch.ones(3, 1, 5, 5), operator=Mask(mask))
    picked = problem.rows([1])
    assert torch.equal(picked.operator.forward(picked.observed), mask[[1]].float())
    assert torch.equal(problem.rows([2, 0]).operator.mask, mask[[2, 0]])


@laws
@given(imagings())
def test_a_problem_knows_the_grids_of_its_operator(drawn):
    operator, space, _ = drawn
    problem = Problem(observed=torch.zeros(1, 1, *space), operator=operator)
    assert (problem.space, problem.domain, problem.field) == (space, operator.domain(space), operator.field(space))
    whole = torch.zeros(1, 1, *problem.domain)
    assert problem.inside(whole).shape[2:] == problem.plain().shape[2:] == problem.field
    assert Problem(observed=torch.zeros(1, 1, 4, 5)).field == (4, 5)
