"""Draw noise of a known model onto a clean image: for tests, pretraining and measurements only."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from ilcore.degradations.operators import gaussian_kernel
from ilcore.grammar.arrays import Streams
from ilcore.grammar.errors import BadInput
from ilcore.grammar.problem import Noise

#: Axes along which a correlation runs, counted from the end.
_AXES = {"row": (-1,), "column": (-2,), "isotropic": (-2, -1)}


def add_noise(
    clean: Tensor, noise: Noise | Sequence[Noise], randomness: torch.Generator | Streams, *, blur_px: float = 0.7
) -> Tensor:
    """Return a noisy observation of a clean image, on its device; the numbers are drawn on the CPU, the same for all.

    White noise is drawn exactly, counts included. Correlated noise is normal with the variance of the model at every
    voxel: white noise filtered along the axes that the model names, rescaled to unit variance.

    Args:
        clean: Image in the units of the noise model.
        noise: One model for all channels or one per channel.
        randomness: One generator for the batch, or one stream per tile.
        blur_px: Width of the Gaussian that correlates the noise, in pixels.

    Shape:
        clean [tile, channel, *space].
    """
    if isinstance(randomness, Streams):
        tiles = [add_noise(tile[None], noise, generator, blur_px=blur_px)
                 for tile, generator in zip(clean, randomness.generators, strict=True)]  # fmt: skip
        return torch.cat(tiles)
    models = [noise] * clean.shape[1] if isinstance(noise, Noise) else list(noise)
    if len(models) != clean.shape[1]:
        raise BadInput(f"one noise model per channel is needed, got {len(models)} for {clean.shape[1]} channels")
    planes = [_observed(clean[:, channel], model, randomness, blur_px) for channel, model in enumerate(models)]
    return torch.stack(planes, 1)


def correlated_normal(
    shape: Sequence[int], axes: Sequence[int], generator: torch.Generator, blur_px: float, dtype: torch.dtype
) -> Tensor:
    """Return normal noise of unit variance, correlated along some axes.

    Args:
        shape: Shape of the noise.
        axes: Axes to correlate, counted from the end.
        generator: Where the numbers come from.
        blur_px: Width of the Gaussian in pixels.
        dtype: Type of the result.
    """
    line = gaussian_kernel(blur_px, 1)
    line = (line / line.square().sum().sqrt()).to(dtype)
    margin = len(line) - 1
    # Drawn larger and cut, so that the variance is the same up to the border.
    grown = [side + margin * (axis - len(shape) in axes) for axis, side in enumerate(shape)]
    field = torch.randn(grown, generator=generator, dtype=dtype)
    for axis in axes:
        field = _valid_convolution(field, line, axis)
    return field


def _observed(clean: Tensor, noise: Noise, generator: torch.Generator, blur_px: float) -> Tensor:
    if noise.correlation not in _AXES:
        return _counted(clean, noise, generator) + noise.read_std * _normal_like(clean, generator)
    unit = correlated_normal(clean.shape, _AXES[noise.correlation], generator, blur_px, clean.dtype)
    std: Tensor = noise.variance(clean) ** 0.5
    return clean + std * unit.to(clean.device)


def _counted(clean: Tensor, noise: Noise, generator: torch.Generator) -> Tensor:
    """Return Poisson counts in grey levels; what is darker than zero light stays as it is."""
    if noise.gain == 0:
        return clean
    light = clean - noise.offset
    counts = torch.poisson((light.clamp_min(0) / noise.gain).cpu(), generator=generator).to(clean.device)
    return torch.where(light > 0, noise.offset + noise.gain * counts, clean)


def _normal_like(clean: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(clean.shape, generator=generator, dtype=clean.dtype).to(clean.device)


def _valid_convolution(field: Tensor, line: Tensor, axis: int) -> Tensor:
    moved = field.movedim(axis, -1)
    flat = functional.conv1d(moved.reshape(-1, 1, moved.shape[-1]), line.reshape(1, 1, -1))
    return flat.reshape(*moved.shape[:-1], -1).movedim(-1, axis)
