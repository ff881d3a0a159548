"""A U-Net.

level i:   convolutions ───────────────────────── skip ─┐
             └─pool x2── level i+1 ──nearest x2──────── cat ── convolutions
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
from ilcore.networks.levels import blurred_largest, enlarged, largest
from ilcore.networks.per_tile import ConvSpec, TileConv, TileNorm

#: Context beyond which more halo is not worth its cost; blending does the rest.
_FARTHEST = (8, 32, 32)


@final
@dataclass(frozen=True, kw_only=True)
class UNet(Network):
    """Encoder and decoder that hand over at every scale.

    Args:
        width: Channels on the finest scale.
        depth: Poolings; fewer are used where the tile is too small for all of them, and thin axes are not pooled.
        convolutions_per_level: On the way down and on the way up.
        kernel: Side of each convolution, odd.
        growth: Factor of the width from one scale to the next.
        activation: leaky or softplus.
        slope: Slope of the leaky ReLU; 0 is ReLU.
        norm: Normalise every channel of a tile after each convolution; without it weights start larger (He).
        residual: The network predicts the noise and subtracts it from its input.
        top_skip: Hand over on the finest scale too.
        blur_pool: Blur between maximum and subsampling.
        sigmoid: Squeeze the output into the expected range of values.

    Reference:
        Ronneberger, Fischer & Brox, "U-Net", MICCAI 2015; Krull, Buchholz & Jug, "Noise2Void", CVPR 2019 (depth 2,
        width 32); Hoeck et al., "N2V2", ECCV-W 2022 (top_skip=False, blur_pool=True, residual=False).
    """

    width: int = 32
    depth: int = 2
    convolutions_per_level: int = 2
    kernel: int = 3
    growth: float = 2.0
    activation: str = "leaky"
    slope: float = 0.1
    norm: bool = False
    residual: bool = False
    top_skip: bool = True
    blur_pool: bool = False
    sigmoid: bool = False

    @property
    def offers(self) -> frozenset[Capability]:
        return ORDINARY - ({Capability.CANNOT_COPY, Capability.READS_OTHER_CHANNELS} if self.residual else set())

    def complaints(self, recipe: Recipe, problem: Problem) -> Iterator[str]:
        if min(self.width, self.convolutions_per_level) < 1 or self.depth < 0 or self.growth < 1:
            yield f"{self} needs width and convolutions_per_level >= 1, depth >= 0 and growth >= 1"
        if self.kernel < 1 or self.kernel % 2 == 0:
            yield f"{self} needs an odd kernel, got {self.kernel}"
        if self.activation not in ("leaky", "softplus"):
            yield f"{self} needs activation leaky or softplus, got {self.activation!r}"
        if self.residual and self.sigmoid:
            yield f"{self} cannot squeeze noise into the range of the image; set residual or sigmoid to False"

    def build(self, problem: Problem, channels: int, streams: Streams, *, shared: bool = False) -> LiveNetwork:
        return _UNet(self, problem, channels, streams.only([0]) if shared else streams)

    def halo(self, space: int) -> tuple[int, ...]:
        return tuple(min(self._reach(), most) for most in _FARTHEST[-space:])

    def align(self, space: int) -> tuple[int, ...]:
        return (2**self.depth,) * space

    def _reach(self) -> int:
        """Return how far away a voxel may be that has a say, along one axis."""
        convolved = self.convolutions_per_level * (self.kernel // 2)
        # A pooling cell reaches one voxel of its scale further, a blurred one three.
        level = 2 * convolved + (3 if self.blur_pool else 1)
        return level * (2**self.depth - 1) + convolved * 2**self.depth


class _UNet(LiveNetwork):
    def __init__(self, spec: UNet, problem: Problem, inputs: int, streams: Streams) -> None:
        super().__init__()
        self.spec, self.range = spec, problem.value_range
        self.strides = strides(problem.domain, spec.depth)
        axes, levels = len(problem.domain), len(self.strides)
        widths = [round(spec.width * spec.growth**level) for level in range(levels + 1)]
        entries = [inputs, *widths]
        self.down = nn.ModuleList(_Block(spec, entries[n], widths[n], axes, streams) for n in range(levels))
        self.bottom = _Block(spec, entries[levels], widths[levels], axes, streams)
        handed = [widths[n] if n or spec.top_skip else 0 for n in range(levels)]
        self.up = nn.ModuleList(
            _Block(spec, widths[n + 1] + handed[n], widths[n], axes, streams) for n in range(levels)
        )
        self.end = TileConv(ConvSpec(inputs=widths[0], outputs=problem.channels, kernel=(1,) * axes), streams)

    def forward(self, seen: Tensor, rows: Sequence[int]) -> Tensor:
        out = self.end(self._level(seen[:, None], 0, rows), rows)[:, 0]
        if self.spec.residual:
            return seen - out
        low, high = self.range
        return low + (high - low) * torch.sigmoid(out) if self.spec.sigmoid else torch.as_tensor(out)

    def _level(self, seen: Tensor, level: int, rows: Sequence[int]) -> Tensor:
        if level == len(self.strides):
            return torch.as_tensor(self.bottom(seen, rows))
        fine = self.down[level](seen, rows)
        pool = blurred_largest if self.spec.blur_pool else largest
        deep = self._level(pool(fine, self.strides[level]), level + 1, rows)
        large = enlarged(deep, fine.shape[3:])
        joined = torch.cat([large, fine], 2) if level or self.spec.top_skip else large
        return torch.as_tensor(self.up[level](joined, rows))


class _Block(nn.Module):
    """Convolutions of one level, each with its norm and activation."""

    def __init__(self, spec: UNet, inputs: int, outputs: int, axes: int, streams: Streams) -> None:
        super().__init__()
        self.spec = spec
        widths = [inputs] + [outputs] * spec.convolutions_per_level
        self.convs = nn.ModuleList(
            _convolution(a, b, (spec.kernel,) * axes, streams, larger=not spec.norm)
            for a, b in zip(widths, widths[1:], strict=False)
        )
        count = len(self.convs) if spec.norm else 0
        self.norms = nn.ModuleList(TileNorm(outputs, streams) for _ in range(count))

    def forward(self, seen: Tensor, rows: Sequence[int]) -> Tensor:
        hidden = seen
        for n, conv in enumerate(self.convs):
            hidden = conv(hidden, rows)
            if self.spec.norm:
                hidden = self.norms[n](hidden, rows)
            softly = self.spec.activation == "softplus"
            hidden = F.softplus(hidden) if softly else F.leaky_relu(hidden, self.spec.slope)
        return hidden


def _convolution(inputs: int, outputs: int, kernel: tuple[int, ...], streams: Streams, *, larger: bool) -> TileConv:
    conv = TileConv(ConvSpec(inputs=inputs, outputs=outputs, kernel=kernel, padding="reflect"), streams)
    if larger:
        with torch.no_grad():
            # From torch's own bound to He's, which keeps the signal alive without norms.
            conv.weight.mul_(math.sqrt(6))
    return conv
