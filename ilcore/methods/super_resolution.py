"""A finer image from one observation, without learning: what every learnt super-resolution has to beat.

bicubic            Keys' cubic through the observed voxels, at the voxels of the result
back_projection    the same, then f <- f + A+ (y - A f) until the operator makes of it what was observed
"""

import math
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import final

import torch
from torch import Tensor

from ilcore.degradations.kernels import keys
from ilcore.grammar.arrays import Streams, Tiles, Weights, mirrored
from ilcore.grammar.problem import Problem
from ilcore.grammar.recipe import DirectMethod
from ilcore.grammar.step_context import Restoration
from ilcore.grammar.stop_reason import StopReason
from ilcore.methods.entry import Entry


class Finer(DirectMethod):
    """A method of one pass whose result lies on a finer grid than its observation."""

    takes_operator = True

    @abstractmethod
    def made_of(self, problem: Problem) -> Tiles:
        """Return the images of a problem, [tile, channel, *field]."""

    def own_complaints(self, problem: Problem) -> Iterator[str]:
        if problem.field == problem.space:
            yield f"{self} makes a finer image and needs a factor; ask for task superres with a scale"

    def restore(self, problem: Problem, streams: Streams, *, start: Weights | None = None) -> Restoration:
        count = len(problem.observed)
        return Restoration(
            image=self.made_of(problem), steps=(0,) * count, stopped=(StopReason.applied("one pass"),) * count
        )


@final
@dataclass(frozen=True, kw_only=True)
class Bicubic(Finer):
    """The cubic through the nearest four observed voxels along each axis; borders are mirrored.

    Reference:
        Keys, "Cubic convolution interpolation for digital image processing", TASSP 1981.
    """

    def halo(self, space: int) -> tuple[int, ...]:
        return (2,) * space

    def made_of(self, problem: Problem) -> Tiles:
        return problem.inside(interpolated(problem))


@final
@dataclass(frozen=True, kw_only=True)
class BackProjection(Finer):
    """The cubic, corrected by what its own reduction misses of the observation, until both agree.

    Where the noise is known, they agree as soon as no more is missed than noise: what follows would only sharpen it.

    Args:
        iterations: Corrections at most. The authors use a handful; with this ridge ten leave a thousandth of what the
            operator passes by a tenth of its power, and little is made of what it hardly passes.
        ridge: Of A+, in units of what A A' makes of a constant.

    Reference:
        Irani & Peleg, "Improving resolution by image registration", CVGIP 1991, with A+ as the back-projection. When to
        end: Morozov, "On the solution of functional equations by the method of regularization", 1966.
    """

    iterations: int = 10
    ridge: float = 0.1

    def own_complaints(self, problem: Problem) -> Iterator[str]:
        yield from super().own_complaints(problem)
        if self.iterations < 0 or not 0 < self.ridge < math.inf:
            yield f"{self} needs iterations >= 0 and ridge > 0"

    def halo(self, space: int) -> tuple[int, ...]:
        return (4, 8, 8)[-space:]

    def made_of(self, problem: Problem) -> Tiles:
        return problem.inside(back_projected(problem, interpolated(problem), self.iterations, self.ridge))


def interpolated(problem: Problem) -> Tensor:
    """Return the cubic through the observation on the domain of its operator.

    Shape:
        [tile, channel, *domain].
    """
    grids = zip(problem.space, problem.field, problem.domain, strict=True)
    factors, margins = zip(*((Fraction(field, own), (wide - field) // 2) for own, field, wide in grids), strict=True)
    return cubic(problem.observed, factors, margins)


def cubic(image: Tensor, factors: Sequence[Fraction | int], margins: Sequence[int]) -> Tensor:
    """Return Keys' cubic through an image at the voxels of a finer grid.

    Args:
        image: What is known.
        factors: How much finer the grid is along each axis.
        margins: Voxels of the finer grid beyond the image on either side.

    Shape:
        [tile, channel, *space] -> [tile, channel, *finer].
    """
    for axis, (factor, margin) in enumerate(zip(factors, margins, strict=True), 2):
        if factor != 1 or margin:
            image = _along(image, axis, Fraction(factor), margin)
    return image


def _along(image: Tensor, axis: int, factor: Fraction, margin: int) -> Tensor:
    length = image.shape[axis]
    count = int(length * factor) + 2 * margin
    # Middles of voxels lie over middles of cells; in 64 bits, so that equal places have equal weights.
    places = (torch.arange(count, dtype=torch.float64) - margin + 0.5) / float(factor) - 0.5
    first = places.floor().long() - 1
    shape = [-1 if other == axis else 1 for other in range(image.ndim)]
    total: Tensor | None = None
    for step in range(4):
        weight = keys(places - (first + step)).to(image).reshape(shape)
        term = weight * image.index_select(axis, mirrored(first + step, length).to(image.device))
        total = term if total is None else total + term
    return image if total is None else total


def back_projected(problem: Problem, image: Tensor, iterations: int, ridge: float) -> Tensor:
    """Return an image of the domain after corrections by what its reduction misses of the observation.

    Args:
        problem: With an operator; what is not trusted asks for nothing.
        image: Where to begin.
        iterations: Corrections.
        ridge: Of A+, in units of what A A' makes of a constant.

    Shape:
        image [tile, channel, *domain] -> the same.
    """
    operator = problem.operator
    if operator is None:
        return image
    # A A' of a constant is a voxel's share of its cell.
    gain, axes = math.prod(problem.space) / math.prod(problem.field), tuple(range(2, image.ndim))
    allowed = 0.0 if problem.noise is None else problem.noise_std(problem.observed).square().sum(axes, keepdim=True)
    for _ in range(iterations):
        missed = problem.weight * (problem.observed - operator.forward(image))
        more = operator.pseudo_inverse(missed, ridge * gain)
        image = torch.where(missed.square().sum(axes, keepdim=True) > allowed, image + more, image)
    return image


def _finer(name: str, method: Finer, summary: str, reference: str, when: str, beside: int = 1500) -> Entry:
    return Entry(
        name=name, method=method, summary=summary, reference=reference, when=when, cost=0, beside=beside,
        question="None: nothing is learnt.", tasks=frozenset({"superres"}), scopes=frozenset({"tile"}),
        copes_with=frozenset({"white", "row", "column", "isotropic", "unknown"}),
    )  # fmt: skip


ENTRIES = (
    _finer("bicubic", Bicubic(), "Cubic interpolation at the voxels of a finer grid.",
           "Keys, Cubic convolution interpolation for digital image processing, TASSP 1981",
           "The yardstick of super-resolution, and what stands where nothing better passes."),
    _finer("back_projection", BackProjection(), "Cubic interpolation, corrected until it explains the observation.",
           "Irani & Peleg, Improving resolution by image registration, CVGIP 1991",
           "The usual super-resolution while nothing is learnt: sharper, and true to the observation; what noise there "
           "is stays."),
)  # fmt: skip
