"""The observation with a little more noise, less and less as time goes by."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import final

from torch import Tensor

from ilcore.grammar.arrays import Streams
from ilcore.grammar.capability import Capability
from ilcore.grammar.draws import is_white
from ilcore.grammar.fills import shown
from ilcore.grammar.problem import Problem
from ilcore.grammar.recipe import Recipe
from ilcore.grammar.slots import LiveViews, Views
from ilcore.grammar.step_context import Pair


@final
@dataclass(frozen=True, kw_only=True)
class FadingNoise(Views):
    """Teach a network the score of the noisy image: from y' = y + a w to y' - (v / a) w.

    With v the variance of the noise, a network f that does this well on average is f(y') = y' + v r(y') where r is the
    slope of log p at y', blurred by a; shown y itself, f is Tweedie's estimate of the image.

    Args:
        largest: a at the first step, in units of the range of values.
        least: a from step `steps` on; it falls by equal ratios.
        steps: Steps over which a falls.

    Reference:
        Kim & Ye, "Noise2Score: Tweedie's approach to self-supervised image denoising without clean images", NeurIPS
        2021, eq. 6 (amortised residual auto-encoder) and eq. 8 (Tweedie), joined.
    """

    largest: float = 0.05
    least: float = 0.001
    steps: int = 2000

    @property
    def offers(self) -> frozenset[Capability]:
        return super().offers | {Capability.WHOLE_IMAGES}

    def complaints(self, recipe: Recipe, problem: Problem) -> Iterator[str]:
        if not 0 < self.least <= self.largest or self.steps < 1:
            yield f"{self} needs 0 < least <= largest and steps >= 1"
        if problem.noise is None:
            yield f"{self} needs the noise level; estimate it or pass noise_std"
        elif any(noise.gain > 0 for noise in problem.noise):
            yield f"{self} knows Gaussian noise only; set stabilise=True for noise that grows with the signal"
        elif not is_white(problem) or any(noise.correlation not in ("white", "unknown") for noise in problem.noise):
            yield f"{self} needs white noise, got {[noise.correlation for noise in problem.noise]}"

    def amount(self, step: int) -> float:
        """Return a at a step."""
        return float(self.largest * (self.least / self.largest) ** min(1.0, step / self.steps))

    def start(self, problem: Problem, streams: Streams) -> LiveViews:
        return _FadingNoise(self, problem, streams)


class _FadingNoise(LiveViews):
    def __init__(self, spec: FadingNoise, problem: Problem, streams: Streams) -> None:
        self.spec, self.problem, self.streams, self.seen = spec, problem, streams, shown(problem)
        self.variance = problem.noise_std(self.seen).square()

    def draw(self, step: int, rows: Sequence[int]) -> Pair:
        chosen, amount = list(rows), self.spec.amount(step)
        noise = self.streams.normal(self.seen.shape[1:], chosen).to(self.seen)
        noisier = self.seen[chosen] + amount * noise
        trusted = None if self.problem.trusted is None else self.problem.trusted[chosen]
        return Pair(noisier, noisier - self.variance[chosen] / amount * noise, trusted)

    def look(self, problem: Problem, rows: Sequence[int]) -> Tensor:
        return shown(problem.rows(rows))
