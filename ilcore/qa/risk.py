"""The mean squared error of a restoration, estimated without the truth."""

from collections.abc import Callable, Sequence

import torch

from ilcore.grammar.arrays import Mask, PerTile, Streams, Tiles, per_tile_mean
from ilcore.grammar.draws import is_white, probe_of
from ilcore.grammar.problem import Noise, Problem


def risk_sure(
    predict: Callable[[Tiles], Tiles],
    noisy: Tiles,
    noise: Sequence[Noise],
    streams: Streams,
    *,
    trusted: Mask | None = None,
    probes: int = 1,
    step: float = 0.03,
) -> PerTile:
    """Return Stein's unbiased estimate of the mean squared error of `predict(noisy)`, tile by tile.

    For Poisson-Gaussian noise this is the first-order form: the noise variance at every voxel takes the place of
    sigma^2 and no second derivative is kept, which is accurate from some ten counts up.

    Args:
        predict: The restoration as a function of the observation, in float32.
        noisy: Observation.
        noise: Noise of each channel, in the units of `noisy`; its correlation, where it was measured, shapes the probe.
        streams: One random stream per tile, for the probes.
        trusted: Where the observation is data; only there the error is counted. None means everywhere.
        probes: Random directions along which the divergence is measured.
        step: Length of the finite difference, in standard deviations of the noise: restorers bend over that length.

    Shape:
        noisy [tile, channel, *space] -> [tile].

    Reference:
        Stein, "Estimation of the mean of a multivariate normal distribution", Ann. Stat. 1981; Monte Carlo divergence:
        Ramani, Blu & Unser, TIP 2008, eq. 14; signal-dependent: Le Montagner et al., TIP 2014, eq. 11 (first order).
    """
    image = predict(noisy)
    # The variance at the noisy value is unbiased for the variance at the true one, as long as it is not cut at zero.
    problem, slope = Problem(observed=noisy, noise=tuple(noise)), torch.zeros_like(noisy)
    variance = problem.unbiased_variance()
    if trusted is not None:
        variance = variance * trusted
    white = is_white(problem)
    std = variance.clamp_min(0).sqrt()
    size, everywhere = torch.ones_like(noisy) if white else std, tuple(range(1, std.ndim))
    for _ in range(probes):
        probe = size * probe_of(problem, streams)
        length = (step * std / size.clamp_min(1e-8)).amax(everywhere, keepdim=True).clamp_min(1e-6)
        slope += probe * (predict(noisy + length * probe) - image) / (length * probes)
    covariance = variance * slope if white else slope
    return per_tile_mean((image - noisy).square() - variance + 2 * covariance, trusted)
