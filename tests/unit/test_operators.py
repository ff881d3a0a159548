"""What each operator does to small images, by hand and against another implementation."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from scipy import ndimage, signal

from ilcore.degradations.imaging import Imaging
from ilcore.degradations.kernels import kernel_of
from ilcore.degradations.operators import Blur, Identity, Mask, gaussian_kernel, transfer
from ilcore.grammar.errors import BadInput

F64 = torch.float64


def image(*space):
    return torch.randn((2, 3, *space), dtype=F64, generator=torch.Generator().manual_seed(0))


def test_identity_is_the_same_tensor():
    x = image(4, 4)
    assert Identity().forward(x) is x
    assert Identity().adjoint(x) is x
    assert Identity().pseudo_inverse(x) is x


def test_mask_zeroes_what_is_hidden():
    mask = torch.ones(1, 1, 4, 4, dtype=torch.bool)
    mask[..., 1, 2] = False
    x = image(4, 4)
    y = Mask(mask).forward(x)
    assert (y[..., 1, 2] == 0).all()
    assert torch.equal(y[..., 0, :], x[..., 0, :])


@pytest.mark.parametrize("space", [(12, 15), (6, 8, 9)])
def test_blur_agrees_with_scipy(space):
    kernel = torch.rand((3,) * len(space), dtype=F64, generator=torch.Generator().manual_seed(1))
    x = image(*space)
    expected = ndimage.convolve(x[0, 0].numpy(), kernel.numpy(), mode="wrap")
    np.testing.assert_allclose(Blur(kernel).forward(x)[0, 0].numpy(), expected, atol=1e-12)


def test_a_centred_impulse_blurs_nothing():
    kernel = torch.zeros(5, 3, dtype=F64)
    kernel[2, 1] = 1
    x = image(8, 8)
    assert torch.allclose(Blur(kernel).forward(x), x)


def test_a_mild_blur_is_undone():
    blur = Blur(gaussian_kernel(0.5))
    x = image(16, 17)
    assert torch.allclose(blur.pseudo_inverse(blur.forward(x)), x, atol=1e-8)


def box(factor, axes):
    return Imaging(kernel_of("box", (factor,) * axes), (factor,) * axes)


@pytest.mark.parametrize("factor", [1, 2, 3, 4])
@pytest.mark.parametrize("axes", [2, 3])
def test_a_box_averages_cells(factor, axes):
    x = image(*(3 * factor,) * axes)
    y = box(factor, axes).forward(x)
    shape = [size for _ in range(axes) for size in (3, factor)]
    expected = x.reshape(2, 3, *shape).mean(tuple(range(3, 3 + 2 * axes, 2)))
    assert torch.allclose(y, expected)


@pytest.mark.parametrize("factor", [2, 3])
def test_growing_back_by_the_pseudo_inverse_of_averaging_repeats_values(factor):
    y = image(4, 5)
    grown = box(factor, 2).pseudo_inverse(y)
    assert torch.allclose(grown, y.repeat_interleave(factor, -1).repeat_interleave(factor, -2))


@pytest.mark.parametrize(("factors", "sides"), [((2, 2), (4, 6)), ((3, 1), (5, 3)), ((1, 2, 2), (1, 4, 2))])
def test_imaging_agrees_with_scipy(factors, sides):
    """A lopsided kernel tells convolution from correlation; voxels near the border are compared as well."""
    kernel = torch.rand(sides, dtype=F64, generator=torch.Generator().manual_seed(1))
    operator = Imaging(kernel_of(kernel, factors), factors)
    x = image(*operator.domain((5,) * len(factors)))
    expected = signal.convolve(x[1, 2].numpy(), (kernel / kernel.sum()).numpy(), mode="valid")
    every = tuple(slice(None, None, factor) for factor in factors)
    np.testing.assert_allclose(operator.forward(x)[1, 2].numpy(), expected[every], atol=1e-12)


def test_a_kernel_over_all_axes_is_the_same_as_one_for_each():
    along = [torch.rand(side, dtype=F64) for side in (4, 3)]
    one, each = kernel_of(along[0][:, None] * along[1], (2, 1)), kernel_of(along, (2, 1))
    x = image(*Imaging(each, (2, 1)).domain((5, 6)))
    assert torch.allclose(Imaging(one, (2, 1)).forward(x), Imaging(each, (2, 1)).forward(x))
    assert each.is_separable
    assert not one.is_separable
    assert one.shape == each.shape == (4, 3)


def test_a_kernel_smaller_than_the_cell_looks_at_its_middle():
    x = image(8, 8)
    operator = Imaging(kernel_of(torch.ones(2, 2), (4, 4)), (4, 4))
    cells = x.reshape(2, 3, 2, 4, 2, 4)[:, :, :, 1:3, :, 1:3].mean((3, 5))
    assert operator.domain((2, 2)) == (8, 8)
    assert torch.allclose(operator.forward(x), cells)


def test_the_margin_is_what_the_kernel_sees_beyond_the_field():
    operator = Imaging(kernel_of("bicubic", (1, 2, 3)), (1, 2, 3))
    assert operator.kernel.shape == (1, 8, 11)
    assert operator.domain((5, 6, 7)) == (5, 12 + 6, 21 + 8)
    assert operator.field((5, 6, 7)) == (5, 12, 21)
    assert operator.phase(3) == (0, 0.5, 1)
    assert operator.rim(3) == (0, 2, 2)
    x = image(5, 18, 29)
    assert torch.equal(operator.inside(x), x[..., 3:-3, 4:-4])


@pytest.mark.medium
@pytest.mark.parametrize("width", [2.5, 4.0])
def test_a_wide_blur_is_solved_for_without_blowing_up(width):
    """What A does not pass is not amplified beyond what the observation holds, even without a ridge."""
    operator = Imaging(kernel_of(f"gaussian:{width}", (1, 1)), (1, 1))
    y = operator.forward(image(*operator.domain((40, 40))))
    again = operator.forward(operator.pseudo_inverse(y))
    assert float((again - y).norm()) <= 0.05 * float(y.norm())


def test_dtype_is_kept():
    x = image(8, 8).float()
    for operator in (Blur(gaussian_kernel(0.4)), box(2, 2), Mask(torch.ones(8, 8, dtype=torch.bool))):
        y = operator.forward(x)
        assert y.dtype == operator.adjoint(y).dtype == operator.pseudo_inverse(y).dtype == torch.float32


def test_gaussian_kernels_are_normalised():
    for axes in (1, 2, 3):
        kernel = gaussian_kernel(1.3, axes)
        assert kernel.ndim == axes
        assert float(kernel.sum()) == pytest.approx(1)


def test_nonsense_is_refused_with_the_values():
    one = kernel_of("box", (1, 1))
    with pytest.raises(BadInput, match="at least 1, got 0, 1"):
        Imaging(one, (0, 1))
    with pytest.raises(BadInput, match="whole and at least 1, got 3/2, 1"):
        Imaging(one, (Fraction(3, 2), 1))
    with pytest.raises(BadInput, match=r"got \(8, 9\); crop or pad"):
        box(3, 2).forward(image(8, 9))
    with pytest.raises(BadInput, match="as many axes of space"):
        box(3, 2).field((9, 9, 9))
    with pytest.raises(BadInput, match=r"sides of a blur must be odd.*got \(4, 5\); resample it with .*with_parity"):
        Blur(torch.ones(4, 5))
    with pytest.raises(BadInput, match="tile and channel besides"):
        Mask(torch.ones(3, 8, 8, dtype=torch.bool)).forward(image(8, 8))
    with pytest.raises(BadInput, match=r"kernel \(9, 9\) for image \(8, 8\)"):
        transfer(torch.ones(9, 9), (8, 8))
    with pytest.raises(BadInput, match="must fit"):
        Blur(torch.ones(3, 3)).forward(image(8, 8, 8))
