"""Several rules that know nothing of each other; the majority decides."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import final

from torch import Tensor

from ilcore.grammar.arrays import Streams
from ilcore.grammar.capability import Capability
from ilcore.grammar.draws import is_white
from ilcore.grammar.problem import Problem
from ilcore.grammar.recipe import Recipe
from ilcore.grammar.slots import LiveStop, Part, Stop
from ilcore.grammar.step_context import Judgement, StepContext
from ilcore.grammar.stop_reason import StopReason


@final
@dataclass(frozen=True, kw_only=True)
class Vote(Stop):
    """Ask several rules which iterate was best, and take the median of their choices.

    Who may vote depends on what is known of the noise, because rules fail differently: withheld pixels betray noise
    that neighbours share, the discrepancy needs a level, the variance of outputs has false dips. The median lies
    between two rules that agree, whatever the third says; of an even number the earlier one is taken. (Tried: the mean
    of the two images that lie closest together. A false dip close to one good choice spoils it: up to 0.8 dB behind.)

    Withheld pixels cannot tell when fine detail is learnt, because detail cannot be predicted from around it. So where
    the noise is known and white, nothing is chosen before `no_sooner` has fired: until the residual has come down to
    the noise, something of the scene is still missing.

    Args:
        white: Rules for noise that is known to be white.
        correlated: Rules for noise of known correlation.
        unknown: Rules where nobody knows the noise.
        steps: Updates at most.
        no_sooner: Rule before which nothing is chosen, for noise that is known to be white.
        memory: Weight of the past in the running mean of outputs that is kept, as in `MovingAverage`.
    """

    takes_operator = True
    white: tuple[Stop, ...]
    correlated: tuple[Stop, ...]
    unknown: tuple[Stop, ...]
    steps: int
    no_sooner: Stop | None = None
    memory: float = 0.99

    def voters(self, problem: Problem) -> tuple[Stop, ...]:
        """Return the rules for what is known of the noise."""
        if problem.noise is None:
            return self.unknown
        return self.white if is_white(problem) else self.correlated

    @property
    def budget(self) -> int:
        return self.steps

    @property
    def requires(self) -> frozenset[Capability]:
        return frozenset({Capability.WHOLE_IMAGES})

    def contents(self, problem: Problem | None = None) -> Iterator[Part]:
        if problem is None:
            return super().contents()
        return iter((*self.voters(problem), *filter(None, [self.floor(problem)])))

    def floor(self, problem: Problem) -> Stop | None:
        """Return the rule before which nothing is chosen, if it can serve."""
        return self.no_sooner if problem.noise is not None and is_white(problem) else None

    def complaints(self, recipe: Recipe, problem: Problem) -> Iterator[str]:
        if not 0 <= self.memory < 1 or self.steps < 0:
            yield f"{self} needs 0 <= memory < 1 and steps >= 0"
        if len(self.voters(problem)) < 2:
            yield f"{self} needs two rules that can judge, got {self.voters(problem)}"

    def start(self, problem: Problem, streams: Streams, *, shared: bool = False) -> LiveStop:
        return _Vote(self, problem, streams, shared)


class _Vote:
    def __init__(self, spec: Vote, problem: Problem, streams: Streams, shared: bool) -> None:
        self.spec, self.problem, self.shared = spec, problem, shared
        self.rules: list[LiveStop] = []
        for rule in spec.voters(problem):
            self.rules.append(rule.start(self.problem, streams, shared=shared))
            # What one rule withholds none may see.
            self.problem = self.rules[-1].training_problem()
        floor = spec.floor(problem)
        self.floor = None if floor is None else floor.start(self.problem, streams, shared=shared)
        self.floors: dict[int, _Ballot] = {}
        self.means: dict[int, Tensor] = {}
        self.ballots: dict[int, dict[int, _Ballot]] = {}

    def training_problem(self) -> Problem:
        return self.problem

    def judge(self, context: StepContext) -> Judgement:
        budget = StopReason.budget(self.spec.steps) if context.step >= self.spec.steps else None
        if self.shared:
            # A model of all tiles is never seen whole.
            return Judgement((budget,) * len(context.rows), (True,) * len(context.rows))
        judged = [rule.judge(context) for rule in self.rules]
        above = None if self.floor is None else self.floor.judge(context)
        for position, row in enumerate(context.rows):
            self._vote(
                row, context.step, context.output[position], [(j.best[position], j.reasons[position]) for j in judged]
            )
            if above is not None and (row not in self.floors or self.floors[row].reason is None):
                self.floors[row] = _Ballot(context.step, self.means[row], above.reasons[position])
        reasons = tuple(self._reason(row) or budget for row in context.rows)
        images = tuple(self._chosen(row) if reason else None for row, reason in zip(context.rows, reasons, strict=True))
        return Judgement(reasons, (True,) * len(reasons), _risks(judged, len(context.rows)), images)

    def _vote(self, row: int, step: int, output: Tensor, said: list[tuple[bool, StopReason | None]]) -> None:
        before = self.means.get(row)
        mean = self.means[row] = output if before is None else before.lerp(output, 1 - self.spec.memory)
        ballots = self.ballots.setdefault(row, {number: _Ballot(step, mean) for number in range(len(said))})
        for number, (is_best, reason) in enumerate(said):
            ballot = ballots[number]
            if is_best and ballot.reason is None:
                ballots[number] = _Ballot(step, mean)
            if reason is not None and ballot.reason is None:
                ballots[number] = replace(ballots[number], reason=reason)

    def _reason(self, row: int) -> StopReason | None:
        reasons = [ballot.reason for ballot in self.ballots[row].values() if ballot.reason is not None]
        floor = self.floors.get(row)
        if 2 * len(reasons) <= len(self.rules) or (floor is not None and floor.reason is None):
            return None
        decisive = [floor.reason] if floor is not None and floor.reason and floor is self._choice(row) else []
        return StopReason("rule", "vote: " + " and ".join(dict.fromkeys(map(str, [*reasons, *decisive]))))

    def _choice(self, row: int) -> "_Ballot":
        ballots = sorted(self.ballots[row].values(), key=lambda ballot: ballot.step)
        chosen = ballots[(len(ballots) - 1) // 2]
        floor = self.floors.get(row, chosen)
        return floor if floor.step > chosen.step else chosen

    def _chosen(self, row: int) -> Tensor:
        return self._choice(row).image


@dataclass(frozen=True)
class _Ballot:
    step: int
    image: Tensor
    reason: StopReason | None = None


def _risks(judged: list[Judgement], count: int) -> tuple[float | None, ...]:
    told = [one.risks for one in judged if one.risks]
    return tuple(next((risks[n] for risks in told if risks[n] is not None), None) for n in range(count))
