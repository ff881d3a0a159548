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
from ilcore.grammar.problem import Problem
from ilcore.grammar.step_context import Judgement, Pair, Predict, StepContext

if TYPE_CHECKING:
    from ilcore.grammar.recipe import Recipe


class Part(ABC):  # noqa: B024 (complaining is optional; each slot adds its own abstract method)
    """Anything that fills a slot."""

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

    #: True where the input is the observation itself, so that weights learnt elsewhere can be applied unseen.
    sees_observation: bool = True
    #: True where the output on every drawn input is an image of the whole tile, one for each row.
    draws_whole_images: bool = False

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

    def compute(self, strategy: Strategy) -> None:
        """Make every layer compute its tiles in one way."""
        for layer in self.modules():
            if isinstance(layer, TileLayer):
                layer.strategy = strategy


class Network(Part):
    """What is fitted, and which weights move?"""

    #: True where the output at a voxel may simply repeat the input there.
    can_copy_input: bool = False

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

    #: Whether its value estimates the mean squared error against the truth, and so may fall below zero.
    estimates_risk: bool = False

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

    #: True where the weights return to the iterate the stop liked best before the image is read out.
    wants_best: bool = False

    @abstractmethod
    def start(self, problem: Problem) -> LiveReadout:
        """Begin a fit."""
