"""Masks that lie beside the voxels of a source: a band of opacity, a plane for all bands, pages never written."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ilcore.volumes.validity import Mask
from ilcore.volumes.volume import Reopened, Source


@dataclass(frozen=True)
class OpacityMask(Mask):
    """Where the opacity of a pixel is not 0; of the band of opacity itself nothing is data.

    Args:
        source: The image.
        axis: Place of the axis of bands.
        band: The band of opacity.
    """

    source: Source
    axis: int
    band: int

    def read(self, index: tuple[slice, ...]) -> NDArray[np.bool_]:
        asked = index[self.axis]
        alone = (*index[: self.axis], slice(self.band, self.band + 1), *index[self.axis + 1 :])
        seen = np.asarray(self.source.read(alone) != 0)
        is_band = np.arange(asked.start, asked.stop) == self.band
        along = is_band.reshape([-1 if at == self.axis else 1 for at in range(len(index))])
        return np.asarray(seen & ~along)


@dataclass(frozen=True)
class PlaneMask(Mask):
    """Where a picture of its own, which has fewer axes than the image, is not 0.

    Args:
        source: The picture.
        own: Its axes.
        axes: Those of the image.
        bands: How many bands the picture has.
    """

    source: Source
    own: str
    axes: str
    bands: int = 1

    def read(self, index: tuple[slice, ...]) -> NDArray[np.bool_]:
        asked = dict(zip(self.axes, index, strict=True))
        if self.bands == 1:
            asked["c"] = slice(0, 1)
        block = np.asarray(self.source.read(tuple(asked[axis] for axis in self.own)) != 0)
        order = [axis for axis in self.axes if axis in self.own]
        block = block.transpose([self.own.index(axis) for axis in order])
        block = block.reshape([block.shape[order.index(axis)] if axis in order else 1 for axis in self.axes])
        return np.broadcast_to(block, [part.stop - part.start for part in index])


@dataclass(frozen=True)
class WrittenMask(Reopened, Mask):
    """Where voxels were written at all: those that differ when another value is filled in never were.

    Args:
        source: The image, filled with one value where nothing was written.
        other: The same, filled with another.
        pages: How many pages belong to the image.
    """

    source: Any
    other: Any
    pages: int

    @cached_property
    def absent(self) -> tuple[int, int]:
        """Return how many pieces were never written, and how many there should be."""
        found: tuple[int, int] = self.source.absent_pieces(self.pages)
        return found

    @property
    def has_holes(self) -> bool:
        """Tell whether a piece was never written."""
        return self.absent[0] > 0

    @property
    def remark(self) -> str | None:
        """Tell how much is not there."""
        absent, count = self.absent
        return f"{absent} of {count} pieces were never written: their voxels count as no data" if absent else None

    def read(self, index: tuple[slice, ...]) -> NDArray[np.bool_]:
        one, other = self.source.read(index), self.other.read(index)
        # NaN that was written is no data, but it is there.
        return np.asarray((one == other) | ((one != one) & (other != other)))
