"""The hourglass of Deep Image Prior.

level i:   input ──1x1──────────────────────────── skip ─┐
             └─3x3 stride 2──3x3── level i+1 ──up x2──── cat ──3x3──1x1── output
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ilcore.grammar.arrays import Streams
from ilcore.grammar.problem import Problem
from ilcore.grammar.recipe import Recipe
from ilcore.grammar.sizes import strides
from ilcore.grammar.slots import LiveNetwork, Network
from ilcore.networks.levels import enlarged
from ilcore.networks.per_tile import ConvSpec, TileConv, TileNorm


@final
@dataclass(frozen=True, kw_only=True)
class SkipNet(Network):
    """Encoder and decoder with narrow skip branches and a sigmoid stretched over the expected range of values.

    Args:
        width: Channels on every scale.
        skip: Channels of each skip branch.
        scales: Halvings; fewer are used where the tile is too small for all of them.

    Reference:
        Ulyanov, Vedaldi & Lempitsky, "Deep image prior", CVPR 2018, supplement (default architecture).
    """

    width: int = 128
    skip: int = 4
    scales: int = 5

    def complaints(self, recipe: Recipe, problem: Problem) -> Iterator[str]:
        if min(self.width, self.skip, self.scales) < 1:
            yield f"{self} needs width, skip and scales of at least 1"

    def build(self, problem: Problem, channels: int, streams: Streams, *, shared: bool = False) -> LiveNetwork:
        return _SkipNet(self, problem, channels, streams.only([0]) if shared else streams)

    def halo(self, space: int) -> tuple[int, ...]:
        # Norms see the whole tile, so no halo makes tiles exact; this much gives context, blending does the rest.
        # Of a stack it is less: a wide tile of many planes would not fit into memory.
        return (2, 8, 8) if space == 3 else (16,) * space


class _SkipNet(LiveNetwork):
    def __init__(self, spec: SkipNet, problem: Problem, inputs: int, streams: Streams) -> None:
        super().__init__()
        self.low, self.high = problem.value_range
        steps = strides(problem.domain, spec.scales)
        widths = [inputs if level == 0 else spec.width for level in range(len(steps))]
        self.levels = nn.ModuleList(
            _Level(spec, width, stride, streams) for width, stride in zip(widths, steps, strict=True)
        )
        ends = spec.width if steps else inputs
        self.end = TileConv(ConvSpec(inputs=ends, outputs=problem.channels, kernel=(1,) * len(problem.domain)), streams)

    def forward(self, seen: Tensor, rows: Sequence[int]) -> Tensor:
        hidden, skips = seen[:, None], []
        levels = [level for level in self.levels if isinstance(level, _Level)]
        for level in levels:
            skip, hidden = level.descend(hidden, rows)
            skips.append(skip)
        for level, skip in zip(reversed(levels), reversed(skips), strict=True):
            hidden = level.ascend(hidden, skip, rows)
        unit = torch.sigmoid(self.end(hidden, rows)[:, 0])
        return self.low + (self.high - self.low) * unit


class _Step(nn.Module):
    """Convolution, norm, leaky ReLU."""

    def __init__(self, inputs: int, outputs: int, side: int, stride: tuple[int, ...], streams: Streams) -> None:
        super().__init__()
        spec = ConvSpec(inputs=inputs, outputs=outputs, kernel=(side,) * len(stride), stride=stride, padding="reflect")
        self.conv, self.norm = TileConv(spec, streams), TileNorm(outputs, streams)

    def forward(self, seen: Tensor, rows: Sequence[int]) -> Tensor:
        return F.leaky_relu(self.norm(self.conv(seen, rows), rows), 0.2)


class _Level(nn.Module):
    def __init__(self, spec: SkipNet, inputs: int, stride: tuple[int, ...], streams: Streams) -> None:
        super().__init__()
        unit = (1,) * len(stride)
        self.skip = _Step(inputs, spec.skip, 1, unit, streams)
        self.down = _Step(inputs, spec.width, 3, stride, streams)
        self.deeper = _Step(spec.width, spec.width, 3, unit, streams)
        self.norm = TileNorm(spec.skip + spec.width, streams)
        self.up = _Step(spec.skip + spec.width, spec.width, 3, unit, streams)
        self.mix = _Step(spec.width, spec.width, 1, unit, streams)

    def descend(self, seen: Tensor, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        return self.skip(seen, rows), self.deeper(self.down(seen, rows), rows)

    def ascend(self, deep: Tensor, skip: Tensor, rows: Sequence[int]) -> Tensor:
        joined = torch.cat([skip, enlarged(deep, skip.shape[3:], "linear")], 2)
        return self.mix(self.up(self.norm(joined, rows), rows), rows)
