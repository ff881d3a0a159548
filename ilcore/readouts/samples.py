"""The mean of samples, and how far they lie apart."""

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
@dataclass(frozen=True, kw_only=True)
class MeanAfter(Readout):
    """Mean and spread of every so many-th output once a fit has warmed up; the present image if it ends before.

    Args:
        burn_in: Steps whose outputs do not count.
        every: Steps from one kept output to the next.

    Reference:
        Cheng et al., "A Bayesian perspective on the deep image prior", CVPR 2019, section 4.
    """

    burn_in: int = 7000
    every: int = 50

    @property
    def requires(self) -> frozenset[Capability]:
        return frozenset({Capability.WHOLE_IMAGES})

    @property
    def spreads_after(self) -> int:
        return self.burn_in + self.every + 1

    def complaints(self, recipe: Recipe, problem: Problem) -> Iterator[str]:
        if self.burn_in < 0 or self.every < 1:
            yield f"{self} needs burn_in >= 0 and every >= 1"

    def start(self, problem: Problem) -> LiveReadout:
        return _MeanAfter(self, problem)


class _MeanAfter:
    def __init__(self, spec: MeanAfter, problem: Problem) -> None:
        self.spec, self.like = spec, problem.observed[0]
        self.counts: dict[int, int] = {}
        self.means: dict[int, Tensor] = {}
        self.scatter: dict[int, Tensor] = {}

    def observe(self, context: StepContext, best: Set[int]) -> None:
        since = context.step - self.spec.burn_in
        if since < 0 or since % self.spec.every:
            return
        for row, output in zip(context.rows, context.output, strict=True):
            self._keep(row, output)

    def _keep(self, row: int, output: Tensor) -> None:
        """Update mean and sum of squares (Welford, Technometrics 1962)."""
        count = self.counts.get(row, 0) + 1
        before = self.means.get(row, torch.zeros_like(output))
        mean = before + (output - before) / count
        self.scatter[row] = self.scatter.get(row, torch.zeros_like(output)) + (output - before) * (output - mean)
        self.counts[row], self.means[row] = count, mean

    def result(self, rows: Sequence[int], predict: Predict) -> Tiles:
        return torch.stack([self.means[row] if row in self.means else predict([row])[0] for row in rows])

    def spread(self, rows: Sequence[int]) -> Tiles:
        """Return the standard deviation of what was kept, NaN for rows of which fewer than two were."""
        return torch.stack([self._spread(row) for row in rows])

    def _spread(self, row: int) -> Tensor:
        count = self.counts.get(row, 0)
        if count < 2:
            return torch.full_like(self.like, torch.nan)
        return (self.scatter[row] / (count - 1)).sqrt()
