"""Several rules that know nothing of each other; the majority decides."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

from ilcore.grammar.arrays import Streams
from ilcore.grammar.draws import is_white
from ilcore.grammar.problem import Problem
from ilcore.grammar.recipe import Recipe
from ilcore.grammar.slots import LiveStop, Stop
from ilcore.grammar.trial import Judgement, Trial

#: An approval always holds for so many steps.
_SOON = 5


@final
@dataclass(frozen=True, kw_only=True)
class Vote(Stop):
    """Keep the last iterate that most rules still called better than all before it: the median of their choices.

    Who may vote depends on what is known of the noise, because rules fail differently: withheld pixels betray noise
    that neighbours share, the discrepancy needs a level, the variance of outputs has false dips. A rule speaks for an
    iterate if its last best lies no further back than a share of all steps: fits slow down, and so do their bests.
    Where rules contradict each other no majority forms after the earlier ones, so that the earliest iterate that is
    safe by most of them comes out.

    Args:
        white: Rules for noise that is known, or taken, to be white.
        correlated: Rules for noise of known correlation.
        unknown: Rules where nobody knows the noise.
        steps: Updates at most.
        grace: How long an approval holds, as a share of the steps made when it was given.
    """

    white: tuple[Stop, ...]
    correlated: tuple[Stop, ...]
    unknown: tuple[Stop, ...]
    steps: int
    grace: float = 0.1

    def voters(self, problem: Problem) -> tuple[Stop, ...]:
        """Return the rules for what is known of the noise."""
        if problem.noise is None:
            return self.unknown
        return self.white if is_white(problem) else self.correlated

    def complaints(self, recipe: Recipe, problem: Problem) -> Iterator[str]:
        if not 0 < self.grace < 1 or self.steps < 0:
            yield f"{self} needs 0 < grace < 1 and steps >= 0"
        if len(self.voters(problem)) < 2:
            yield f"{self} needs two rules that can judge, got {self.voters(problem)}"
        for rule in self.voters(problem):
            yield from rule.complaints(recipe, problem)

    def start(self, problem: Problem, streams: Streams, *, shared: bool = False) -> LiveStop:
        return _Vote(self, problem, streams, shared)


class _Vote:
    def __init__(self, spec: Vote, problem: Problem, streams: Streams, shared: bool) -> None:
        self.spec, self.problem = spec, problem
        self.rules: list[LiveStop] = []
        for rule in spec.voters(problem):
            self.rules.append(rule.start(self.problem, streams, shared=shared))
            # What one rule withholds none may see.
            self.problem = self.rules[-1].training_problem()
        self.needed = len(self.rules) // 2 + 1
        self.approved: dict[tuple[int, int], int] = {}
        self.ended: dict[int, dict[int, str]] = {}

    def training_problem(self) -> Problem:
        return self.problem

    def judge(self, trial: Trial) -> Judgement:
        judged = [rule.judge(trial) for rule in self.rules]
        for number, one in enumerate(judged):
            for row, best, reason in zip(trial.rows, one.best, one.reasons, strict=True):
                if best:
                    self.approved[number, row] = trial.step
                if reason is not None:
                    self.ended.setdefault(row, {}).setdefault(number, reason)
        bests = tuple(self._is_best(row, trial.step) for row in trial.rows)
        reasons = tuple(self._reason(row, trial.step) for row in trial.rows)
        risks = tuple(next((one.risks[n] for one in judged if one.risks and one.risks[n] is not None), None)
                      for n in range(len(trial.rows)))  # fmt: skip
        return Judgement(reasons, bests, risks)

    def _is_best(self, row: int, step: int) -> bool:
        ended = self.ended.get(row, {})
        return sum(n not in ended and self._speaks(n, row, step) for n in range(len(self.rules))) >= self.needed

    def _speaks(self, number: int, row: int, step: int) -> bool:
        approved = self.approved.get((number, row), -1)
        return approved >= 0 and step - approved <= max(_SOON, self.spec.grace * approved)

    def _reason(self, row: int, step: int) -> str | None:
        ended = self.ended.get(row, {})
        if len(ended) > len(self.rules) - self.needed:
            return "vote: " + " and ".join(dict.fromkeys(ended.values()))
        return f"budget of {self.spec.steps} steps" if step >= self.spec.steps else None
