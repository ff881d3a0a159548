"""The observation as it is, or with a little fresh noise, as input and as target."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import final

from torch import Tensor

from ilcore.grammar.arrays import Streams
from ilcore.grammar.capability import Capability
from ilcore.grammar.fills import shown
from ilcore.grammar.problem import Problem
from ilcore.grammar.recipe import Recipe
from ilcore.grammar.slots import LiveViews, Views
from ilcore.grammar.step_context import Pair


@final
@dataclass(frozen=True)
class Whole(Views):
    """Show the observation and ask for the observation; only a loss that knows the noise learns something from that.

    Args:
        jitter: Fresh noise on the input, uniform between 0 and this many noise standard deviations, anew every step.

    Reference:
        Metzler et al., "Unsupervised learning with Stein's unbiased risk estimator", 2018 (the observation as input);
        Jo, Chun & Choi, "Rethinking deep image prior for denoising", ICCV 2021 (jitter).
    """

    jitter: float = 0.0

    @property
    def offers(self) -> frozenset[Capability]:
        return super().offers | {Capability.WHOLE_IMAGES}

    def complaints(self, recipe: Recipe, problem: Problem) -> Iterator[str]:
        if self.jitter < 0:
            yield f"{self} needs jitter >= 0"
        if self.jitter and problem.noise is None:
            yield f"{self} needs the noise model; estimate it or pass noise_std"

    def start(self, problem: Problem, streams: Streams) -> LiveViews:
        return _Whole(self.jitter, problem, streams)


class _Whole(LiveViews):
    def __init__(self, jitter: float, problem: Problem, streams: Streams) -> None:
        self.jitter, self.problem, self.streams = jitter, problem, streams
        self.shown = shown(problem)

    def draw(self, step: int, rows: Sequence[int]) -> Pair:
        chosen = list(rows)
        observed = self.problem.observed[chosen]
        trusted = None if self.problem.trusted is None else self.problem.trusted[chosen]
        if not self.jitter:
            return Pair(self.shown[chosen], observed, trusted)
        share = self.jitter * self.streams.uniform((1,) * (observed.ndim - 1), chosen)
        noise = share * self.streams.normal(observed.shape[1:], chosen)
        std = self.problem.noise_std(self.shown)[chosen]
        return Pair(self.shown[chosen] + std * noise.to(observed), observed, trusted)

    def look(self, problem: Problem, rows: Sequence[int]) -> Tensor:
        return shown(problem.rows(rows))
