"""Halving and doubling of arrays of any size, [row, plane, channel, *space]."""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

_LARGEST = {2: F.max_pool2d, 3: F.max_pool3d}
_LINEAR = {2: "bilinear", 3: "trilinear"}


def largest(seen: Tensor, stride: Sequence[int]) -> Tensor:
    """Return the largest value of every cell; cells at the far end may be incomplete."""
    cells = _LARGEST[len(stride)](seen.flatten(0, 1), tuple(stride), ceil_mode=True)
    return torch.as_tensor(cells).unflatten(0, seen.shape[:2])


def blurred_largest(seen: Tensor, stride: Sequence[int]) -> Tensor:
    """Return every second value of a running maximum that was blurred by 1-2-1, which does not alias.

    Reference:
        Zhang, "Making convolutional networks shift-invariant again", ICML 2019, section 3.
    """
    found = seen
    for axis, step in enumerate(stride, 3):
        if step == 1:
            continue
        ahead = torch.cat([found.narrow(axis, 1, found.shape[axis] - 1), found.narrow(axis, -1, 1)], axis)
        running = torch.maximum(found, ahead)
        before = torch.cat([running.narrow(axis, 0, 1), running.narrow(axis, 0, running.shape[axis] - 1)], axis)
        after = torch.cat([running.narrow(axis, 1, running.shape[axis] - 1), running.narrow(axis, -1, 1)], axis)
        blurred = (before + 2 * running + after) / 4
        found = blurred[(slice(None),) * axis + (slice(None, None, step),)]
    return found


def enlarged(seen: Tensor, size: Sequence[int], mode: Literal["nearest", "linear"] = "nearest") -> Tensor:
    """Return the array at another size; nearest undoes the cells of `largest` at any size."""
    flat = seen.flatten(0, 1)
    if mode == "nearest":
        return F.interpolate(flat, size=tuple(size), mode="nearest").unflatten(0, seen.shape[:2])
    large = F.interpolate(flat, size=tuple(size), mode=_LINEAR[len(size)], align_corners=False)
    return large.unflatten(0, seen.shape[:2])
