"""Kernels of an imaging operator: by name, by array, and what is refused."""

import numpy as np
import pytest
import torch
from PIL import Image

from ilcore.degradations.imaging import Imaging
from ilcore.degradations.kernels import Kernel, check_kernel, kernel_of, with_parity
from ilcore.grammar.errors import BadInput

F64 = torch.float64


@pytest.mark.parametrize("factor", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("psf", ["bicubic", "box", "gaussian:1.3"])
def test_a_named_kernel_has_the_parity_of_its_factor_and_sums_to_one(psf, factor):
    for tap in kernel_of(psf, (factor, factor)).taps:
        assert (len(tap) - factor) % 2 == 0
        assert float(tap.sum()) == pytest.approx(1, abs=1e-12)
        assert torch.allclose(tap, tap.flip(0))


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_bicubic_reduces_as_pillow_does(factor):
    """An independent implementation of the same antialiased reduction, away from borders."""
    x = np.random.default_rng(0).normal(size=(24 * factor, 20 * factor)).astype(np.float32)
    other = np.asarray(Image.fromarray(x, "F").resize((20, 24), Image.Resampling.BICUBIC))
    operator = Imaging(kernel_of("bicubic", (factor, factor)), (factor, factor))
    margin = (operator.domain((4, 4))[0] - 4 * factor) // 2
    rim = operator.rim(2)[0]
    inner = x[
        rim * factor - margin : len(x) - rim * factor + margin,
        rim * factor - margin : x.shape[1] - rim * factor + margin,
    ]
    seen = operator.forward(torch.from_numpy(inner)[None, None])[0, 0].numpy()
    np.testing.assert_allclose(seen, other[rim:-rim, rim:-rim], atol=1e-5)


def test_bicubic_at_factor_one_changes_nothing():
    assert [tap.tolist() for tap in kernel_of("bicubic", (1, 1)).taps] == [[1.0], [1.0]]


def test_one_width_holds_where_something_is_reduced_or_everywhere_if_nothing_is():
    assert kernel_of("gaussian:1.0", (2, 1, 1)).shape == (8, 1, 1)
    assert kernel_of("gaussian:1.0", (1, 1)).shape == (9, 9)
    assert kernel_of("gaussian:1.0,0.5,0", (2, 1, 1)).shape == (8, 5, 1)


def test_a_gaussian_has_its_width():
    for factor in (1, 2, 3):
        tap = kernel_of("gaussian:1.4", (factor, factor)).taps[0]
        places = torch.arange(len(tap)) - (len(tap) - 1) / 2
        assert float((tap * places**2).sum() ** 0.5) == pytest.approx(1.4, rel=0.01)


def test_a_kernel_whose_sum_is_not_one_is_scaled_and_it_is_said():
    kernel = kernel_of(3 * np.ones((2, 2)), (2, 2))
    assert float(kernel.taps[0].sum()) == pytest.approx(1)
    assert kernel.remarks == ("the kernel's values sum to 12 and were divided by that",)
    assert kernel_of(np.ones((2, 2)) / 4, (2, 2)).remarks == ()


def test_a_kernel_whose_weight_is_not_in_its_middle_is_spoken_of():
    lopsided = np.zeros((3, 3))
    lopsided[1, 2] = 1
    assert "centre of mass lies +0.00, +1.00 voxels" in kernel_of(lopsided, (1, 1)).remarks[0]


@pytest.mark.parametrize(
    ("psf", "factors", "words"),
    [
        ("lanczos", (2, 2), "bicubic, box, gaussian:S, got 'lanczos'"),
        ("bicubic:2", (2, 2), "got 'bicubic:2'"),
        ("gaussian", (2, 2), "one width above 0"),
        ("gaussian:-1", (2, 2), "one width above 0"),
        ("gaussian:0", (2, 2), "one width above 0"),
        ("gaussian:nan", (2, 2), "one width above 0"),
        ("gaussian:1,1,1", (2, 2), "each of 2 axes"),
        (np.ones((3, 3)), (2, 2), r"sides \(3, 3\) for factors \(2, 2\); resample it with .*with_parity"),
        (np.ones((2, 2)), (1, 2), "both be even"),
        (np.ones((2, 2, 2)), (2, 2), "one side for each of 2 axes"),
        (np.ones(2), (2, 2), "one side for each of 2 axes"),
        ([np.ones(2)], (2, 2), "one side for each of 2 axes"),
        ([], (2, 2), "one side for each of 2 axes"),
        ([np.ones((2, 2)), np.ones(2)], (2, 2), "one axis"),
        (-np.ones((2, 2)), (2, 2), "more than 0, got -4"),
        (np.zeros((2, 2)), (2, 2), "more than 0, got 0"),
        (np.array([[1, np.inf], [0, 1]]), (2, 2), "finite"),
        (np.array([[1, np.nan], [0, 1]]), (2, 2), "finite"),
        (np.array([["a", "b"], ["c", "d"]]), (2, 2), "real numbers"),
        (np.zeros((0, 2)), (2, 2), "finite"),
    ],
)
def test_what_is_no_kernel_is_refused(psf, factors, words):
    with pytest.raises(BadInput, match=words):
        kernel_of(psf, factors)


def test_a_kernel_larger_than_the_tile_is_refused():
    operator = Imaging(kernel_of("bicubic", (2, 2)), (2, 2))
    with pytest.raises(BadInput, match=r"kernel \(8, 8\) for a tile of \(6, 40\); take larger tiles"):
        operator.domain((3, 20))


@pytest.mark.parametrize(
    ("sides", "factors"), [((5, 5), (2, 2)), ((4, 5), (3, 2)), ((1, 7, 7), (1, 2, 2)), ((3, 3), (1, 3))]
)
def test_resampling_for_parity_keeps_sum_centre_and_width(sides, factors):
    places = np.meshgrid(*(np.arange(side) - (side - 1) / 2 + 0.15 for side in sides), indexing="ij")
    kernel = np.exp(-sum(place**2 for place in places) / 2)
    resampled = with_parity(kernel, factors)
    check_kernel(Kernel("array", (resampled,)), factors)
    assert float(resampled.sum()) == pytest.approx(kernel.sum())
    for axis in range(len(sides)):
        (centre, spread), (now, wide) = (_moments(np.asarray(each), axis) for each in (kernel, resampled))
        assert now == pytest.approx(centre, abs=1e-9)
        assert wide == pytest.approx(spread, abs=1e-9)


def test_what_fits_already_is_not_resampled():
    kernel = torch.rand(4, 3, dtype=F64)
    assert torch.equal(with_parity(kernel, (2, 1)), kernel)
    with pytest.raises(BadInput, match="one axis for each factor"):
        with_parity(kernel, (2, 1, 1))


def _moments(kernel, axis):
    line = np.moveaxis(kernel, axis, 0).reshape(kernel.shape[axis], -1).sum(1) / kernel.sum()
    places = np.arange(len(line)) - (len(line) - 1) / 2
    centre = float((line * places).sum())
    return centre, float((line * (places - centre) ** 2).sum())


def test_the_digest_of_a_kernel_names_its_values_and_its_shape():
    one = kernel_of(np.ones((2, 4)), (2, 2))
    assert one.digest == kernel_of(2 * np.ones((2, 4)), (2, 2)).digest
    assert len({one.digest, kernel_of(np.ones((4, 2)), (2, 2)).digest, kernel_of("box", (2, 2)).digest}) == 3
