"""A U-Net that knows which of its input is missing, and is never twice the same.

level i:   input ────────────────────────────────────── skip ─┐
             └─partial convolution──pool── level i+1 ──up x2── cat ──2 x (dropout, convolution)
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ilcore.grammar.arrays import Streams
from ilcore.grammar.capability import Capability
from ilcore.grammar.device_streams import drawn_on
from ilcore.grammar.problem import Problem
from ilcore.grammar.recipe import Recipe
from ilcore.grammar.sizes import strides
from ilcore.grammar.slots import ORDINARY, LiveNetwork, Network
from ilcore.networks.levels import enlarged, largest
from ilcore.networks.per_tile import ConvSpec, TileConv

_SLOPE = 0.1
_MEAN = {2: F.avg_pool2d, 3: F.avg_pool3d}
#: Features -> the same with some of them zero.
_Dropout = Callable[[Tensor], Tensor]


@final
@dataclass(frozen=True, kw_only=True)
class MaskedUNet(Network):
    """Encoder of partial convolutions, decoder with dropout that is always at work.

    Args:
        width: Channels on the way down; twice as many on the way up.
        depth: Poolings; fewer are used where the tile is too small for all of them.
        dropout: Share of features dropped before each convolution of the decoder.

    Shape:
        [tile, 2 channel, *space], values and their mask -> [tile, channel, *space] within the expected range.

    Reference:
        Quan, Chen, Pang & Ji, "Self2Self with dropout", CVPR 2020, section 3.2; Liu et al., "Image inpainting for
        irregular holes using partial convolutions", ECCV 2018, eq. 1 and 2.
    """

    width: int = 48
    depth: int = 5
    dropout: float = 0.3

    @property
    def offers(self) -> frozenset[Capability]:
        return ORDINARY - {Capability.READS_IMAGE} | {Capability.READS_MASK}

    @property
    def requires(self) -> frozenset[Capability]:
        return frozenset({Capability.SHOWS_MASK})

    def complaints(self, recipe: Recipe, problem: Problem) -> Iterator[str]:
        if self.width < 1 or self.depth < 0 or not 0 <= self.dropout < 1:
            yield f"{self} needs width >= 1, depth >= 0 and 0 <= dropout < 1"

    def build(self, problem: Problem, channels: int, streams: Streams, *, shared: bool = False) -> LiveNetwork:
        return _MaskedUNet(self, problem, streams.only([0]) if shared else streams, streams)

    def halo(self, space: int) -> tuple[int, ...]:
        reach = min(4 * 2**self.depth, 32)
        return (min(reach, 8), reach, reach)[-space:]

    def align(self, space: int) -> tuple[int, ...]:
        return (2**self.depth,) * space


class _MaskedUNet(LiveNetwork):
    def __init__(self, spec: MaskedUNet, problem: Problem, weights: Streams, chance: Streams) -> None:
        super().__init__()
        self.range, self.dropout = problem.value_range, spec.dropout
        self.chance = drawn_on(chance, problem.observed.device)
        self.strides = strides(problem.domain, spec.depth)
        axes, levels, wide = len(problem.domain), len(self.strides), 2 * spec.width
        entries = [problem.channels] + [spec.width] * levels
        self.first = _Partial(problem.channels, spec.width, axes, weights)
        self.down = nn.ModuleList(_Partial(spec.width, spec.width, axes, weights) for _ in range(levels + 1))
        below = [wide] * (levels - 1) + [spec.width]
        # The finest level ends narrow: 64 and 32 channels where the others have 96.
        ends = [(max(1, 4 * spec.width // 3), max(1, 2 * spec.width // 3))] + [(wide, wide)] * levels
        self.up = nn.ModuleList(
            _full(deep + entry, wide, axes, weights)
            for deep, entry, (wide, _) in zip(below, entries, ends, strict=False)
        )
        self.again = nn.ModuleList(_full(*ends[level], axes, weights) for level in range(levels))
        last = ends[0][1] if levels else spec.width
        self.end = TileConv(ConvSpec(inputs=last, outputs=problem.channels, kernel=(3,) * axes), weights)

    def forward(self, seen: Tensor, rows: Sequence[int]) -> Tensor:
        values, mask = seen[:, None].chunk(2, 2)
        dropout = self._dropout(seen, rows)
        low, high = self.range
        hidden = self._level(values, mask, 0, rows, dropout)
        return low + (high - low) * torch.sigmoid(self.end(dropout(hidden), rows)[:, 0])

    def _level(self, seen: Tensor, mask: Tensor, level: int, rows: Sequence[int], dropout: _Dropout) -> Tensor:
        fine, known = self.first(seen, mask, rows) if level == 0 else (seen, mask)
        fine, known = self.down[level](fine, known, rows)
        if level == len(self.strides):
            return fine
        step = self.strides[level]
        deep = self._level(largest(fine, step), largest(known, step), level + 1, rows, dropout)
        hidden = torch.cat([enlarged(deep, seen.shape[3:]), seen], 2)
        for layer in (self.up[level], self.again[level]):
            hidden = F.leaky_relu(layer(dropout(hidden), rows), _SLOPE)
        return hidden

    def _dropout(self, seen: Tensor, rows: Sequence[int]) -> _Dropout:
        """Return a dropout with coins of its own for each row."""
        keep, coins = 1 - self.dropout, self.chance.many(rows)
        return lambda hidden: hidden * (coins(hidden.shape[1:]).to(hidden.device) < keep) / keep


class _Partial(nn.Module):
    """A convolution over what is known, scaled up by what is missing."""

    def __init__(self, inputs: int, outputs: int, axes: int, streams: Streams) -> None:
        super().__init__()
        self.conv = _full(inputs, outputs, axes, streams, bias=False)
        self.bias = nn.Parameter(torch.zeros(len(streams), outputs))

    def forward(self, seen: Tensor, mask: Tensor, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return features and their mask, which has one channel: where anything was known at all."""
        known = mask.mean(2, keepdim=True).flatten(0, 1)
        # Its own padding refuses sides below 3.
        padded = F.pad(known, (1, 1) * (seen.ndim - 3))
        share = _MEAN[seen.ndim - 3](padded, 3, stride=1).unflatten(0, mask.shape[:2])
        some = (share > 0).to(seen.dtype)
        bias = self.bias if len(self.bias) == 1 else self.bias[list(rows)]
        out = self.conv(seen, rows) / share.clamp_min(1e-8) + bias[:, None].reshape(
            len(bias), 1, -1, *(1,) * (seen.ndim - 3)
        )
        return F.leaky_relu(out * some, _SLOPE), some


def _full(inputs: int, outputs: int, axes: int, streams: Streams, *, bias: bool = True) -> TileConv:
    conv = TileConv(ConvSpec(inputs=inputs, outputs=outputs, kernel=(3,) * axes, bias=bias), streams)
    with torch.no_grad():
        # From torch's own bound to He's, which keeps the signal alive without norms.
        conv.weight.mul_(math.sqrt(6))
    return conv
