"""Averages over iterates."""

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from ilcore.grammar.arrays import Tiles
from ilcore.grammar.capability import Capability
from ilcore.grammar.problem import Problem
from ilcore.grammar.recipe import Recipe
from ilcore.grammar.slots import LiveReadout, Readout
from ilcore.grammar.step_context import Predict, StepContext


@final
@dataclass(frozen=True)
class MovingAverage(Readout):
    """Exponential average of the outputs, jitter included, as it was when the stop last called the outputs the best.

    Args:
        weight: Share of the past, in (0, 1).

    Reference:
        Ulyanov, Vedaldi & Lempitsky, "Deep image prior", CVPR 2018, section 3.1 (sliding window of outputs).
    """

    weight: float = 0.99

    @property
    def requires(self) -> frozenset[Capability]:
        return frozenset({Capability.WHOLE_IMAGES})

    def complaints(self, recipe: Recipe, problem: Problem) -> Iterator[str]:
        if not 0 < self.weight < 1:
            yield f"{self} needs a weight between 0 and 1"

    def start(self, problem: Problem) -> LiveReadout:
        return _MovingAverage(self.weight)


class _MovingAverage:
    def __init__(self, weight: float) -> None:
        self.weight = weight
        self.means: dict[int, Tensor] = {}
        self.kept: dict[int, Tensor] = {}

    def observe(self, context: StepContext, best: Set[int]) -> None:
        for row, output in zip(context.rows, context.output, strict=True):
            mean = self.means.get(row)
            self.means[row] = output.clone() if mean is None else mean.lerp(output, 1 - self.weight)
            if row in best:
                self.kept[row] = self.means[row]

    def result(self, rows: Sequence[int], predict: Predict) -> Tiles:
        # With shared weights a row may never have been drawn.
        return torch.stack([self.kept[row] if row in self.kept else predict([row])[0] for row in rows])
