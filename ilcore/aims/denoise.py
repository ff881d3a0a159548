"""Take noise away; what is no data stays as it is."""

from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ilcore import fit
from ilcore.aims.aim import Aim, Findings, is_trusted
from ilcore.aims.choosing import Choice, choose
from ilcore.grammar.arrays import Streams, Tiles
from ilcore.grammar.layers import KEPT, MEASURED
from ilcore.grammar.problem import Problem
from ilcore.methods.catalogue import find


@final
@dataclass(frozen=True)
class Denoise(Aim):
    """The same scene with less noise."""

    name: ClassVar[str] = "denoise"
    tries_candidates: ClassVar[bool] = True

    def choose(self, findings: Findings) -> Choice:
        return choose(
            findings.preflight, has_weights=findings.has_weights, expected=findings.expected,
            refused=findings.refused, noise_share=findings.noise_share, prefer=findings.prefer, hours=findings.hours,
        )  # fmt: skip

    def classical(self, patch: Problem) -> Tiles:
        """Return non-local means, told the noise; calibrated on the tile where nobody knows it."""
        entry = find("nlm_j" if patch.noise is None else "nlm")
        streams = Streams.of(0, entry.name, [(row,) for row in range(len(patch.observed))])
        return fit.restore(entry.method, patch, streams).image

    def provenance(self, patch: Problem, image: Tensor) -> NDArray[np.uint8]:
        return np.where(is_trusted(patch), MEASURED, KEPT).astype(np.uint8)
