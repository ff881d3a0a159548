"""The source on the grid of its result: what is shown where nothing better is, and what a result is compared with.

Everywhere else a run keeps to one of the two grids: tiles are read on the source's and written on the result's, and
tile by tile the boxes of one are those of the other, scaled. Where both are one, all of this is the source itself.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ilcore.grammar.region import Region, clip, region_of
from ilcore.methods.super_resolution import cubic
from ilcore.planning.plan import Three
from ilcore.running.patches import repeated
from ilcore.running.run import Run
from ilcore.volumes.volume import Volume

#: Voxels of the source that a cubic looks at beyond its own.
_REACH = 2


@dataclass(frozen=True)
class OnResult:
    """A source, read by regions of its result."""

    volume: Volume
    factors: Three

    @classmethod
    def of(cls, run: Run) -> "OnResult":
        """Return the source of a run."""
        return cls(run.source, run.plan.factors)

    def stored(self, region: Region) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Return the stored values over each voxel of the result, and where they are data, [t, c, z, y, x]."""
        own = self._own(region)
        block = self.volume.read(own)
        valid = self.volume.valid(own, block)
        return self._cut(block, own, region), self._cut(valid, own, region)

    def cubic(self, region: Region) -> NDArray[np.float64]:
        """Return the cubic through the data, [t, c, z, y, x]; NaN near what is no data."""
        wide = self._own(region, _REACH)
        found = torch.from_numpy(self.volume.known(wide).astype(np.float64))
        frames = [cubic(frame[None], self.factors, (0, 0, 0))[0].numpy() for frame in found]
        start = [(at * factor) for (at, _), factor in zip(wide, (1, 1, *self.factors), strict=True)]
        inner = tuple(slice(a - at, b - at) for (a, b), at in zip(region, start, strict=True))
        return np.stack(frames)[inner]

    def _own(self, region: Region, beyond: int = 0) -> Region:
        """Return the region of the source that covers one of the result."""
        spans = [
            (start // factor - beyond * (factor > 1), -(-stop // factor) + beyond * (factor > 1))
            for (start, stop), factor in zip(region, (1, 1, *self.factors), strict=True)
        ]
        return clip(region_of(spans), self.volume.shape)

    def _cut(self, values: NDArray[Any], own: Region, region: Region) -> NDArray[Any]:
        factors = (1, 1, *self.factors)
        inner = tuple(
            slice(a - at * factor, b - at * factor)
            for (a, b), (at, _), factor in zip(region, own, factors, strict=True)
        )
        return repeated(values, self.factors)[inner]
