"""A method, written down as data."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

from ilcore.grammar.arrays import PerTile, Streams, Tiles
from ilcore.grammar.errors import RecipeError
from ilcore.grammar.problem import Problem
from ilcore.grammar.slots import Descent, LiveLoss, Loss, Network, Readout, Stop, Views
from ilcore.grammar.step_context import Restoration, StepContext


class Method(ABC):
    """Anything that restores a problem; `ilcore.fit.restore` carries it out."""

    #: True where weights learnt on other tiles restore a tile unseen.
    can_apply: bool = False
    #: Steps at most; 0 for methods that make none.
    budget: int = 0

    @abstractmethod
    def complaints(self, problem: Problem) -> Iterator[str]:
        """Yield one sentence for each reason why this method cannot serve `problem`."""

    @abstractmethod
    def halo(self, space: int) -> tuple[int, ...]:
        """Return the context one voxel needs on each spatial axis."""

    def align(self, space: int) -> tuple[int, ...]:
        """Return the step on each axis by which tile origins may move without changing the result."""
        return (1,) * space

    def check(self, problem: Problem) -> None:
        """Refuse what cannot work before the first step.

        Raises:
            RecipeError: Listing all complaints.
        """
        found = list(self.complaints(problem))
        if found:
            raise RecipeError("the parts must agree with each other and the problem; " + "; ".join(found))


@final
@dataclass(frozen=True)
class Recipe(Method):
    """Six answers that make a method; `ilcore.fit.fit` carries it out."""

    views: Views
    network: Network
    loss: Loss
    descent: Descent
    stop: Stop
    readout: Readout

    @property
    def can_apply(self) -> bool:  # type: ignore[override]
        """Tell whether the network sees the observation itself."""
        return self.views.sees_observation

    @property
    def budget(self) -> int:  # type: ignore[override]
        """Return the steps of the stop."""
        return int(getattr(self.stop, "steps", 1))

    def complaints(self, problem: Problem) -> Iterator[str]:
        for part in (self.views, self.network, self.loss, self.descent, self.stop, self.readout):
            yield from part.complaints(self, problem)

    def halo(self, space: int) -> tuple[int, ...]:
        return self.network.halo(space)

    def align(self, space: int) -> tuple[int, ...]:
        return self.network.align(space)


class DirectMethod(Method):
    """A method that does not fit the six slots: frozen dataclasses derive from it, their fields are its knobs."""

    @abstractmethod
    def restore(self, problem: Problem, streams: Streams) -> Restoration:
        """Return the restoration of every tile."""


@final
@dataclass(frozen=True)
class Sequential(Method):
    """Several methods one after the other; each starts from the weights of the one before."""

    methods: tuple[Method, ...]

    @property
    def can_apply(self) -> bool:  # type: ignore[override]
        """Tell whether the last one can."""
        return self.methods[-1].can_apply

    @property
    def budget(self) -> int:  # type: ignore[override]
        """Return all steps."""
        return sum(method.budget for method in self.methods)

    def complaints(self, problem: Problem) -> Iterator[str]:
        for method in self.methods:
            yield from method.complaints(problem)

    def halo(self, space: int) -> tuple[int, ...]:
        reaches = [method.halo(space) for method in self.methods]
        return tuple(max(axis) for axis in zip(*reaches, strict=True))

    def align(self, space: int) -> tuple[int, ...]:
        steps = [method.align(space) for method in self.methods]
        return tuple(math.lcm(*axis) for axis in zip(*steps, strict=True))


class Transform(ABC):
    """Other units in which a problem is posed; they are undone on the image."""

    def complaints(self, problem: Problem) -> Iterator[str]:
        """Yield one sentence for each reason why `problem` cannot be transformed."""
        yield from ()

    @abstractmethod
    def forward(self, problem: Problem) -> Problem:
        """Return the problem in the new units."""

    @abstractmethod
    def backward(self, image: Tiles, problem: Problem) -> Tiles:
        """Return an image in the units of the unchanged `problem`."""


@final
@dataclass(frozen=True)
class Transformed(Method):
    """Any method, carried out in other units."""

    transform: Transform
    method: Method

    @property
    def can_apply(self) -> bool:  # type: ignore[override]
        """Tell whether the method inside can."""
        return self.method.can_apply

    @property
    def budget(self) -> int:  # type: ignore[override]
        """Return the steps of the method inside."""
        return self.method.budget

    def complaints(self, problem: Problem) -> Iterator[str]:
        found = list(self.transform.complaints(problem))
        yield from found or self.method.complaints(self.transform.forward(problem))

    def halo(self, space: int) -> tuple[int, ...]:
        return self.method.halo(space)

    def align(self, space: int) -> tuple[int, ...]:
        return self.method.align(space)


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

        def total(context: StepContext) -> PerTile:
            losses = [term(context) for term in live]
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
        return lambda context: self.factor * live(context)
