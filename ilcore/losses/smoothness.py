"""Few and short edges."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from ilcore.grammar.arrays import PerTile, Streams, per_tile_mean
from ilcore.grammar.capability import Capability
from ilcore.grammar.problem import Problem
from ilcore.grammar.slots import LiveLoss, Loss
from ilcore.grammar.step_context import StepContext


@final
@dataclass(frozen=True)
class TotalVariation(Loss):
    """Mean over voxels of the length of the gradient of the output, whether trusted or not.

    Args:
        isotropic: The Euclidean length, which has no favourite direction; else the sum of the absolute differences.

    Reference:
        Rudin, Osher & Fatemi, Physica D 1992; Liu, Sun, Xu & Kamilov, "Image restoration using total variation
        regularized deep image prior", ICASSP 2019.
    """

    takes_operator = True
    isotropic: bool = True

    @property
    def requires(self) -> frozenset[Capability]:
        return super().requires | {Capability.WHOLE_IMAGES}

    def start(self, problem: Problem, streams: Streams) -> LiveLoss:
        return self._of

    def _of(self, context: StepContext) -> PerTile:
        variation = per_tile_mean(total_variation(context.output, isotropic=self.isotropic))
        return variation.unflatten(0, (-1, len(context.rows))).mean(0)


def total_variation(image: Tensor, *, isotropic: bool = True) -> Tensor:
    """Return the length of the gradient at every voxel, from forward differences that end at the far border.

    Shape:
        [tile, channel, *space] -> the same.
    """
    differences = [_ahead(image, axis) for axis in range(2, image.ndim)]
    if not isotropic:
        return torch.stack([difference.abs() for difference in differences]).sum(0)
    # The root has no slope at zero; a hundred-thousandth of the range of values bends it.
    return (torch.stack([difference.square() for difference in differences]).sum(0) + 1e-10).sqrt()


def _ahead(image: Tensor, axis: int) -> Tensor:
    last = image.narrow(axis, -1, 1)
    return torch.cat([image.diff(dim=axis), torch.zeros_like(last)], axis)
