"""One number for the noise of one image, five ways. Good for white Gaussian noise; all but one fail on blurred noise.

Accuracy of each on photographs stands in docs/noise-estimates.md.
"""

import math

import numpy as np
from scipy import ndimage

from ilcore.degradations.planes import Values
from ilcore.degradations.wavelets import diagonal_detail, finest_details, local_level, steepness

#: Median of the absolute value of a standard normal variable.
NORMAL_MAD = 0.6744897501960817


def mad_std(values: Values) -> float:
    """Return the standard deviation of a normal variable from the median of its absolute value."""
    return float(np.median(np.abs(values))) / NORMAL_MAD if values.size else 0.0


def hh_mad(image: Values) -> float:
    """Return the noise level from the finest diagonal wavelet band.

    Args:
        image: One plane [y, x], all finite.

    Reference:
        Donoho & Johnstone, "Ideal spatial adaptation by wavelet shrinkage", Biometrika 1994.
    """
    return mad_std(diagonal_detail(image))


def three_band_mad(image: Values) -> float:
    """Return the noise level from the three finest wavelet bands pooled; worse on texture than `hh_mad`."""
    return mad_std(np.concatenate([band.ravel() for band in finest_details(image)]))


def smooth_half_mad(image: Values, share: float = 0.3) -> float:
    """Return the noise level from the finest diagonal band where the smoothed image is flattest.

    Args:
        image: One plane [y, x], all finite.
        share: Part of the pixels that counts as flat.
    """
    slope = steepness(local_level(image))
    return mad_std(diagonal_detail(image)[slope <= np.quantile(slope, share)])


def immerkaer(image: Values) -> float:
    """Return the noise level from the mean absolute response to a difference of two Laplacians.

    Reference:
        Immerkaer, "Fast noise variance estimation", CVIU 1996.
    """
    mask = np.array([[1.0, -2.0, 1.0], [-2.0, 4.0, -2.0], [1.0, -2.0, 1.0]])
    return math.sqrt(math.pi / 2) / 6 * float(np.abs(ndimage.convolve(image, mask)).mean())


def pca_level(image: Values, side: int = 8, stride: int = 3) -> float:
    """Return the noise level from the small eigenvalues of the covariance of patches.

    Args:
        image: One plane [y, x] of at least `side` pixels each way, all finite.
        side: Patch side.
        stride: Distance between patches.

    Reference:
        Chen, Zhu & Heng, "An efficient statistical method for image noise level estimation", ICCV 2015.
    """
    windows = np.lib.stride_tricks.sliding_window_view(image, (side, side))[::stride, ::stride]
    return level_of(patch_eigenvalues(windows.reshape(-1, side * side)))


def patch_eigenvalues(patches: Values) -> Values:
    """Return the eigenvalues of the covariance of patches [patch, pixel], ascending."""
    return np.asarray(np.linalg.eigvalsh(np.cov(patches.T)))


def level_of(eigenvalues: Values) -> float:
    """Return the noise level from the small ones of the eigenvalues, ascending."""
    for count in range(len(eigenvalues), 1, -1):
        if eigenvalues[:count].mean() <= np.median(eigenvalues[:count]):
            return math.sqrt(max(float(eigenvalues[:count].mean()), 0.0))
    return math.sqrt(max(float(eigenvalues[0]), 0.0))
