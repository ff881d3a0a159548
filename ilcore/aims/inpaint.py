"""Fill what is no data from what lies around it, and take noise away elsewhere."""

from dataclasses import dataclass
from typing import Any, ClassVar, final

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.restoration import inpaint_biharmonic
from torch import Tensor

from ilcore.aims.aim import Aim, Findings, is_trusted, numbers
from ilcore.aims.choosing import VOTE, Choice
from ilcore.grammar.arrays import Tiles
from ilcore.grammar.layers import FILLED, MEASURED
from ilcore.grammar.problem import Problem


@final
@dataclass(frozen=True)
class Inpaint(Aim):
    """The same scene without holes."""

    name: ClassVar[str] = "inpaint"

    def choose(self, findings: Findings) -> Choice:
        why = "missing values are filled from what the tile itself contains"
        return Choice(method="dip", scope="tile", overrides=dict(VOTE), why=why)

    def classical(self, patch: Problem) -> Tiles:
        """Return the smoothest surface across the holes; what is data stays as it is.

        Reference:
            Damelin & Hoang, "On surface completion and image inpainting by biharmonic functions", 2018.
        """
        pairs = zip(numbers(patch.observed), is_trusted(patch), strict=True)
        tiles = np.stack([np.stack(list(map(_filled, *pair))) for pair in pairs])
        return torch.from_numpy(tiles).to(patch.observed)

    def invents(self, *, has_gaps: bool) -> bool:
        return has_gaps

    def provenance(self, patch: Problem, image: Tensor) -> NDArray[np.uint8]:
        return np.where(is_trusted(patch), MEASURED, FILLED).astype(np.uint8)


def _filled(image: NDArray[Any], trusted: NDArray[np.bool_]) -> NDArray[Any]:
    if trusted.all() or not trusted.any():
        return image
    smooth = inpaint_biharmonic(np.where(trusted, image, 0.0).astype(np.float64), ~trusted)
    return np.where(trusted, image, smooth)
