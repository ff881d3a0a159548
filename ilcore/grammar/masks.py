"""Places hidden on a grid, and what to put there."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ilcore.grammar.arrays import Mask, Tiles
from ilcore.grammar.problem import Problem


def neighbour_mean(image: Tiles, trusted: Mask | None = None) -> Tiles:
    """Return the mean of the eight in-plane neighbours, side-sharing ones counting double, trusted ones only.

    Shape:
        [tile, channel, *space] -> the same.

    Reference:
        Batson & Royer, "Noise2Self", ICML 2019, released code (interpolation mask).
    """
    weights = [[0.5, 1.0, 0.5], [1.0, 0.0, 1.0], [0.5, 1.0, 0.5]]
    ring = torch.tensor(weights, dtype=image.dtype, device=image.device)[None, None]
    weight = torch.ones_like(image) if trusted is None else trusted.to(image.dtype)
    flat, flags = ((a.reshape(-1, 1, *image.shape[-2:])) for a in (image * weight, weight))
    total, count = F.conv2d(flat, ring, padding=1), F.conv2d(flags, ring, padding=1)
    mean = (total / count.clamp_min(1e-6)).reshape(image.shape)
    return torch.where(count.reshape(image.shape) > 0, mean, image)


def without_holes(problem: Problem) -> Tiles:
    """Return the observation with the mean of its tile and channel where it is not trusted.

    Shape:
        -> [tile, channel, *space].
    """
    if problem.trusted is None:
        return problem.observed
    space = tuple(range(2, problem.observed.ndim))
    # Selected, not multiplied: what is not trusted may be infinite.
    kept = torch.where(problem.trusted, problem.observed, torch.zeros_like(problem.observed))
    mean = kept.sum(space, keepdim=True) / problem.trusted.sum(space, keepdim=True).clamp_min(1)
    return torch.where(problem.trusted, problem.observed, mean)


def grid_phase(space: Sequence[int], stride: int, place: Tensor) -> Tensor:
    """Return masks that are True at one place of every cell.

    Args:
        space: Spatial shape; the grid lies in its last two axes.
        stride: Side of a cell.
        place: [row], index of the place within the cell.

    Shape:
        [row, 1, *space].
    """
    down = (torch.arange(space[-2], device=place.device) % stride)[:, None]
    across = (torch.arange(space[-1], device=place.device) % stride)[None]
    hidden = (down * stride + across)[None] == place[:, None, None]
    return hidden.reshape(len(place), 1, *(1,) * (len(space) - 2), *space[-2:]).expand(-1, 1, *space)
