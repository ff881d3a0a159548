"""Make the image finer: the result explains the observation through an operator, and a prior decides the rest."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ilcore.aims.aim import Aim, Findings, OperatorOptions, Source, numbers
from ilcore.aims.choosing import Choice
from ilcore.aims.ratios import Factors, finer, whole
from ilcore.degradations.imaging import Imaging
from ilcore.degradations.kernels import Psf, kernel_of
from ilcore.grammar.arrays import Tiles, repeated
from ilcore.grammar.errors import BadInput
from ilcore.grammar.layers import KEPT, MEASURED, PRIOR
from ilcore.grammar.problem import Operator, Problem
from ilcore.methods.super_resolution import BackProjection, Bicubic
from ilcore.qa.explained import undecided
from ilcore.qa.verdict import FAINT, RUN_LIMITS, TILE_LIMITS, Limit

#: The point spread function of an image that was reduced with care.
USUAL_PSF = "bicubic"
_INF = math.inf
_CONSISTENT = "rms(A f - y) over the noise; more: the result does not explain what was observed"
_INVENTED = "share of the structure that the observation does not decide"
_CONSISTENCY = Limit((0, 1.3), (0, 1.6), _CONSISTENT, needs_noise=True)
_INVENTED_SHARE = Limit((0, 0.5), (-_INF, _INF), _INVENTED)


@final
@dataclass(frozen=True)
class Superres(Aim):
    """The same scene on a finer grid.

    Args:
        scale: By how much it is finer along z, y and x.
    """

    name: ClassVar[str] = "superres"
    # Where next to nothing is missed of the observation, that looks like nothing in particular.
    unasked: ClassVar[frozenset[str]] = frozenset(
        {"residual correlation", "residual tails", "faint contrast", "risk over noise"}
    )
    # What explains an observation ends at the noise; a guess that is too high would end it too early.
    tells_noise: ClassVar[bool] = False
    scale: Factors

    def factors(self, source: Source) -> Factors:
        for axis, factor, length in zip("zyx", self.scale, source.shape[2:], strict=True):
            if factor > 1 and length < 2:
                raise BadInput(
                    f"a finer {axis} needs two voxels along it at least, got {length}; leave its factor at 1"
                )
            finer(length, factor)
        return self.scale

    def operator(self, options: OperatorOptions, source: Source) -> Operator:
        factors = whole(self.factors(source))
        if options.space == 2 and factors[0] != 1:
            raise BadInput(f"planes that are restored one by one keep their z, got a factor of {factors[0]} for it")
        own = factors[-options.space :]
        psf = USUAL_PSF if options.psf is None else _seen_by(options.psf, options.space)
        found = Imaging(kernel_of(psf, own), own)
        found.domain(source.shape[-options.space :])
        return found

    def choose(self, findings: Findings) -> Choice:
        why = "cubic interpolation, corrected until it explains the observation: nothing is learnt"
        return Choice(method="back_projection", scope="tile", why=why)

    def raw(self, patch: Problem) -> Tiles:
        """Return the cubic through the observation."""
        return Bicubic().made_of(patch)

    def classical(self, patch: Problem) -> Tiles:
        """Return the cubic, corrected by back-projection."""
        return BackProjection().made_of(patch)

    def limits(self) -> Mapping[str, Limit]:
        """Return the limits with the residual judged on the observed grid, where none at all is right.

        A result that explains all of the observation leaves no residual: what noise there was is on the finer grid.
        """
        level = TILE_LIMITS["residual_level"]
        kept = {name: limit for name, limit in TILE_LIMITS.items() if name not in ("untouched", "residual_tails")}
        return {
            **kept,
            "residual_level": replace(level, passes=(0, level.passes[1]), warns=(0, level.warns[1])),
            "consistency": _CONSISTENCY,
            "invented_share": _INVENTED_SHARE,
        }

    def run_limits(self) -> Mapping[str, Limit]:
        """Return the limits on what the tiles of a run show together."""
        level = RUN_LIMITS["residual level"]
        return {
            "residual level": replace(level, passes=(0, level.passes[1])),
            "consistency": _CONSISTENCY,
            "invented share": _INVENTED_SHARE,
        }

    def invents(self, *, has_gaps: bool) -> bool:
        return True

    def provenance(self, patch: Problem, image: Tensor) -> NDArray[np.uint8]:
        """Return what was measured, and what the prior decided: where that part is more than noise would be."""
        free = undecided(patch, image).abs()
        noise = 0.0 if patch.noise is None else patch.noise_std(image)
        decided = numbers(free <= (noise + 0 * image).clamp_min(FAINT))
        shown = repeated(patch.weight, patch.field)
        return np.where(numbers(shown) > 0, np.where(decided, MEASURED, PRIOR), KEPT).astype(np.uint8)


def _seen_by(psf: Psf, space: int) -> Psf:
    """Return a kernel without a z of one voxel, which planes have not."""
    if space == 2 and not isinstance(psf, str | list | tuple) and np.ndim(psf) == 3 and np.shape(psf)[0] == 1:
        return np.asarray(psf)[0]
    return psf
