"""A network that cannot see the pixel it predicts.

One U-Net sees the plane four times, each time turned, and only ever what lies above:

    every 3x3 convolution is moved up by a row, so that it sees its own row and those above
    before pooling, features move down by a row, as a cell mixes two rows
    at the end they move down by another row: now the own row is out of sight

Turned back and joined by 1x1 convolutions, the four see everything but the pixel itself.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ilcore.grammar.arrays import Streams
from ilcore.grammar.capability import Capability
from ilcore.grammar.problem import Problem
from ilcore.grammar.recipe import Recipe
from ilcore.grammar.sizes import strides
from ilcore.grammar.slots import ORDINARY, LiveNetwork, Network
from ilcore.networks.levels import enlarged, largest
from ilcore.networks.per_tile import ConvSpec, TileConv

_SLOPE = 0.1


@final
@dataclass(frozen=True, kw_only=True)
class BlindSpot(Network):
    """Predict mean and spread of every pixel from all others of its plane; z planes are treated one by one.

    The output has two channels for each of the image: first the means, then numbers whose squares are the variances
    of the clean values. Channels are predicted side by side: their covariance, a matrix in the paper, is left out.

    Args:
        width: Channels on the way down; twice as many on the way up.
        depth: Poolings; fewer are used where the plane is too small for all of them.

    Shape:
        [tile, channel, *space] -> [tile, 2 channel, *space].

    Reference:
        Laine, Karras, Lehtinen & Aila, "High-quality self-supervised deep image denoising", NeurIPS 2019, section 2.
    """

    width: int = 48
    depth: int = 5

    @property
    def offers(self) -> frozenset[Capability]:
        return ORDINARY - {Capability.RETURNS_IMAGE} | {Capability.RETURNS_SPREAD}

    def complaints(self, recipe: Recipe, problem: Problem) -> Iterator[str]:
        if self.width < 1 or self.depth < 0:
            yield f"{self} needs width >= 1 and depth >= 0"

    def build(self, problem: Problem, channels: int, streams: Streams, *, shared: bool = False) -> LiveNetwork:
        return _BlindSpot(self, problem, channels, streams.only([0]) if shared else streams)

    def halo(self, space: int) -> tuple[int, ...]:
        reach = min(3 * 2 ** (self.depth + 1), 32)
        return (0, reach, reach)[-space:]

    def align(self, space: int) -> tuple[int, ...]:
        return (1, 2**self.depth, 2**self.depth)[-space:]


class _BlindSpot(LiveNetwork):
    def __init__(self, spec: BlindSpot, problem: Problem, inputs: int, streams: Streams) -> None:
        super().__init__()
        wide = 2 * spec.width
        self.above = _Above(spec.width, strides(problem.domain[-2:], spec.depth), inputs, streams)
        self.join = nn.ModuleList([_mix(4 * wide, 4 * wide, streams), _mix(4 * wide, wide, streams)])
        end = ConvSpec(inputs=wide, outputs=2 * problem.channels, kernel=(1, 1))
        self.end = TileConv(end, streams)

    def forward(self, seen: Tensor, rows: Sequence[int]) -> Tensor:
        planes = seen[:, None] if seen.ndim == 4 else seen.transpose(1, 2)
        hidden = self._around(planes, rows)
        for layer in self.join:
            hidden = F.leaky_relu(layer(hidden, rows), _SLOPE)
        out = self.end(hidden, rows)
        return torch.as_tensor(out[:, 0] if seen.ndim == 4 else out.transpose(1, 2))

    def _around(self, planes: Tensor, rows: Sequence[int]) -> Tensor:
        """Return what is seen above, left, below and right, joined as channels."""
        count = planes.shape[1]
        found = {}
        for sideways, turns in ((False, (0, 2)), (True, (1, 3))):
            # Opposite directions have the same shape and go through the network together, as planes.
            turned = torch.cat([torch.rot90(planes, turn, (-2, -1)) for turn in turns], 1)
            parts = self.above(turned, rows, sideways=sideways).split(count, 1)
            for turn, part in zip(turns, parts, strict=True):
                found[turn] = torch.rot90(part, -turn, (-2, -1))
        return torch.cat([found[turn] for turn in range(4)], 2)


class _Above(nn.Module):
    """A U-Net whose output at a pixel depends on the rows above it alone."""

    def __init__(self, width: int, steps: list[tuple[int, ...]], inputs: int, streams: Streams) -> None:
        super().__init__()
        self.steps, wide = steps, 2 * width
        entries = [inputs] + [width] * len(steps)
        self.first = _upward(inputs, width, streams)
        self.down = nn.ModuleList(_upward(width, width, streams) for _ in range(len(steps) + 1))
        deep = [wide] * (len(steps) - 1) + [width]
        self.up = nn.ModuleList(
            _upward(below + entry, wide, streams) for below, entry in zip(deep, entries, strict=False)
        )
        self.again = nn.ModuleList(_upward(wide, wide, streams) for _ in steps)
        self.last = _mix(wide if steps else width, wide, streams)

    def forward(self, planes: Tensor, rows: Sequence[int], *, sideways: bool) -> Tensor:
        hidden = _lowered(self._level(planes, 0, rows, sideways))
        return F.leaky_relu(self.last(hidden, rows), _SLOPE)

    def _level(self, seen: Tensor, level: int, rows: Sequence[int], sideways: bool) -> Tensor:
        fine = _looked_up(self.first, seen, rows) if level == 0 else seen
        fine = _looked_up(self.down[level], fine, rows)
        if level == len(self.steps):
            return fine
        step = self.steps[level][::-1] if sideways else self.steps[level]
        deep = self._level(largest(_lowered(fine), step), level + 1, rows, sideways)
        hidden = torch.cat([enlarged(deep, seen.shape[3:]), seen], 2)
        return _looked_up(self.again[level], _looked_up(self.up[level], hidden, rows), rows)


def _looked_up(layer: nn.Module, seen: Tensor, rows: Sequence[int]) -> Tensor:
    """Return a convolution that sees its own row and two above, activated."""
    out = layer(F.pad(seen, (0, 0, 1, 0)), rows)
    return F.leaky_relu(out[..., :-1, :], _SLOPE)


def _lowered(seen: Tensor) -> Tensor:
    return F.pad(seen, (0, 0, 1, 0))[..., :-1, :]


def _upward(inputs: int, outputs: int, streams: Streams) -> TileConv:
    return _he(ConvSpec(inputs=inputs, outputs=outputs, kernel=(3, 3)), streams)


def _mix(inputs: int, outputs: int, streams: Streams) -> TileConv:
    return _he(ConvSpec(inputs=inputs, outputs=outputs, kernel=(1, 1)), streams)


def _he(spec: ConvSpec, streams: Streams) -> TileConv:
    conv = TileConv(spec, streams)
    with torch.no_grad():
        # From torch's own bound to He's, which keeps the signal alive without norms.
        conv.weight.mul_(math.sqrt(6))
    return conv
