"""Pixels that training never asks for, and nobody needs to know the noise."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from statistics import fmean
from typing import final

import torch
from torch import Tensor

from ilcore.grammar.arrays import Streams, per_tile_mean
from ilcore.grammar.capability import Capability
from ilcore.grammar.draws import knows_correlation
from ilcore.grammar.masks import neighbour_mean
from ilcore.grammar.problem import Problem
from ilcore.grammar.recipe import Recipe
from ilcore.grammar.slots import LiveStop, Stop
from ilcore.grammar.step_context import Judgement, StepContext
from ilcore.grammar.stop_reason import StopReason
from ilcore.stops.stein_risk import SteinRisk

#: Fewer withheld values say nothing.
_FEWEST = 16


@final
@dataclass(frozen=True, kw_only=True)
class HeldOutPixels(Stop):
    """Keep the iterate that predicts withheld pixels best, and end when it has not improved for long.

    The squared error at a pixel whose noise the network cannot have seen is its risk there plus the noise variance.
    A network that is shown the observation sees the mean of the neighbours instead while it is judged. What is read out
    sees the pixels themselves, and has another risk: that one is reported, by Stein's formula at the withheld pixels.

    Args:
        steps: Updates at most.
        share: Share of pixels withheld.
        hides_input: The network is shown the observation.
        every: Steps between two looks.
        patience: Steps without a better prediction before the end.
        memory: Weight of the past in the running mean of outputs that is judged, as in `MovingAverage`.

    Reference:
        Darestani, Liu & Heckel, ICML 2022 (held-out measurements); Batson & Royer, ICML 2019, eq. 1 (the risk
        of a network that does not see the pixel); Ramani, Blu & Unser, TIP 2008, eq. 14 (of one that does).
    """

    takes_operator = True
    steps: int
    share: float = 0.08
    hides_input: bool = False
    every: int = 1
    patience: int = 500
    memory: float = 0.99

    @property
    def budget(self) -> int:
        return self.steps

    @property
    def requires(self) -> frozenset[Capability]:
        if not self.hides_input:
            return frozenset({Capability.WHOLE_IMAGES, Capability.RETURNS_IMAGE})
        return frozenset({Capability.SHOWS_IMAGE, Capability.READS_IMAGE, Capability.RETURNS_IMAGE})

    def complaints(self, recipe: Recipe, problem: Problem) -> Iterator[str]:
        if self.steps < 0 or not 0 < self.share < 1 or self.every < 1 or self.patience < 1 or not 0 <= self.memory < 1:
            yield f"{self} needs steps >= 0, 0 < share < 1, every >= 1, patience >= 1 and 0 <= memory < 1"
        is_shown = Capability.SHOWS_OBSERVATION in recipe.views.offers
        if self.hides_input != is_shown:
            yield f"{self} needs hides_input={is_shown} with {recipe.views}"

    def start(self, problem: Problem, streams: Streams, *, shared: bool = False) -> LiveStop:
        return _HeldOutPixels(self, problem, streams, shared)


class _HeldOutPixels:
    def __init__(self, spec: HeldOutPixels, problem: Problem, streams: Streams, shared: bool) -> None:
        self.spec, self.problem, self.shared = spec, problem, shared
        drawn = streams.uniform((1, *problem.space)).to(problem.observed.device) < spec.share
        trusted = torch.ones_like(problem.observed, dtype=torch.bool) if problem.trusted is None else problem.trusted
        self.held, kept = drawn & trusted, trusted & ~drawn
        self.training = replace(problem, trusted=kept)
        self.hidden = torch.where(self.held, neighbour_mean(problem.observed, kept), problem.observed)
        noise = None if problem.noise is None else problem.unbiased_variance()
        self.floor = None if noise is None else per_tile_mean(noise, self.held).tolist()
        self.counts = self.held.flatten(1).sum(1).tolist()
        is_known = all(knows_correlation(noise) for noise in problem.noise or ())
        # Streams of its own: the probe must not move the draws of training.
        can_tell = spec.hides_input and noise is not None and is_known
        self.stein = SteinRisk(problem, streams.apart("risk")) if can_tell else None
        self.means: dict[int, Tensor] = {}
        self.lowest: dict[int, float] = {}
        self.when: dict[int, int] = {}

    def training_problem(self) -> Problem:
        return self.training

    def judge(self, context: StepContext) -> Judgement:
        count, done = len(context.rows), context.step >= self.spec.steps
        budget = StopReason.budget(self.spec.steps) if done else None
        if self.shared and not self.spec.hides_input:
            # One code per tile: a model of all tiles is never seen whole.
            return Judgement((budget,) * count, (True,) * count)
        if context.step % self.spec.every and not done:
            return Judgement((None,) * count, (False,) * count, (None,) * count)
        errors = self._errors(context)
        if self.shared:
            errors = {0: sum(errors.values()) / len(errors)}
        looks = {key: self._look(context, key, error) for key, error in errors.items()}
        risks = self._risks(context, {key: errors[key] for key, (is_better, _) in looks.items() if is_better})
        times = count if self.shared else 1
        reasons = tuple(reason or budget for _, reason in looks.values()) * times
        # Where nothing can be compared every iterate is as good as any.
        best = tuple(is_better or not self._can_judge(context, key) for key, (is_better, _) in looks.items())
        return Judgement(reasons, best * times, tuple(risks.get(key) for key in looks) * times)

    def _errors(self, context: StepContext) -> dict[int, float]:
        """Return the error of every row, read all at once."""
        errors = [
            per_tile_mean((image - self.problem.observed[rows]).square(), self.held[rows])
            for rows, image in self._images(context)
        ]
        return dict(zip(context.rows, torch.cat(errors).tolist(), strict=True))

    def _images(self, context: StepContext) -> Iterator[tuple[list[int], Tensor]]:
        """Yield some rows and their images, [row, channel, *space], as they would be observed without noise."""
        operator, count = self.problem.operator, len(context.rows)
        together = count if self.held.is_cuda else 1
        for start in range(0, count, together):
            part = slice(start, start + together)
            rows = list(context.rows[part])
            if self.spec.hides_input:
                with torch.no_grad():
                    image = context.model(self.hidden[rows], rows)
            else:
                image = torch.cat(
                    [self._averaged(row, context.output[[place]]) for place, row in enumerate(rows, start)]
                )
            yield rows, image if operator is None else operator.forward(image)

    def _averaged(self, row: int, output: Tensor) -> Tensor:
        before = self.means.get(row)
        self.means[row] = output if before is None else before.lerp(output, 1 - self.spec.memory)
        return self.means[row]

    def _rows(self, context: StepContext, key: int) -> list[int]:
        return list(context.rows) if self.shared else [key]

    def _can_judge(self, context: StepContext, key: int) -> bool:
        return sum(self.counts[row] for row in self._rows(context, key)) >= _FEWEST

    def _look(self, context: StepContext, key: int, error: float) -> tuple[bool, StopReason | None]:
        """Return whether this iterate is better than all before, and why it is the last if it is."""
        step = context.step
        if not self._can_judge(context, key):
            return False, None
        if error < self.lowest.get(key, float("inf")):
            self.lowest[key], self.when[key] = error, step
            return True, None
        waited = step - self.when.get(key, step) >= self.spec.patience
        words = f"withheld pixels have not been predicted better for {self.spec.patience} steps"
        return False, StopReason("rule", words) if waited else None

    def _risks(self, context: StepContext, errors: dict[int, float]) -> dict[int, float]:
        """Return the estimated mean squared error of the images that would be read out, where it can be told."""
        if self.floor is not None and not self.spec.hides_input:
            return {
                key: error - fmean(self.floor[row] for row in self._rows(context, key)) for key, error in errors.items()
            }
        if self.stein is None or not errors:
            return {}
        rows = [row for key in errors for row in self._rows(context, key)]
        risks = [per_tile_mean(self.stein.errors(context, [row]), self.held[[row]]) for row in rows]
        read = dict(zip(rows, torch.cat(risks).tolist(), strict=True))
        return {key: fmean(read[row] for row in self._rows(context, key)) for key in errors}
