"""Variance stabilisation: signal-dependent noise becomes noise of one level, and the image comes back without bias.

D = (2/g) sqrt(max(0, g y + 3/8 g^2 + s^2 - g offset))                                          (forward)
D^2/4 + sqrt(3/2)/(4 D) - 11/(8 D^2) + 5 sqrt(3/2)/(8 D^3) - 1/8 - s^2/g^2, in counts           (exact unbiased inverse)
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from ilcore.grammar.arrays import Tiles
from ilcore.grammar.problem import Noise, Problem
from ilcore.grammar.recipe import Transform

_ROOT = math.sqrt(3 / 2)


def stabilised(observed: Tensor, noise: Noise) -> Tensor:
    """Return values whose noise has a standard deviation of about 1, from some two counts up.

    Args:
        observed: Values in the units of the noise model, any shape.
        noise: With a gain above 0.

    Reference:
        Murtagh, Starck & Bijaoui, A&A Supplement 1995 (generalised Anscombe transform).
    """
    inside = noise.gain * (observed - noise.offset) + 0.375 * noise.gain**2 + noise.read_std**2
    return 2 / noise.gain * inside.clamp_min(0).sqrt()


def unstabilised(values: Tensor, noise: Noise) -> Tensor:
    """Return the expectation of the observation whose stabilised values have the expectation `values`.

    Reference:
        Makitalo & Foi, "Optimal inversion of the generalized Anscombe transformation", TIP 2013 (closed form).
    """
    # Below the value of zero counts without read noise the closed form turns up again.
    d = values.clamp_min(2 * math.sqrt(0.375))
    counts = d**2 / 4 + _ROOT / (4 * d) - 11 / (8 * d**2) + 5 * _ROOT / (8 * d**3) - 0.125
    counts = counts - (noise.read_std / noise.gain) ** 2
    return counts.clamp_min(0) * noise.gain + noise.offset


@final
@dataclass(frozen=True)
class VarianceStabilised(Transform):
    """Restore on values whose noise is the same everywhere, then return to the units of the scan.

    The stabilised values are scaled so that the expected range of the scan becomes 0 to 1. Channels whose noise does
    not depend on the signal stay as they are.
    """

    def complaints(self, problem: Problem) -> Iterator[str]:
        if problem.noise is None:
            yield f"{self} needs the noise model; estimate it or pass noise_std"

    def forward(self, problem: Problem) -> Problem:
        models = problem.noise or ()
        planes = [_forward(problem.observed[:, n], model, problem.value_range) for n, model in enumerate(models)]
        noise = tuple(_noise_of(model, problem.value_range) for model in models)
        return replace(problem, observed=torch.stack(planes, 1), noise=noise)

    def backward(self, image: Tiles, problem: Problem) -> Tiles:
        models = problem.noise or ()
        return torch.stack([_backward(image[:, n], model, problem.value_range) for n, model in enumerate(models)], 1)


def _ends(noise: Noise, value_range: tuple[float, float]) -> tuple[float, float]:
    low, high = stabilised(torch.tensor(value_range, dtype=torch.float64), noise).tolist()
    return low, max(high, low + 1)


def _forward(plane: Tensor, noise: Noise, value_range: tuple[float, float]) -> Tensor:
    if noise.gain <= 0:
        return plane
    low, high = _ends(noise, value_range)
    return (stabilised(plane, noise) - low) / (high - low)


def _backward(plane: Tensor, noise: Noise, value_range: tuple[float, float]) -> Tensor:
    if noise.gain <= 0:
        return plane
    low, high = _ends(noise, value_range)
    return unstabilised(plane * (high - low) + low, noise)


def _noise_of(noise: Noise, value_range: tuple[float, float]) -> Noise:
    if noise.gain <= 0:
        return noise
    low, high = _ends(noise, value_range)
    return Noise(read_std=1 / (high - low), correlation=noise.correlation, lags=noise.lags)
