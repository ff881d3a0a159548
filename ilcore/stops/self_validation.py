"""End when the newest output is explained best by the outputs before it."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import final

import torch
from torch import Tensor

from ilcore.grammar.arrays import Streams
from ilcore.grammar.problem import Problem
from ilcore.grammar.recipe import Recipe
from ilcore.stops.watching import Measured, Sight, Watcher, WatchingStop
from ilcore.stops.windowed_variance import Least, small


@final
@dataclass(frozen=True, kw_only=True)
class SelfValidation(WatchingStop):
    """Keep the iterate that an auto-encoder of the last outputs reconstructs best.

    The auto-encoder is the best linear one, the principal components of the last outputs: solved, not trained, so that
    the rule has no learning rate of its own. Noise that has begun to be fitted is new every time and does not fit in.

    Args:
        steps: Updates at most.
        memory: Outputs the auto-encoder is made of.
        code: Its code size.
        every: Steps between two outputs it sees.
        patience: Steps without a better reconstruction before the end.

    Reference:
        Li et al., "Self-validation: early stopping for single-instance deep generative priors", BMVC 2021.
    """

    wants_still = True
    memory: int = 64
    code: int = 16
    every: int = 4
    patience: int = 500

    def complaints(self, recipe: Recipe, problem: Problem) -> Iterator[str]:
        yield from super().complaints(recipe, problem)
        if self.code < 1 or self.memory <= self.code or self.every < 1 or self.patience < 1:
            yield f"{self} needs code >= 1, memory > code, every >= 1 and patience >= 1"

    def watcher(self, problem: Problem, streams: Streams) -> Watcher:
        return _SelfValidation(self)


class _SelfValidation:
    def __init__(self, spec: SelfValidation) -> None:
        self.spec, self.least = spec, Least(spec.patience, "reconstruction error of the outputs")
        self.seen: deque[Tensor] = deque(maxlen=spec.memory)

    def look(self, step: int, image: Tensor, loss: float) -> Sight | Measured:
        if step % self.spec.every:
            return Sight(False)
        newest = small(image).flatten().double()
        error = self._unexplained(newest) if len(self.seen) == self.spec.memory else None
        self.seen.append(newest)
        return Sight(True) if error is None else Measured(error, partial(self.least.sight, step))

    def _unexplained(self, newest: Tensor) -> Tensor:
        """Return the mean squared part of an output that the code of the earlier ones cannot express."""
        past = torch.stack(list(self.seen))
        mean = past.mean(0)
        gram = (past - mean) @ (past - mean).T
        values, vectors = torch.linalg.eigh(gram)
        kept = slice(-self.spec.code, None)
        basis = (past - mean).T @ vectors[:, kept] / values[kept].clamp_min(1e-12).sqrt()
        rest = newest - mean
        return (rest - basis @ (basis.T @ rest)).square().mean()
