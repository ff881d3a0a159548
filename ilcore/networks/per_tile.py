"""Layers that hold one set of weights per tile, and the two ways to compute them at once.

Inside a network an array is [row, plane, channel, *space]: rows have weights of their own, planes share them.
A layer with a single set of weights serves every row with it (one model per acquisition).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ilcore.grammar.arrays import Streams
from ilcore.grammar.slots import TileLayer

Padding = Literal["zeros", "reflect"]
_CONVOLVE = {2: F.conv2d, 3: F.conv3d}


@dataclass(frozen=True, kw_only=True)
class ConvSpec:
    """Geometry of a convolution; `kernel` has one entry per spatial axis."""

    inputs: int
    outputs: int
    kernel: tuple[int, ...]
    stride: int | tuple[int, ...] = 1
    padding: Padding = "zeros"
    bias: bool = True


class TileConv(TileLayer):
    """Convolution with weights [tile, outputs, inputs, *kernel].

    Weights start like torch's own layers: uniform within 1 / sqrt(fan in).
    """

    def __init__(self, spec: ConvSpec, streams: Streams) -> None:
        super().__init__()
        self.spec = spec
        bound = 1 / math.sqrt(spec.inputs * math.prod(spec.kernel))
        shape = (spec.outputs, spec.inputs, *spec.kernel)
        self.weight = nn.Parameter((streams.uniform(shape) * 2 - 1) * bound)
        self.bias = nn.Parameter((streams.uniform((spec.outputs,)) * 2 - 1) * bound) if spec.bias else None

    def forward(self, seen: Tensor, rows: Sequence[int]) -> Tensor:
        padded = self._mirrored(seen) if self.spec.padding == "reflect" else seen
        if len(self.weight) == 1:
            return self._of_all(padded, rows)
        weight, bias = self.weight[list(rows)], None
        if self.bias is not None:
            bias = self.bias.expand(len(rows), -1) if len(self.bias) == 1 else self.bias[list(rows)]
        return self._vmapped(padded, weight, bias) if self.strategy == "vmap" else self._grouped(padded, weight, bias)

    def _of_all(self, padded: Tensor, rows: Sequence[int]) -> Tensor:
        """Return the output where all rows share the kernel; biases may be those of rows."""
        shared = None if self.bias is None or len(self.bias) > 1 else self.bias[0]
        flat = self._convolve(padded.flatten(0, 1), self.weight[0], shared).unflatten(0, padded.shape[:2])
        if self.bias is None or shared is not None:
            return flat
        return flat + self.bias[list(rows)].reshape(len(rows), 1, -1, *(1,) * (flat.ndim - 3))

    def _convolve(self, seen: Tensor, weight: Tensor, bias: Tensor | None, groups: int = 1) -> Tensor:
        margin = [0 if self.spec.padding == "reflect" else side // 2 for side in self.spec.kernel]
        return _CONVOLVE[len(self.spec.kernel)](seen, weight, bias, self.spec.stride, margin, 1, groups)

    def _mirrored(self, seen: Tensor) -> Tensor:
        widths = [side // 2 for side in reversed(self.spec.kernel) for _ in range(2)]
        # Reflection cannot reach past the far side of a small array; replication can.
        fits = all(side // 2 < length for side, length in zip(self.spec.kernel, seen.shape[3:], strict=True))
        padded = F.pad(seen.flatten(0, 1), widths, mode="reflect" if fits else "replicate")
        return padded.unflatten(0, seen.shape[:2])

    def _grouped(self, seen: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        count = len(weight)
        stacked = seen.transpose(0, 1).flatten(1, 2)
        out = self._convolve(stacked, weight.flatten(0, 1), None if bias is None else bias.flatten(), count)
        return out.unflatten(1, (count, self.spec.outputs)).transpose(0, 1)

    def _vmapped(self, seen: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if bias is None:
            return torch.func.vmap(lambda x, w: self._convolve(x, w, None))(seen, weight)
        return torch.func.vmap(self._convolve)(seen, weight, bias)


class TileNorm(nn.Module):
    """Normalise every channel over space, then scale and shift it: batch norm in training mode at batch size one."""

    def __init__(self, channels: int, streams: Streams) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(len(streams), channels))
        self.shift = nn.Parameter(torch.zeros(len(streams), channels))

    def forward(self, seen: Tensor, rows: Sequence[int]) -> Tensor:
        space = tuple(range(3, seen.ndim))
        variance, mean = torch.var_mean(seen, space, unbiased=False, keepdim=True)
        gain, shift = self._of(self.gain, rows, seen.ndim), self._of(self.shift, rows, seen.ndim)
        return (seen - mean) / (variance + 1e-5).sqrt() * gain + shift

    def _of(self, values: Tensor, rows: Sequence[int], ndim: int) -> Tensor:
        chosen = values if len(values) == 1 else values[list(rows)]
        return chosen[:, None].reshape(len(chosen), 1, -1, *(1,) * (ndim - 3))
