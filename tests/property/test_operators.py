"""Laws of linear operators: the adjoint is the adjoint, the pseudo-inverse is a pseudo-inverse."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ilcore.degradations.operators import Blur, Identity, Mask, Shrink, gaussian_kernel

F64 = torch.float64


@st.composite
def cases(draw):
    """Draw an operator and an image it accepts."""
    factor = draw(st.integers(1, 3))
    space = tuple(factor * draw(st.integers(2, 5)) for _ in range(draw(st.integers(2, 3))))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    kernel = torch.rand([draw(st.integers(1, side)) for side in space], dtype=F64, generator=generator)
    mask = torch.rand(space, generator=generator) < 0.6
    width = draw(st.floats(0.2, min(space) / 10))
    soft = gaussian_kernel(width, len(space))
    fits = all(a <= b for a, b in zip(soft.shape, space, strict=True))
    operators = [Identity(), Mask(mask), Blur(kernel), Shrink(factor), Shrink(factor, kernel)]
    operator = draw(st.sampled_from([*operators, Blur(soft), Shrink(factor, soft)] if fits else operators))
    return operator, torch.randn((2, 1, *space), dtype=F64, generator=generator), generator


def inner(a, b):
    return float((a * b).sum())


@settings(max_examples=150, deadline=None)
@given(cases())
def test_adjoint(case):
    operator, x, generator = case
    y = operator.forward(x)
    u = torch.randn(y.shape, dtype=F64, generator=generator)
    scale = float(x.norm() * u.norm()) * max(1.0, float(y.norm() / x.norm()))
    assert abs(inner(y, u) - inner(x, operator.adjoint(u))) < 1e-10 * scale


@settings(max_examples=150, deadline=None)
@given(cases())
def test_linearity(case):
    operator, x, generator = case
    z = torch.randn(x.shape, dtype=F64, generator=generator)
    together = operator.forward(2 * x - 3 * z)
    assert torch.allclose(together, 2 * operator.forward(x) - 3 * operator.forward(z), atol=1e-9)


@settings(max_examples=150, deadline=None)
@given(cases())
def test_pseudo_inverse(case):
    operator, x, _ = case
    y = operator.forward(x)
    again = operator.forward(operator.pseudo_inverse(y))
    # Blur and Shrink leave out what they pass by less than a thousandth of the strongest frequency.
    allowed = 1e-8 if isinstance(operator, Identity | Mask) else 2e-3
    strongest = float(y.norm() / x.norm()) + float(operator.forward(torch.ones_like(x)).abs().max())
    assert float((again - y).norm()) <= allowed * strongest * float(x.norm())


@settings(max_examples=100, deadline=None)
@given(cases())
def test_pseudo_inverse_invents_nothing(case):
    """A+ y lies in the range of A': what A cannot see stays zero."""
    operator, x, _ = case
    y = operator.forward(x)
    best = operator.pseudo_inverse(y)
    again = operator.pseudo_inverse(operator.forward(best))
    assert float((again - best).norm()) <= 1e-6 * max(float(best.norm()), 1e-9)
