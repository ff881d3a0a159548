"""What rules have in common that watch the image of every step."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor

from ilcore.grammar.arrays import Streams
from ilcore.grammar.capability import Capability
from ilcore.grammar.problem import Problem
from ilcore.grammar.recipe import Recipe
from ilcore.grammar.slots import LiveStop, Stop
from ilcore.grammar.step_context import Judgement, StepContext
from ilcore.grammar.stop_reason import StopReason


class Sight(NamedTuple):
    """What one look at one tile says; a reason to end is told in words."""

    is_best: bool
    reason: str | None = None
    risk: float | None = None


class Measured(NamedTuple):
    """A look that comes down to one number, which stays on its device until those of all tiles are read together."""

    number: Tensor
    judge: Callable[[float], Sight]


class Watcher(Protocol):
    """A rule for one tile during one fit."""

    def look(self, step: int, image: Tensor, loss: float) -> Sight | Measured:
        """Judge the image [channel, *space] of this step and its loss."""


@dataclass(frozen=True, kw_only=True)
class WatchingStop(Stop, ABC):
    """A rule that follows the output of every tile from step to step.

    Where one model is learnt from many tiles no tile is seen at every step, and the budget alone ends the fit.
    """

    #: What it watches are images; those that compare them with the observation do so through the operator.
    takes_operator = True
    #: True where the jitter of an input would be taken for a change of the image; one more pass shows it without.
    wants_still: ClassVar[bool] = False
    steps: int

    @property
    def budget(self) -> int:
        return self.steps

    @property
    def requires(self) -> frozenset[Capability]:
        return frozenset({Capability.WHOLE_IMAGES})

    def complaints(self, recipe: Recipe, problem: Problem) -> Iterator[str]:
        if self.steps < 0:
            yield f"{self} needs steps >= 0"

    @abstractmethod
    def watcher(self, problem: Problem, streams: Streams) -> Watcher:
        """Return the rule for the one tile of `problem`."""

    def start(self, problem: Problem, streams: Streams, *, shared: bool = False) -> LiveStop:
        return Watching(self, problem, streams, shared)


class Watching:
    """A watcher for every tile."""

    def __init__(self, spec: WatchingStop, problem: Problem, streams: Streams, shared: bool) -> None:
        self.spec, self.problem, self.shared = spec, problem, shared
        count = 0 if shared else len(streams)
        self.watchers = [spec.watcher(problem.rows([row]), streams.only([row])) for row in range(count)]

    def training_problem(self) -> Problem:
        return self.problem

    def judge(self, context: StepContext) -> Judgement:
        budget = StopReason.budget(self.spec.steps) if context.step >= self.spec.steps else None
        if self.shared or context.losses is None:
            return Judgement((budget,) * len(context.rows), (True,) * len(context.rows))
        images = context.predict(context.rows) if self.spec.wants_still else context.output
        seen = zip(context.rows, images, context.losses.tolist(), strict=True)
        sights = read_together([self.watchers[row].look(context.step, image, loss) for row, image, loss in seen])
        reasons = tuple(StopReason("rule", sight.reason) if sight.reason else budget for sight in sights)
        return Judgement(reasons, tuple(s.is_best for s in sights), tuple(s.risk for s in sights))


def read_together(looks: Sequence[Sight | Measured]) -> list[Sight]:
    """Return what is said of every tile; the host waits once for all numbers."""
    numbers = [look.number.double().reshape(()) for look in looks if isinstance(look, Measured)]
    read = iter(torch.stack(numbers).tolist() if numbers else ())
    return [look.judge(next(read)) if isinstance(look, Measured) else look for look in looks]
