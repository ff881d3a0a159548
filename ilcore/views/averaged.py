"""An image averaged over several inputs, drawn as in training."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import final

from torch import Tensor

from ilcore.grammar.arrays import Streams, Tiles
from ilcore.grammar.capability import Capability
from ilcore.grammar.problem import Problem
from ilcore.grammar.recipe import Recipe
from ilcore.grammar.slots import LiveNetwork, LiveViews, Views
from ilcore.grammar.step_context import Pair
from ilcore.grammar.wrapping import WrappedViews


@final
@dataclass(frozen=True)
class AveragedDraws(WrappedViews):
    """Train as `inner` does; the image is the mean of the outputs on inputs that are drawn the same way.

    A network that has learnt on noisier copies is best at copies as noisy.

    Args:
        inner: Whose draws are inputs of the size of the image, with the noise of their problem.
        draws: How many are averaged for an image; 0 shows the observation itself, once.

    Reference:
        Pang et al., "Recorrupted-to-Recorrupted", CVPR 2021, eq. 11 (50); Monroy et al., "Generalized R2R", 2025 (5).
    """

    inner: Views
    draws: int = 5

    @property
    def wrapped(self) -> Views:
        return self.inner

    @property
    def asks(self) -> frozenset[Capability]:
        return frozenset({Capability.SHOWS_OBSERVATION, Capability.WHOLE_IMAGES})

    def complaints(self, recipe: Recipe, problem: Problem) -> Iterator[str]:
        yield from super().complaints(recipe, problem)
        if self.draws < 0:
            yield f"{self} needs draws >= 0"

    def start(self, problem: Problem, streams: Streams) -> LiveViews:
        return _AveragedDraws(self, problem, streams)


class _AveragedDraws(LiveViews):
    def __init__(self, spec: AveragedDraws, problem: Problem, streams: Streams) -> None:
        self.spec, self.problem, self.streams = spec, problem, streams
        self.live = spec.inner.start(problem, streams)

    def draw(self, step: int, rows: Sequence[int]) -> Pair:
        return self.live.draw(step, rows)

    def look(self, problem: Problem, rows: Sequence[int]) -> Tensor:
        return self.live.look(problem, rows)

    def image(self, model: LiveNetwork, problem: Problem, rows: Sequence[int]) -> Tiles:
        if not self.spec.draws:
            return self.live.image(model, problem, rows)
        # The same draws whenever an image is looked at, and for an observation that differs a little, so that images
        # can be compared; what is drawn for training does not move.
        is_alike = problem.observed.shape == self.problem.observed.shape
        live = self.spec.inner.start(self.problem if is_alike else problem, self.streams.apart("image"))
        moved = problem.observed is not self.problem.observed and is_alike
        shift = (problem.observed - self.problem.observed)[list(rows)] if moved else 0.0
        total: Tiles = model(live.draw(0, rows).input + shift, rows)
        for _ in range(self.spec.draws - 1):
            total = total + model(live.draw(0, rows).input + shift, rows)
        return total / self.spec.draws
