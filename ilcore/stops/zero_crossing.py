"""End when an estimated risk falls below zero."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

from torch import Tensor

from ilcore.grammar.arrays import Streams
from ilcore.grammar.capability import Capability
from ilcore.grammar.problem import Problem
from ilcore.grammar.recipe import Recipe
from ilcore.stops.watching import Sight, Watcher, WatchingStop


@final
@dataclass(frozen=True, kw_only=True)
class ZeroCrossing(WatchingStop):
    """End when the running mean of a loss that estimates the risk has fallen below zero: no risk is negative.

    Args:
        steps: Updates at most.
        memory: Weight of the past in the running mean.

    Reference:
        Jo, Chun & Choi, "Rethinking deep image prior for denoising", ICCV 2021, section 4.2.
    """

    memory: float = 0.9

    @property
    def requires(self) -> frozenset[Capability]:
        return super().requires | {Capability.ESTIMATES_RISK}

    def complaints(self, recipe: Recipe, problem: Problem) -> Iterator[str]:
        yield from super().complaints(recipe, problem)
        if not 0 <= self.memory < 1:
            yield f"{self} needs 0 <= memory < 1"

    def watcher(self, problem: Problem, streams: Streams) -> Watcher:
        return _ZeroCrossing(self.memory)


class _ZeroCrossing:
    def __init__(self, memory: float) -> None:
        self.memory = memory
        self.running: float | None = None

    def look(self, step: int, image: Tensor, loss: float) -> Sight:
        self.running = loss if self.running is None else self.memory * self.running + (1 - self.memory) * loss
        if self.running < 0:
            return Sight(False, "estimated risk has fallen below zero")
        return Sight(True)
