"""What each operator does to small images, by hand and against another implementation."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from ilcore.degradations.operators import Blur, Identity, Mask, Shrink, gaussian_kernel, transfer
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
    kernel = torch.zeros(5, 4, dtype=F64)
    kernel[2, 2] = 1
    x = image(8, 8)
    assert torch.allclose(Blur(kernel).forward(x), x)


def test_a_mild_blur_is_undone():
    blur = Blur(gaussian_kernel(0.5))
    x = image(16, 17)
    assert torch.allclose(blur.pseudo_inverse(blur.forward(x)), x, atol=1e-8)


@pytest.mark.parametrize("factor", [1, 2, 3, 4])
@pytest.mark.parametrize("axes", [2, 3])
def test_shrink_averages_cells(factor, axes):
    x = image(*(3 * factor,) * axes)
    y = Shrink(factor).forward(x)
    shape = [size for _ in range(axes) for size in (3, factor)]
    expected = x.reshape(2, 3, *shape).mean(tuple(range(3, 3 + 2 * axes, 2)))
    assert torch.allclose(y, expected)


@pytest.mark.parametrize("factor", [2, 3])
def test_growing_back_by_the_pseudo_inverse_of_averaging_repeats_values(factor):
    y = image(4, 5)
    grown = Shrink(factor).pseudo_inverse(y)
    assert torch.allclose(grown, y.repeat_interleave(factor, -1).repeat_interleave(factor, -2))


def test_dtype_is_kept():
    x = image(8, 8).float()
    for operator in (Blur(gaussian_kernel(0.4)), Shrink(2), Mask(torch.ones(8, 8, dtype=torch.bool))):
        y = operator.forward(x)
        assert y.dtype == operator.adjoint(y).dtype == operator.pseudo_inverse(y).dtype == torch.float32


def test_gaussian_kernels_are_normalised():
    for axes in (1, 2, 3):
        kernel = gaussian_kernel(1.3, axes)
        assert kernel.ndim == axes
        assert float(kernel.sum()) == pytest.approx(1)


def test_nonsense_is_refused_with_the_values():
    with pytest.raises(BadInput, match="got 0"):
        Shrink(0)
    with pytest.raises(BadInput, match=r"multiples of the factor 3, got \(8, 9\)"):
        Shrink(3).forward(image(8, 9))
    with pytest.raises(BadInput, match=r"kernel \(9, 9\) for image \(8, 8\)"):
        transfer(torch.ones(9, 9), (8, 8))
    with pytest.raises(BadInput, match="must fit"):
        Blur(torch.ones(3, 3)).forward(image(8, 8, 8))
