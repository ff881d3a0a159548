"""Measures against a known truth; the only module that knows one. For tests and benchmarks."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.metrics import structural_similarity


def psnr(truth: NDArray[Any], result: NDArray[Any], *, peak: float) -> float:
    """Return 10 log10(peak^2 / mean squared error), in dB; infinite for equal images."""
    error = float(np.mean(np.square(truth.astype(np.float64) - result.astype(np.float64))))
    return float("inf") if error == 0 else float(10 * np.log10(peak**2 / error))


def ssim(truth: NDArray[Any], result: NDArray[Any], *, peak: float) -> float:
    """Return the structural similarity of two planes or stacks.

    Reference:
        Wang et al., "Image quality assessment", TIP 2004: Gaussian window of 1.5 px, as scikit-image computes it.
    """
    one, two = truth.astype(np.float64), result.astype(np.float64)
    return float(
        structural_similarity(one, two, data_range=peak, gaussian_weights=True, sigma=1.5, use_sample_covariance=False)
    )


def affine_fit(image: NDArray[Any], truth: NDArray[Any]) -> NDArray[np.float64]:
    """Return a * image + b with a and b that bring it closest to the truth, for sources scaled file by file."""
    values = image.astype(np.float64)
    gain, offset = np.polyfit(values.ravel(), truth.astype(np.float64).ravel(), 1)
    return np.asarray(gain * values + offset)
