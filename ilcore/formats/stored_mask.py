"""A mask that lies beside an image as an array of its own."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ilcore.volumes.validity import Mask

#: The group beside the levels that holds a mask for each.
MASK = "mask"
#: What stands in it.
HIDDEN, SHOWN = 0, 1


@dataclass(frozen=True)
class StoredMask(Mask):
    """A mask that lies beside an image as an array of its own."""

    source: Any

    def read(self, index: tuple[slice, ...]) -> NDArray[np.bool_]:
        return np.asarray(self.source.read(index) != HIDDEN)
