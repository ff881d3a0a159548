"""A plain stack of convolutions: ZS-N2N's small net, DnCNN, FFDNet and the denoiser that ships with us."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import final

import torch.nn.functional as F
from torch import Tensor, nn

from ilcore.grammar.arrays import Streams
from ilcore.grammar.capability import Capability
from ilcore.grammar.problem import Problem
from ilcore.grammar.recipe import Recipe
from ilcore.grammar.slots import ORDINARY, LiveNetwork, Network
from ilcore.networks.per_tile import ConvSpec, TileConv


@final
@dataclass(frozen=True, kw_only=True)
class Plain(Network):
    """Convolutions of side 3 with an activation between them.

    Args:
        width: Channels inside.
        depth: Number of convolutions.
        residual: The network predicts the noise and subtracts it from its input.
        pointwise_end: The last convolution is 1x1.
        slope: Slope of the leaky ReLU; 0 is ReLU.
        bias: Without biases the network commutes with scaling, which carries over to unseen noise levels
            (Mohan et al., "Robust and interpretable blind image denoising via bias-free CNNs", ICLR 2020).
        shuffle: Work on sub-images of every `shuffle`-th pixel (Zhang et al., "FFDNet", TIP 2018).
        grey: Channels and z planes are restored one by one, as grey images.
    """

    width: int = 48
    depth: int = 3
    residual: bool = True
    pointwise_end: bool = True
    slope: float = 0.2
    bias: bool = True
    shuffle: int = 1
    grey: bool = False

    @property
    def offers(self) -> frozenset[Capability]:
        if self.residual:
            return ORDINARY - {Capability.CANNOT_COPY, Capability.READS_OTHER_CHANNELS}
        return ORDINARY - {Capability.READS_OTHER_CHANNELS} if self.grey else ORDINARY

    def complaints(self, recipe: Recipe, problem: Problem) -> Iterator[str]:
        if self.depth < 2 or self.width < 1 or self.shuffle < 1:
            yield f"{self} needs depth >= 2, width >= 1 and shuffle >= 1"
        if self.shuffle > 1 and not self.grey:
            yield f"{self} shuffles pixels of planes; set grey=True"

    def build(self, problem: Problem, channels: int, streams: Streams, *, shared: bool = False) -> LiveNetwork:
        outputs = problem.channels
        return _Plain(self, len(problem.space), channels, outputs, streams.only([0]) if shared else streams)

    def halo(self, space: int) -> tuple[int, ...]:
        convolutions = self.depth - (1 if self.pointwise_end else 0)
        reach = self.shuffle * convolutions + self.shuffle - 1
        return (0, reach, reach)[-space:] if self.grey else (reach,) * space

    def align(self, space: int) -> tuple[int, ...]:
        return (1, self.shuffle, self.shuffle)[-space:] if self.grey else (1,) * space


class _Plain(LiveNetwork):
    def __init__(self, spec: Plain, space: int, inputs: int, outputs: int, streams: Streams) -> None:
        super().__init__()
        self.spec = spec
        if spec.grey:
            space, inputs, outputs = 2, spec.shuffle**2, spec.shuffle**2
        channels = [inputs] + [spec.width] * (spec.depth - 1) + [outputs]
        sides = [3] * (spec.depth - 1) + [1 if spec.pointwise_end else 3]
        self.conv = nn.ModuleList(
            TileConv(ConvSpec(inputs=a, outputs=b, kernel=(side,) * space, bias=spec.bias), streams)
            for a, b, side in zip(channels, channels[1:], sides, strict=False)
        )

    def forward(self, seen: Tensor, rows: Sequence[int]) -> Tensor:
        if not self.spec.grey:
            return self._stack(seen[:, None], rows)[:, 0]
        planes = seen.flatten(1, -3)[:, :, None]
        return self._shuffled(planes, rows)[:, :, 0].reshape(seen.shape)

    def _shuffled(self, planes: Tensor, rows: Sequence[int]) -> Tensor:
        step, (height, width) = self.spec.shuffle, planes.shape[-2:]
        if step == 1:
            return self._stack(planes, rows)
        right, below = -width % step, -height % step
        flat = F.pad(planes.flatten(0, 1), (0, right, 0, below), mode="replicate")
        small = F.pixel_unshuffle(flat, step).unflatten(0, planes.shape[:2])
        large = F.pixel_shuffle(self._stack(small, rows).flatten(0, 1), step)
        return large[..., :height, :width].unflatten(0, planes.shape[:2])

    def _stack(self, seen: Tensor, rows: Sequence[int]) -> Tensor:
        hidden = seen
        for layer in self.conv[:-1]:
            hidden = F.leaky_relu(layer(hidden, rows), self.spec.slope)
        out: Tensor = self.conv[-1](hidden, rows)
        return seen - out if self.spec.residual else out
