"""End when the image comes no nearer to the observation."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import final

from ilcore.grammar.arrays import PerTile, Streams, per_tile_mean
from ilcore.grammar.capability import Capability
from ilcore.grammar.problem import Problem
from ilcore.grammar.recipe import Recipe
from ilcore.grammar.slots import LiveStop, Stop
from ilcore.grammar.step_context import Judgement, StepContext
from ilcore.grammar.stop_reason import StopReason


@final
@dataclass(frozen=True, kw_only=True)
class NearestObservation(Stop):
    """End when mean (f(y) - y)^2 has reached no new minimum for so many rounds.

    It falls while the network learns the image; one that cannot learn the noise of its input stays there.

    Args:
        steps: Updates at most.
        every: Steps of a round.
        patience: Rounds without a new minimum before the end.

    Reference:
        Lequyer et al., "A fast blind zero-shot denoiser", Nature Machine Intelligence 2022, methods.
    """

    steps: int
    every: int = 4
    patience: int = 100

    @property
    def budget(self) -> int:
        return self.steps

    @property
    def requires(self) -> frozenset[Capability]:
        # A copy of the noise would be taken for the best image.
        return frozenset({Capability.SHOWS_OBSERVATION, Capability.CANNOT_COPY})

    def complaints(self, recipe: Recipe, problem: Problem) -> Iterator[str]:
        if self.steps < 0 or self.every < 1 or self.patience < 1:
            yield f"{self} needs steps >= 0, every >= 1 and patience >= 1"

    def start(self, problem: Problem, streams: Streams, *, shared: bool = False) -> LiveStop:
        return _NearestObservation(self, problem, shared)


class _NearestObservation:
    def __init__(self, spec: NearestObservation, problem: Problem, shared: bool) -> None:
        self.spec, self.problem, self.shared = spec, problem, shared
        self.lowest: dict[int, float] = {}
        self.misses: dict[int, int] = {}

    def training_problem(self) -> Problem:
        return self.problem

    def judge(self, context: StepContext) -> Judgement:
        count = len(context.rows)
        budget = StopReason.budget(self.spec.steps) if context.step >= self.spec.steps else None
        if context.step % self.spec.every:
            return Judgement((budget,) * count, (True,) * count)
        distances = self._distances(context)
        if self.shared:
            reasons = [self._reason(0, float(distances.mean()))] * count
        else:
            reasons = [self._reason(row, one) for row, one in zip(context.rows, distances.tolist(), strict=True)]
        return Judgement(tuple(reason or budget for reason in reasons), (True,) * count)

    def _distances(self, context: StepContext) -> PerTile:
        rows: Sequence[int] = list(context.rows)
        weight = None if self.problem.trusted is None else self.problem.trusted[rows]
        return per_tile_mean((context.predict(rows) - self.problem.observed[rows]).square(), weight)

    def _reason(self, key: int, distance: float) -> StopReason | None:
        if distance < self.lowest.get(key, float("inf")):
            self.lowest[key], self.misses[key] = distance, 0
            return None
        self.misses[key] = self.misses.get(key, 0) + 1
        words = f"no nearer to the observation for {self.spec.patience} rounds"
        return StopReason("rule", words) if self.misses[key] >= self.spec.patience else None
