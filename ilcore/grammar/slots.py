"""The six questions a method answers, as abstract parts.

Parts are frozen dataclasses: they print, hash, compare and pickle. `start` returns a small live object that
holds the state of one fit and dies with it. Every live object works row by row: nothing mixes across tiles.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence, Set
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

from torch import Tensor, nn

from ilcore.grammar.arrays import PerTile, Streams, Tiles
from ilcore.grammar.capability import Capability
from ilcore.grammar.problem import Problem
from ilcore.grammar.step_context import Judgement, Pair, Predict, StepContext

if TYPE_CHECKING:
    from ilcore.grammar.recipe import Recipe


class Part(ABC):  # noqa: B024 (complaining is optional; each slot adds its own abstract method)
    """Anything that fills a slot."""

    #: True where it minds `Problem.operator`, or has nothing to do with how an image is observed.
    takes_operator: bool = False

    @property
    def offers(self) -> frozenset[Capability]:
        """Return what parts in other slots may count on."""
        return frozenset()

    @property
    def requires(self) -> frozenset[Capability]:
        """Return what parts in other slots must offer; parts inside this one say for themselves."""
        return frozenset()

    def contents(self, problem: Problem | None = None) -> Iterator[Part]:
        """Yield the parts it is made of, or only those that are asked on `problem`."""
        for value in vars(self).values():
            yield from (one for one in (value if isinstance(value, tuple) else (value,)) if isinstance(one, Part))

    def nested(self, problem: Problem | None = None) -> Iterator[Part]:
        """Yield itself and all parts inside."""
        yield self
        for part in self.contents(problem):
            yield from part.nested(problem)

    def complaints(self, recipe: Recipe, problem: Problem) -> Iterator[str]:
        """Yield one sentence for each reason why this part cannot serve in `recipe` on `problem`."""
        yield from ()


class LiveViews(ABC):
    """Views of one observation during one fit."""

    @abstractmethod
    def draw(self, step: int, rows: Sequence[int]) -> Pair:
        """Return the training pair of some tiles."""

    @abstractmethod
    def look(self, problem: Problem, rows: Sequence[int]) -> Tensor:
        """Return the input from which the images of some tiles of `problem` are predicted, without jitter."""

    def image(self, model: LiveNetwork, problem: Problem, rows: Sequence[int]) -> Tiles:
        """Return the images of some tiles of `problem`; called without gradient."""
        seen: Tiles = model(self.look(problem, rows), rows)
        return seen


class Views(Part):
    """What pairs are drawn from the one observation?"""

    #: How often the sides of what they show are halved before a network sees it.
    halvings: int = 0

    @property
    def offers(self) -> frozenset[Capability]:
        return frozenset({Capability.SHOWS_OBSERVATION, Capability.SHOWS_IMAGE})

    @property
    def requires(self) -> frozenset[Capability]:
        return frozenset({Capability.READS_IMAGE, Capability.RETURNS_IMAGE})

    def input_channels(self, problem: Problem) -> int:
        """Return how many channels the network sees."""
        return problem.channels

    @abstractmethod
    def start(self, problem: Problem, streams: Streams) -> LiveViews:
        """Begin a fit."""


#: How the tiles of a batch are computed at once.
Strategy = Literal["grouped", "vmap"]


class TileLayer(nn.Module):
    """A layer that knows more than one way to compute many tiles at once."""

    strategy: Strategy = "grouped"


class LiveNetwork(nn.Module, ABC):
    """A network whose parameters carry a leading tile axis: [tile or 1, ...]; 1 means shared by all."""

    @abstractmethod
    def forward(self, seen: Tensor, rows: Sequence[int]) -> Tensor:
        """Return the output for [row, channel, *space], each row through its own weights."""

    def moving(self) -> dict[str, nn.Parameter]:
        """Return the weights that learning moves, [tile, ...] or [1, ...]; frozen ones are shared by all, [1, ...]."""
        return {name: value for name, value in self.named_parameters() if value.requires_grad}

    def compute(self, strategy: Strategy) -> None:
        """Make every layer compute its tiles in one way."""
        for layer in self.modules():
            if isinstance(layer, TileLayer):
                layer.strategy = strategy


#: What a network offers unless it says something else.
ORDINARY = frozenset(
    {Capability.READS_IMAGE, Capability.READS_OTHER_CHANNELS, Capability.RETURNS_IMAGE, Capability.CANNOT_COPY}
)


class Network(Part):
    """What is fitted, and which weights move?"""

    #: What makes an image need not know how that is observed.
    takes_operator = True

    @property
    def offers(self) -> frozenset[Capability]:
        return ORDINARY

    @abstractmethod
    def build(self, problem: Problem, channels: int, streams: Streams, *, shared: bool = False) -> LiveNetwork:
        """Return a live network with one set of weights per stream, or one for all if `shared`."""

    @abstractmethod
    def halo(self, space: int) -> tuple[int, ...]:
        """Return how many voxels of context one output voxel needs on each spatial axis."""

    def align(self, space: int) -> tuple[int, ...]:
        """Return the step on each axis by which tile origins may move without changing the result."""
        return (1,) * space


class LiveLoss(Protocol):
    """A loss during one fit."""

    def __call__(self, context: StepContext) -> PerTile:
        """Return one differentiable number per row."""


class Loss(Part):
    """What is asked of the output? Terms add: `SquaredError() + 0.05 * TotalVariation()`."""

    @property
    def requires(self) -> frozenset[Capability]:
        return frozenset({Capability.RETURNS_IMAGE})

    @abstractmethod
    def start(self, problem: Problem, streams: Streams) -> LiveLoss:
        """Begin a fit."""

    def __add__(self, other: Loss) -> Loss:
        from ilcore.grammar.recipe import Sum

        return Sum((self, other))

    def __rmul__(self, factor: float) -> Loss:
        from ilcore.grammar.recipe import Scaled

        return Scaled(float(factor), self)


class LiveDescent(Protocol):
    """An optimiser during one fit."""

    def step(self, losses: PerTile, rows: Sequence[int]) -> None:
        """Move the weights of every row along its own gradient; `losses` has one entry for each of `rows`."""


class Descent(Part):
    """How do weights move?"""

    #: It sees the gradient of a loss, which knows the operator.
    takes_operator = True

    @abstractmethod
    def start(self, model: LiveNetwork, streams: Streams) -> LiveDescent:
        """Begin a fit."""


class LiveStop(Protocol):
    """A stopping rule during one fit."""

    def training_problem(self) -> Problem:
        """Return the problem as the other parts may see it, less whatever this rule withholds."""

    def judge(self, context: StepContext) -> Judgement:
        """Return for each row whether, and why, to end."""


class Stop(Part):
    """When is enough? Returns the reason."""

    #: True where the rule compares with the noise model and cannot serve without it.
    needs_noise: bool = False

    @property
    @abstractmethod
    def budget(self) -> int:
        """Return the updates after which it ends a fit at the latest."""

    @abstractmethod
    def start(self, problem: Problem, streams: Streams, *, shared: bool = False) -> LiveStop:
        """Begin a fit; where weights are `shared`, all rows get the same judgement."""


class LiveReadout(Protocol):
    """A readout during one fit."""

    def observe(self, context: StepContext, best: Set[int]) -> None:
        """Take note of a step; `best` are the rows for which the stop calls it the best so far."""

    def result(self, rows: Sequence[int], predict: Predict) -> Tiles:
        """Return the final image of some rows."""


@runtime_checkable
class Spreading(Protocol):
    """A readout that can say how far its images lie apart."""

    def spread(self, rows: Sequence[int]) -> Tiles:
        """Return the standard deviation of the images behind some rows, NaN for rows with fewer than two."""


class Readout(Part):
    """Which image comes out?"""

    #: It chooses among images.
    takes_operator = True
    #: True where the weights return to the iterate the stop liked best before the image is read out.
    wants_best: bool = False

    @property
    def spreads_after(self) -> int | None:
        """Return the steps after which there are two images to tell the spread of; None where none are averaged."""
        return None

    @abstractmethod
    def start(self, problem: Problem) -> LiveReadout:
        """Begin a fit."""
