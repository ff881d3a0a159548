"""Draws from the noise law of a problem, correlation included."""

import math
from collections.abc import Sequence
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from ilcore.grammar.arrays import Streams
from ilcore.grammar.problem import Noise, Problem

_CORRELATED = ("row", "column", "isotropic")


def unit_noise(problem: Problem, streams: Streams, rows: Sequence[int] | None = None) -> Tensor:
    """Return normal noise of unit variance with the correlation of each channel's noise.

    Correlated noise is modelled as white noise through a Gaussian filter whose width reproduces the measured
    correlation of neighbours.

    Shape:
        -> [row, channel, *space], on the device of the problem.
    """
    shape, device = problem.observed.shape[1:], problem.observed.device
    if problem.noise is None or is_white(problem):
        return streams.normal(shape, rows).to(device)
    lines = [[_line(lag) for lag in lags_of(noise)] for noise in problem.noise]
    margins = [max(len(pair[axis]) - 1 for pair in lines) for axis in (0, 1)]
    grown = (*shape[:-2], shape[-2] + margins[0], shape[-1] + margins[1])
    field = streams.normal(grown, rows).to(device)
    planes = [_filtered(field[:, n], pair)[..., : shape[-2], : shape[-1]] for n, pair in enumerate(lines)]
    return torch.stack(planes, 1)


def noise_on(levels: Tensor, noise: Sequence[Noise], streams: Streams) -> Tensor:
    """Return levels with noise of a law: counts where it is white and grows with the signal, else normal noise.

    Args:
        levels: What there would be without noise.
        noise: Law of each channel.
        streams: One random stream a row.

    Shape:
        levels [row, channel, *space] -> the same.
    """
    problem = Problem(observed=levels, noise=tuple(noise))
    seen = levels + problem.noise_std(levels) * unit_noise(problem, streams)
    for number, law in enumerate(noise):
        if law.gain > 0 and lags_of(law) == (0, 0):
            seen[:, number] = _counted(levels[:, number], law, streams)
    return seen


def _counted(levels: Tensor, law: Noise, streams: Streams) -> Tensor:
    light = ((levels - law.offset).double() / law.gain).clamp_min(0)
    rows = zip(light, streams.generators, strict=True)
    counts = torch.stack([torch.poisson(row, generator=own) for row, own in rows])
    return levels + law.gain * (counts - light) + law.read_std * streams.normal(levels.shape[1:])


def probe_of(problem: Problem, streams: Streams, rows: Sequence[int] | None = None) -> Tensor:
    """Return directions of unit variance with the correlation of the noise: signs where it is white.

    They are zero where nothing is trusted: what stands there has no noise of its own.

    Shape:
        -> [row, channel, *space].
    """
    if is_white(problem):
        drawn = streams.signs(problem.observed.shape[1:], rows).to(problem.observed.device)
    else:
        drawn = unit_noise(problem, streams, rows)
    trusted = problem.trusted
    return drawn if trusted is None else drawn * (trusted if rows is None else trusted[list(rows)])


def probe_weight(problem: Problem) -> Tensor:
    """Return what a derivative along `noise_std * probe_of` is weighed by, so that its variance is not cut at zero.

    One, but for white noise where read noise took the observation below zero light. Correlated noise mixes voxels:
    there it stays one.

    Shape:
        -> [tile, channel, *space].
    """
    power, unbiased = problem.noise_std(problem.observed).square(), problem.unbiased_variance()
    # Elsewhere exactly one: roundings would make strategies differ.
    is_cut = (unbiased < 0.9999 * power) & (power > 0) & is_white(problem)
    return torch.where(is_cut, unbiased / power, 1.0)


def is_white(problem: Problem) -> bool:
    """Tell whether no channel is known to have correlated noise."""
    return all(lags_of(noise) == (0, 0) for noise in problem.noise or ())


def knows_correlation(noise: Noise) -> bool:
    """Tell whether the noise is white as far as anybody knows, or its correlation was measured."""
    return noise.correlation not in _CORRELATED or lags_of(noise) != (0, 0)


def lags_of(noise: Noise) -> tuple[float, float]:
    """Return the correlation of neighbours along y and x; zeros where the noise is not known to be correlated."""
    return noise.lags if noise.correlation in _CORRELATED else (0.0, 0.0)


@lru_cache(maxsize=64)
def _line(lag: float) -> Tensor:
    """Return a Gaussian filter of unit energy after which neighbours are correlated by `lag`."""
    if lag <= 0.01:
        return torch.ones(1)
    narrow, wide = 0.1, 6.0
    for _ in range(40):
        width = (narrow + wide) / 2
        line = _gaussian(width)
        narrow, wide = (width, wide) if float(line[1:] @ line[:-1]) < lag else (narrow, width)
    return line


def _gaussian(width: float) -> Tensor:
    reach = math.ceil(4 * width)
    line = torch.exp(-(torch.arange(-reach, reach + 1) ** 2) / (2 * width**2))
    return line / line.square().sum().sqrt()


def _filtered(field: Tensor, lines: Sequence[Tensor]) -> Tensor:
    down, across = lines[0].to(field), lines[1].to(field)
    flat = field.reshape(-1, 1, *field.shape[-2:])
    flat = F.conv2d(F.conv2d(flat, down[None, None, :, None]), across[None, None, None])
    return flat.reshape(*field.shape[:-2], *flat.shape[-2:])
