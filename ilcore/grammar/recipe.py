"""A method, written down as data."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias, final

from ilcore.grammar.arrays import PerTile, Streams
from ilcore.grammar.errors import RecipeError
from ilcore.grammar.problem import Problem
from ilcore.grammar.slots import Descent, LiveLoss, Loss, Network, Readout, Stop, Views
from ilcore.grammar.trial import Restoration, Trial


@final
@dataclass(frozen=True)
class Recipe:
    """Six answers that make a method; `ilcore.fit.fit` carries it out."""

    views: Views
    network: Network
    loss: Loss
    descent: Descent
    stop: Stop
    readout: Readout

    def complaints(self, problem: Problem) -> Iterator[str]:
        """Yield every complaint of every part."""
        for part in (self.views, self.network, self.loss, self.descent, self.stop, self.readout):
            yield from part.complaints(self, problem)

    def check(self, problem: Problem) -> None:
        """Refuse an illegal composition before the first step.

        Raises:
            RecipeError: Listing all complaints.
        """
        found = list(self.complaints(problem))
        if found:
            raise RecipeError("the parts must agree with each other and the problem; " + "; ".join(found))


@final
@dataclass(frozen=True)
class Then:
    """Several methods one after the other; each starts from the weights of the one before."""

    methods: tuple[Method, ...]


@final
@dataclass(frozen=True)
class ByHand:
    """A method that does not fit the six slots: any function of the problem and its streams."""

    function: Callable[[Problem, Streams], Restoration]


Method: TypeAlias = Recipe | Then | ByHand


@final
@dataclass(frozen=True)
class Sum(Loss):
    """Add terms."""

    terms: tuple[Loss, ...]

    def complaints(self, recipe: Recipe, problem: Problem) -> Iterator[str]:
        for term in self.terms:
            yield from term.complaints(recipe, problem)

    def start(self, problem: Problem, streams: Streams) -> LiveLoss:
        live = [term.start(problem, streams) for term in self.terms]

        def total(trial: Trial) -> PerTile:
            losses = [term(trial) for term in live]
            return sum(losses[1:], losses[0])

        return total


@final
@dataclass(frozen=True)
class Scaled(Loss):
    """Multiply a term by a constant."""

    factor: float
    term: Loss

    def complaints(self, recipe: Recipe, problem: Problem) -> Iterator[str]:
        yield from self.term.complaints(recipe, problem)

    def start(self, problem: Problem, streams: Streams) -> LiveLoss:
        live = self.term.start(problem, streams)
        return lambda trial: self.factor * live(trial)
