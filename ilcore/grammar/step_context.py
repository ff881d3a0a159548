"""What happens during a fit: the pair it trains on, the context it makes, the restoration it ends with."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from torch import Tensor, nn

from ilcore.grammar.arrays import Mask, PerTile, Tiles
from ilcore.grammar.problem import Problem
from ilcore.grammar.stop_reason import StopReason

#: Rows of the batch -> their present image, without gradient.
Predict: TypeAlias = Callable[[Sequence[int]], Tiles]
#: A problem like that of the fit, rows of the batch -> their present image, without gradient, always by the same draws.
ImageOf: TypeAlias = Callable[[Problem, Sequence[int]], Tiles]


def _nobody(problem: Problem, rows: Sequence[int]) -> Tiles:
    raise TypeError("images of other observations are known during a fit only")


@dataclass(frozen=True)
class Pair:
    """What the network sees and what is asked of it, drawn from the observation only.

    A pair may hold several copies of each row, one block of rows after the other.

    Args:
        input: [copy * row, channel of the network, *space].
        target: [copy * row, channel, *space].
        trusted: Where the target counts, the shape of the target; None means everywhere.
        shrink: How a full image becomes one of the target's size, where the two differ.
    """

    input: Tensor
    target: Tensor
    trusted: Mask | None = None
    shrink: Callable[[Tensor], Tensor] | None = None


@dataclass(frozen=True)
class StepContext:
    """One step as parts see it; read-only.

    Args:
        step: Updates made so far; the output belongs to the weights after that many.
        rows: Tiles still at work; every tensor here has one entry for each.
        problem: The whole problem, all tiles.
        pair: What was drawn this step.
        output: Output of the network on pair.input.
        model: The live network.
        predict: Present image of given rows.
        losses: The loss of each row, once it is known.
        image_of: Image that would be read out for given rows of another observation of the same tiles.
    """

    step: int
    rows: Sequence[int]
    problem: Problem
    pair: Pair
    output: Tensor
    model: "nn.Module"
    predict: Predict
    losses: PerTile | None = None
    image_of: ImageOf = _nobody


@dataclass(frozen=True)
class Judgement:
    """What a stop says of each row: a reason to end, and whether this is the best iterate so far.

    A stop that keeps images itself hands over the one it chose, [channel, *space], with its reason.
    """

    reasons: tuple[StopReason | None, ...]
    best: tuple[bool, ...]
    risks: tuple[float | None, ...] = ()
    images: tuple[Tensor | None, ...] = ()


@dataclass(frozen=True)
class Restoration:
    """The end of a fit, one entry per tile in every field.

    Args:
        image: [tile, channel, *space], finite, in the units of the problem.
        steps: Updates made.
        stopped: Why the fit ended.
        curves: A thinned list of (step, loss).
        risk: Estimated mean squared error of the image, if the stop measures one; unbiased, so it may be below 0.
        risk_before: The same of the untouched start.
        spread: Standard deviation of the images that were averaged, like image; None where nobody averaged any.
        weights: Name -> stacked tensor of the fitted network, [tile, ...], or [1, ...] where tiles share it; None for
            methods without one.
        frozen: Names of the weights that did not move, [1, ...].
        provenance: Where each voxel comes from, like image, 8 bits, as `ilcore.grammar.layers.PROVENANCE` names them,
            where `ilcore.restore` was asked.
        method: Name in the catalogue, where `ilcore.restore` was asked.
        why: Why that method, in one sentence.
        qa: Check -> its number, where `ilcore.restore` was asked for more than denoising.
    """

    image: Tiles
    steps: tuple[int, ...]
    stopped: tuple[StopReason, ...]
    curves: tuple[tuple[tuple[int, float], ...], ...] = ()
    risk: tuple[float | None, ...] = ()
    risk_before: tuple[float | None, ...] = ()
    spread: Tiles | None = None
    weights: dict[str, Tensor] | None = field(default=None, repr=False)
    frozen: frozenset[str] = field(default=frozenset(), repr=False)
    provenance: Tensor | None = field(default=None, repr=False)
    method: str = ""
    why: str = ""
    qa: Mapping[str, tuple[float, ...]] = field(default_factory=dict)


Losses: TypeAlias = PerTile
