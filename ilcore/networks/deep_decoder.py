"""The Deep Decoder: no convolutions, hence few parameters; neighbours meet in the enlarging alone.

layer:   mix channels (1x1) ── linear x2 ── ReLU ── norm        the last layer does not enlarge
end:     mix channels (1x1) ── sigmoid
"""

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
from ilcore.grammar.sizes import halved
from ilcore.grammar.slots import ORDINARY, LiveNetwork, Network
from ilcore.networks.levels import enlarged
from ilcore.networks.per_tile import ConvSpec, TileConv, TileNorm


@final
@dataclass(frozen=True, kw_only=True)
class DeepDecoder(Network):
    """Make an image from a small code by mixing channels and enlarging.

    Args:
        width: Channels of every layer.
        scales: Doublings; fewer where the tile is too small for all of them.

    Reference:
        Heckel & Hand, "Deep Decoder: concise image representations from untrained non-convolutional networks",
        ICLR 2019, section 2.
    """

    width: int = 128
    scales: int = 5

    @property
    def offers(self) -> frozenset[Capability]:
        return (ORDINARY - {Capability.READS_IMAGE} if self.scales else ORDINARY) | {Capability.ENLARGES_CODE}

    @property
    def requires(self) -> frozenset[Capability]:
        return frozenset({Capability.SHOWS_CODE})

    def complaints(self, recipe: Recipe, problem: Problem) -> Iterator[str]:
        if self.width < 1 or self.scales < 0:
            yield f"{self} needs width >= 1 and scales >= 0"
        if recipe.views.halvings != self.scales:
            yield f"{self} starts from a small code; set NoiseCode(halvings={self.scales}), got {recipe.views}"

    def build(self, problem: Problem, channels: int, streams: Streams, *, shared: bool = False) -> LiveNetwork:
        return _DeepDecoder(self, problem, channels, streams.only([0]) if shared else streams)

    def halo(self, space: int) -> tuple[int, ...]:
        # Norms see the whole tile, so no halo makes tiles exact; blending does the rest.
        return (4, 16, 16)[-space:]


class _DeepDecoder(LiveNetwork):
    def __init__(self, spec: DeepDecoder, problem: Problem, inputs: int, streams: Streams) -> None:
        super().__init__()
        self.low, self.high = problem.value_range
        # One layer for each doubling, and a last one at full size.
        self.sizes = [*reversed(halved(problem.domain, spec.scales)[:-1]), problem.domain]
        point = (1,) * len(problem.domain)
        widths = [inputs] + [spec.width] * len(self.sizes)
        self.mix = nn.ModuleList(
            TileConv(ConvSpec(inputs=a, outputs=b, kernel=point, bias=False), streams)
            for a, b in zip(widths, widths[1:], strict=False)
        )
        self.norm = nn.ModuleList(TileNorm(spec.width, streams) for _ in self.mix)
        self.end = TileConv(ConvSpec(inputs=spec.width, outputs=problem.channels, kernel=point, bias=False), streams)

    def forward(self, seen: Tensor, rows: Sequence[int]) -> Tensor:
        hidden = seen[:, None]
        for size, mix, norm in zip(self.sizes, self.mix, self.norm, strict=True):
            hidden = norm(F.relu(enlarged(mix(hidden, rows), size, "linear")), rows)
        unit = torch.sigmoid(self.end(hidden, rows)[:, 0])
        return self.low + (self.high - self.low) * unit
