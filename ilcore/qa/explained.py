"""What a restoration and its observation say of each other through the operator between them, without the truth.

    consistency      rms(A f - y) / noise                    1: what is missed is noise; 0: all is explained, noise too
    invented_share   |f - A+ A f|^2 / |f - mean|^2           the part of the structure that no observation decides

Only observed voxels that depend on the result alone are asked: at the border of a finer image a kernel sees beyond it.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ilcore.degradations.operators import Identity
from ilcore.grammar.arrays import mirrored
from ilcore.grammar.errors import BadInput
from ilcore.grammar.problem import Operator, Problem
from ilcore.qa.verdict import FAINT

#: Of A+, in units of what A A' makes of a constant: what passes by less counts as not observed.
_RIDGE = 1e-4


def explained(problem: Problem, image: Tensor) -> dict[str, tuple[float, ...]]:
    """Return both numbers, one for each tile.

    Args:
        problem: What was observed, and how.
        image: The result, [tile, channel, *field].
    """
    return {"consistency": consistency(problem, image), "invented_share": invented_share(problem, image)}


def consistency(problem: Problem, image: Tensor) -> tuple[float, ...]:
    """Return for each tile the deviation of A f from the observation over that of the noise.

    Noise that nobody sees counts as just seen. NaN where the noise is not known, or a tile is all border.

    Shape:
        image [tile, channel, *field].

    Reference:
        The discrepancy principle: Morozov, "On the solution of functional equations by the method of regularization",
        Soviet Math. Dokl. 1966.
    """
    found = _Seen.of(problem, image)
    if found is None or problem.noise is None:
        return (math.nan,) * len(image)
    missed = found.mean((found.observed - found.again).square())
    models = [model.variance(found.observed[:, n]).clamp_min(0) for n, model in enumerate(problem.noise)]
    variance = found.mean(torch.stack(models, 1)).clamp_min(FAINT**2)
    return tuple((missed / variance).sqrt().tolist())


def invented_share(problem: Problem, image: Tensor) -> tuple[float, ...]:
    """Return for each tile the part of its structure that the observation does not decide, 0 to 1.

    The mean of each channel is no structure: the operator keeps it as it is. NaN where a tile is all border.

    Shape:
        image [tile, channel, *field].
    """
    found = _Seen.of(problem, image)
    if found is None:
        return (math.nan,) * len(image)
    axes = tuple(range(2, image.ndim))
    structure = found.image - found.image.mean(axes, keepdim=True)
    free = (structure - _decided(found.operator, structure)).square().flatten(1).sum(1)
    energy = structure.square().flatten(1).sum(1)
    return tuple(torch.where(energy > 0, free / energy.clamp_min(1e-300), 0).clamp(max=1).tolist())


def undecided(problem: Problem, image: Tensor) -> Tensor:
    """Return the part of an image that no observation decides, voxel by voxel; its border is taken as mirrored.

    Shape:
        image [tile, channel, *field] -> the same, 64 bits.
    """
    centred = image.double() - image.double().mean(tuple(range(2, image.ndim)), keepdim=True)
    centred = _with_margin(problem, centred)
    return problem.inside(centred - _decided(_operator(problem), centred))


def seen_again(problem: Problem, image: Tensor) -> Tensor:
    """Return A f on the whole observed grid; beyond its border the image is taken as mirrored.

    Shape:
        image [tile, channel, *field] -> [tile, channel, *space].
    """
    return _operator(problem).forward(_with_margin(problem, image)).to(image.dtype)


def _with_margin(problem: Problem, image: Tensor) -> Tensor:
    for axis, (wide, field) in enumerate(zip(problem.domain, problem.field, strict=True), 2):
        margin = (wide - field) // 2
        image = image.index_select(axis, mirrored(torch.arange(-margin, field + margin), field).to(image.device))
    return image


def missed(problem: Problem, image: Tensor) -> Tensor | None:
    """Return the residual y - A f on the observed grid less its rim; 0 where nothing is trusted.

    Shape:
        image [tile, channel, *field] -> [tile, channel, *space less the rim]; None where a tile is all border.
    """
    found = _Seen.of(problem, image)
    return None if found is None else (found.observed - found.again) * found.weight


@dataclass(frozen=True)
class _Seen:
    """An image and its observation where the observation depends on the image alone, 64 bits.

    Shape:
        image [tile, channel, *domain]; again (what the operator makes of it), observed, weight [tile, channel, *space].
    """

    image: Tensor
    again: Tensor
    observed: Tensor
    weight: Tensor
    operator: Operator

    @classmethod
    def of(cls, problem: Problem, image: Tensor) -> "_Seen | None":
        operator, part = _operator(problem), image.double()
        rims = operator.rim(len(problem.space))
        inner = [side - 2 * rim for side, rim in zip(problem.space, rims, strict=True)]
        try:
            domain = operator.domain(inner)
        except BadInput:
            return None
        for axis, length in enumerate(domain, 2):
            part = part.narrow(axis, (part.shape[axis] - length) // 2, length)
        cut: Any = (..., *(slice(rim, rim + side) for rim, side in zip(rims, inner, strict=True)))
        observed, weight = problem.observed.double()[cut], problem.weight.double()[cut]
        return cls(part, operator.forward(part), observed, weight, operator)

    def mean(self, values: Tensor) -> Tensor:
        """Return the mean over what is trusted, for each tile."""
        return (values * self.weight).flatten(1).sum(1) / self.weight.flatten(1).sum(1).clamp_min(1)


def _operator(problem: Problem) -> Operator:
    return problem.operator or Identity()


def _decided(operator: Operator, image: Tensor) -> Tensor:
    """Return A+ A of an image of a domain: what of it was observed."""
    seen = operator.forward(image)
    cells = seen[0, 0].numel() / image[0, 0].numel()
    return operator.pseudo_inverse(seen, _RIDGE * cells if cells < 1 else 0.0)
