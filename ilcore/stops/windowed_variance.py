"""End when the outputs change least: between learning the image and learning its noise there is a quiet time."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor

from ilcore.grammar.arrays import Streams
from ilcore.grammar.problem import Problem
from ilcore.grammar.recipe import Recipe
from ilcore.stops.watching import Measured, Sight, Watcher, WatchingStop

#: Outputs are averaged down to at most this side before they are compared.
_SIDE = 128


@final
@dataclass(frozen=True, kw_only=True)
class WindowedVariance(WatchingStop):
    """ES-WMV: keep the iterate at which the variance of the last outputs around their mean was least.

    Outputs are looked at without jitter, whose own variance would hide theirs. The warm-up is not the paper's.

    Args:
        steps: Updates at most.
        window: Outputs looked at together.
        patience: Steps without a window of less variance before the end.
        warm_up: Steps before the first verdict; the variance has a false dip early on.

    Reference:
        Wang et al., "Early stopping for deep image prior", TMLR 2023, algorithm 1.
    """

    wants_still = True
    window: int = 100
    patience: int = 1000
    warm_up: int = 500

    def complaints(self, recipe: Recipe, problem: Problem) -> Iterator[str]:
        yield from super().complaints(recipe, problem)
        if self.window < 2 or self.patience < 1 or self.warm_up < 0:
            yield f"{self} needs window >= 2, patience >= 1 and warm_up >= 0"

    def watcher(self, problem: Problem, streams: Streams) -> Watcher:
        return _WindowedVariance(self)


@final
@dataclass(frozen=True, kw_only=True)
class RunningVariance(WatchingStop):
    """ES-EMV: the same with exponential averages, which needs the memory of one output only.

    Args:
        steps: Updates at most.
        share: Weight of the newest output.
        patience: Steps without a moment of less variance before the end.
        warm_up: Steps before the first verdict.

    Reference:
        Wang et al., "Early stopping for deep image prior", TMLR 2023, algorithm 2.
    """

    wants_still = True
    share: float = 0.1
    patience: int = 1000
    warm_up: int = 100

    def complaints(self, recipe: Recipe, problem: Problem) -> Iterator[str]:
        yield from super().complaints(recipe, problem)
        if not 0 < self.share < 1 or self.patience < 1 or self.warm_up < 0:
            yield f"{self} needs 0 < share < 1, patience >= 1 and warm_up >= 0"

    def watcher(self, problem: Problem, streams: Streams) -> Watcher:
        return _RunningVariance(self)


def small(image: Tensor) -> Tensor:
    """Return an image averaged down to a side of at most 128, for comparisons between steps."""
    if max(image.shape[1:]) <= _SIDE:
        return image
    height, width = (min(side, _SIDE) for side in image.shape[-2:])
    if image.ndim == 3:
        return F.adaptive_avg_pool2d(image, (height, width))
    return F.adaptive_avg_pool3d(image, (min(image.shape[1], _SIDE), height, width))


class Least:
    """The least value of a statistic so far, and how long ago that was."""

    def __init__(self, patience: int, what: str) -> None:
        self.patience, self.what = patience, what
        self.value, self.step = float("inf"), 0

    def sight(self, step: int, value: float) -> Sight:
        """Judge the value of one step."""
        if value < self.value:
            self.value, self.step = value, step
            return Sight(True)
        waited = step - self.step >= self.patience
        return Sight(False, f"{self.what} has not fallen for {self.patience} steps" if waited else None)


class _WindowedVariance:
    def __init__(self, spec: WindowedVariance) -> None:
        self.spec, self.least = spec, Least(spec.patience, "variance of the outputs")
        self.seen: deque[Tensor] = deque(maxlen=spec.window)
        self.total = self.squares = torch.zeros(())

    def look(self, step: int, image: Tensor, loss: float) -> Sight | Measured:
        newest = small(image).double()
        if len(self.seen) == self.spec.window:
            oldest = self.seen[0]
            self.total, self.squares = self.total - oldest, self.squares - oldest.square().mean()
        self.seen.append(newest)
        self.total, self.squares = self.total + newest, self.squares + newest.square().mean()
        if step < max(self.spec.window, self.spec.warm_up):
            return Sight(True)
        count = len(self.seen)
        variance = self.squares / count - (self.total / count).square().mean()
        return Measured(variance, partial(self.least.sight, step))


class _RunningVariance:
    def __init__(self, spec: RunningVariance) -> None:
        self.spec, self.least = spec, Least(spec.patience, "running variance of the outputs")
        self.mean: Tensor | None = None
        self.variance = 0.0

    def look(self, step: int, image: Tensor, loss: float) -> Measured:
        newest, share = small(image), self.spec.share
        if self.mean is None:
            self.mean = newest
        distance = (newest - self.mean).square().mean()
        self.mean = (1 - share) * self.mean + share * newest
        return Measured(distance, partial(self._judged, step))

    def _judged(self, step: int, distance: float) -> Sight:
        share = self.spec.share
        self.variance = (1 - share) * self.variance + share * (1 - share) * distance
        return self.least.sight(step, self.variance) if step >= self.spec.warm_up else Sight(True)
