"""Pixels that training never sees decide what is best and when to end."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from ilcore.grammar.arrays import Streams
from ilcore.grammar.masks import grid_phase, neighbour_mean
from ilcore.grammar.problem import Problem
from ilcore.grammar.recipe import Recipe
from ilcore.grammar.slots import LiveStop, Stop
from ilcore.grammar.trial import Judgement, Trial


@final
@dataclass(frozen=True, kw_only=True)
class HeldOut(Stop):
    """Hide a grid of pixels from training, in input and target, and watch the error of their prediction.

    With noise that is independent from pixel to pixel this error is the risk plus the noise variance. An iterate
    counts as best only if it beats the untouched start by two standard errors of the paired difference as well as
    every iterate before it; otherwise the start stands (do no harm).

    Args:
        steps: Updates at most.
        every: Steps between two looks.
        patience: Looks without a new best before the end.
        stride: One pixel in stride x stride is held out.

    Reference:
        Darestani, Liu & Heckel, ICML 2022 (held-out measurements); Batson & Royer, ICML 2019, proposition 1.
    """

    steps: int
    every: int = 10
    patience: int = 5
    stride: int = 5

    def complaints(self, recipe: Recipe, problem: Problem) -> Iterator[str]:
        if self.steps < 0 or self.every < 1 or self.patience < 1 or self.stride < 3:
            yield f"{self} needs steps >= 0, every >= 1, patience >= 1 and stride >= 3"
        if not recipe.views.sees_observation and recipe.readout.wants_best and self.steps == 0:
            yield f"{self} compares with an untouched start, but {recipe.views} has none that means anything"

    def start(self, problem: Problem, streams: Streams, *, shared: bool = False) -> LiveStop:
        return _HeldOut(self, problem, streams, shared)


class _HeldOut:
    def __init__(self, spec: HeldOut, problem: Problem, streams: Streams, shared: bool) -> None:
        self.spec, self.shared = spec, shared
        place = (streams.uniform(()) * spec.stride**2).long()
        held = grid_phase(problem.space, spec.stride, place).to(problem.observed.device).expand_as(problem.observed)
        trusted = torch.ones_like(held) if problem.trusted is None else problem.trusted
        self.held, self.truth = held & trusted, problem.observed
        filled = torch.where(held, neighbour_mean(problem.observed, trusted), problem.observed)
        self.training = replace(problem, observed=filled, trusted=trusted & ~held)
        self.first: dict[int, Tensor] = {}
        self.lowest: dict[int, float] = {}
        self.misses: dict[int, int] = {}

    def training_problem(self) -> Problem:
        return self.training

    def judge(self, trial: Trial) -> Judgement:
        count, done = len(trial.rows), trial.step >= self.spec.steps
        if trial.step % self.spec.every and not done:
            return Judgement((None,) * count, (False,) * count, (None,) * count)
        errors = self._errors(trial)
        looks = [self._look(key, error) for key, error in errors.items()]
        if self.shared:
            looks = looks * count
        reasons = [self._reason(key, done) for key in errors] * (count if self.shared else 1)
        return Judgement(tuple(reasons), tuple(best for best, _ in looks), tuple(risk for _, risk in looks))

    def _errors(self, trial: Trial) -> dict[int, Tensor]:
        rows = list(trial.rows)
        squares = (trial.predict(rows) - self.truth[rows]).square()
        if self.shared:
            return {0: squares[self.held[rows]]}
        return {row: square[self.held[row]] for row, square in zip(rows, squares, strict=True)}

    def _look(self, key: int, errors: Tensor) -> tuple[bool, float | None]:
        """Return whether this iterate is the best so far, and its risk."""
        if len(errors) < 2:
            self.misses[key] = self.misses.get(key, -1) + 1
            return self.misses[key] == 0, None
        risk = float(errors.mean())
        if key not in self.first:
            self.first[key], self.lowest[key], self.misses[key] = errors, risk, 0
            return True, risk
        gain = self.first[key] - errors
        certain = float(gain.mean()) > 2 * float(gain.std()) / math.sqrt(len(gain))
        if certain and risk < self.lowest[key]:
            self.lowest[key], self.misses[key] = risk, 0
            return True, risk
        self.misses[key] += 1
        return False, risk

    def _reason(self, key: int, done: bool) -> str | None:
        if self.misses[key] >= self.spec.patience:
            return f"held-out risk has not fallen for {self.spec.patience} looks"
        return f"budget of {self.spec.steps} steps" if done else None
