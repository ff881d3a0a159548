"""A fixed random code as input, jittered a little every step."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from ilcore.grammar.arrays import Streams
from ilcore.grammar.capability import Capability
from ilcore.grammar.problem import Problem
from ilcore.grammar.recipe import Recipe
from ilcore.grammar.sizes import halved
from ilcore.grammar.slots import LiveViews, Views
from ilcore.grammar.step_context import Pair


@final
@dataclass(frozen=True, kw_only=True)
class NoiseCode(Views):
    """Show the network a code that has nothing to do with the image, and ask for the whole observation.

    Args:
        channels: Channels of the code.
        amplitude: The code is uniform in [0, amplitude].
        jitter: Standard deviation of the fresh Gaussian noise added to the code every step.
        halvings: How often the sides of the code are halved, for networks that enlarge it again.

    Shape:
        observed [tile, channel, *space] -> input [tile, code channel, *space of the code].

    Reference:
        Ulyanov, Vedaldi & Lempitsky, "Deep image prior", CVPR 2018, section 2 and supplement.
    """

    takes_operator = True
    channels: int = 32
    amplitude: float = 0.1
    jitter: float = 1 / 30
    halvings: int = 0

    @property
    def offers(self) -> frozenset[Capability]:
        return frozenset({Capability.SHOWS_CODE, Capability.WHOLE_IMAGES})

    @property
    def requires(self) -> frozenset[Capability]:
        reads = Capability.ENLARGES_CODE if self.halvings else Capability.READS_IMAGE
        return frozenset({reads, Capability.RETURNS_IMAGE})

    def input_channels(self, problem: Problem) -> int:
        return self.channels

    def complaints(self, recipe: Recipe, problem: Problem) -> Iterator[str]:
        if self.channels < 1 or self.amplitude <= 0 or min(self.jitter, self.halvings) < 0:
            yield f"{self} needs channels >= 1, amplitude > 0, jitter >= 0 and halvings >= 0"

    def start(self, problem: Problem, streams: Streams) -> LiveViews:
        return _NoiseCode(self, problem, streams)


class _NoiseCode(LiveViews):
    def __init__(self, spec: NoiseCode, problem: Problem, streams: Streams) -> None:
        self.problem, self.streams, self.jitter = problem, streams, spec.jitter
        self.shape = (spec.channels, *halved(problem.domain, spec.halvings)[-1])
        self.code = (spec.amplitude * streams.uniform(self.shape)).to(problem.observed.device)

    def draw(self, step: int, rows: Sequence[int]) -> Pair:
        chosen = list(rows)
        code = self.code[chosen]
        if self.jitter:
            code = code + self.jitter * self.streams.normal(self.shape, chosen).to(code.device)
        trusted = None if self.problem.trusted is None else self.problem.trusted[chosen]
        return Pair(code, self.problem.observed[chosen], trusted)

    def look(self, problem: Problem, rows: Sequence[int]) -> Tensor:
        return torch.as_tensor(self.code[list(rows)])
