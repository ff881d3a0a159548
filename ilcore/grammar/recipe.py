"""A method, written down as data."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

from ilcore.grammar.arrays import PerTile, Streams, Tiles, Weights
from ilcore.grammar.capability import Capability, Slot, missing
from ilcore.grammar.errors import RecipeError
from ilcore.grammar.problem import Problem
from ilcore.grammar.slots import Descent, LiveLoss, Loss, Network, Part, Readout, Stop, Views
from ilcore.grammar.step_context import Restoration, StepContext


class Method(ABC):
    """Anything that restores a problem; `ilcore.fit.restore` carries it out."""

    #: True where weights learnt on other tiles restore a tile unseen.
    can_apply: bool = False
    #: Steps at most; 0 for methods that make none.
    budget: int = 0
    #: True where it restores what stands behind `Problem.operator`, rather than ignore it.
    takes_operator: bool = False

    def complaints(self, problem: Problem) -> Iterator[str]:
        """Yield one sentence for each reason why this method cannot serve `problem`."""
        yield from list(self._about_operator(problem)) or self.own_complaints(problem)

    def _about_operator(self, problem: Problem) -> Iterator[str]:
        ignoring = [] if problem.operator is None else [str(one) for one in self.ignoring_operator(problem)]
        if ignoring:
            yield (
                f"{' and '.join(ignoring)} knows denoising only, got an operator ({type(problem.operator).__name__}); "
                "take a method that minds it in every part, such as dip"
            )

    @abstractmethod
    def own_complaints(self, problem: Problem) -> Iterator[str]:
        """Yield one sentence for each reason beside the operator."""

    def ignoring_operator(self, problem: Problem | None = None) -> Iterator[object]:
        """Yield what of this method does as if there were no operator."""
        if not self.takes_operator:
            yield self

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
        _refuse(list(self.complaints(problem)))

    def check_operator(self, problem: Problem) -> None:
        """Refuse an operator that would be ignored, where nothing is learnt.

        Raises:
            RecipeError: Naming what ignores it.
        """
        _refuse(list(self._about_operator(problem)))


def _refuse(complaints: list[str]) -> None:
    if complaints:
        raise RecipeError("the parts must agree with each other and the problem; " + "; ".join(complaints))


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
        return Capability.SHOWS_OBSERVATION in self.views.offers

    @property
    def budget(self) -> int:  # type: ignore[override]
        """Return the steps of the stop."""
        return self.stop.budget

    @property
    def takes_operator(self) -> bool:  # type: ignore[override]
        """Tell whether every part does."""
        return not any(self.ignoring_operator())

    def parts(self, problem: Problem | None = None) -> Iterator[Part]:
        """Yield all parts, those inside others too, or only those that are asked on `problem`."""
        for part in (self.views, self.network, self.loss, self.descent, self.stop, self.readout):
            yield from part.nested(problem)

    def own_complaints(self, problem: Problem) -> Iterator[str]:
        filled: dict[Slot, Part] = {"views": self.views, "network": self.network, "loss": self.loss}
        for part in self.parts(problem):
            for slot, other in filled.items():
                wanted = {one for one in self._wanted(part, problem) if one.slot == slot}
                yield from missing(part, wanted, other.offers, other)
            yield from part.complaints(self, problem)

    def _wanted(self, part: Part, problem: Problem) -> frozenset[Capability]:
        is_foreign = part is self.views and self.views.input_channels(problem) != problem.channels
        return part.requires | ({Capability.READS_OTHER_CHANNELS} if is_foreign else frozenset())

    def ignoring_operator(self, problem: Problem | None = None) -> Iterator[object]:
        yield from (part for part in self.parts(problem) if not part.takes_operator)

    def halo(self, space: int) -> tuple[int, ...]:
        return self.network.halo(space)

    def align(self, space: int) -> tuple[int, ...]:
        return self.network.align(space)


class DirectMethod(Method):
    """A method that does not fit the six slots: frozen dataclasses derive from it, their fields are its knobs."""

    @abstractmethod
    def restore(self, problem: Problem, streams: Streams, *, start: Weights | None = None) -> Restoration:
        """Return the restoration of every tile; `start` holds weights to begin from, for methods that have some."""


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

    @property
    def takes_operator(self) -> bool:  # type: ignore[override]
        """Tell whether all of them do."""
        return all(method.takes_operator for method in self.methods)

    def own_complaints(self, problem: Problem) -> Iterator[str]:
        for method in self.methods:
            yield from method.complaints(problem)

    def ignoring_operator(self, problem: Problem | None = None) -> Iterator[object]:
        for method in self.methods:
            yield from method.ignoring_operator(problem)

    def halo(self, space: int) -> tuple[int, ...]:
        reaches = [method.halo(space) for method in self.methods]
        return tuple(max(axis) for axis in zip(*reaches, strict=True))

    def align(self, space: int) -> tuple[int, ...]:
        steps = [method.align(space) for method in self.methods]
        return tuple(math.lcm(*axis) for axis in zip(*steps, strict=True))


class Transform(ABC):
    """Other units in which a problem is posed; they are undone on the image."""

    #: True where a degradation looks the same in the new units.
    takes_operator: bool = False

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

    @property
    def takes_operator(self) -> bool:  # type: ignore[override]
        """Tell whether both the units and the method inside do."""
        return self.transform.takes_operator and self.method.takes_operator

    def ignoring_operator(self, problem: Problem | None = None) -> Iterator[object]:
        if not self.transform.takes_operator:
            yield self.transform
        yield from self.method.ignoring_operator(problem)

    def own_complaints(self, problem: Problem) -> Iterator[str]:
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

    takes_operator = True
    terms: tuple[Loss, ...]

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

    takes_operator = True
    factor: float
    term: Loss

    def start(self, problem: Problem, streams: Streams) -> LiveLoss:
        live = self.term.start(problem, streams)
        return lambda context: self.factor * live(context)
