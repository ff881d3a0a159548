"""The mask of a result: which voxels of each of its levels are data, where values alone do not say."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ilcore.formats.stored_mask import HIDDEN, MASK, SHOWN
from ilcore.grammar.region import Five, Region, clip, five, region_of
from ilcore.results.write import WriteTarget, create_array, open_target
from ilcore.volumes.level import Level
from ilcore.volumes.volume import Volume


@dataclass(frozen=True)
class ShrunkMask:
    """Where a level of an image shows voxels: wherever the finest level shows one of those it was averaged of."""

    volume: Volume
    factors: Five

    def read(self, region: Region) -> NDArray[np.bool_]:
        """Return one region of the level, [t, c, z, y, x]."""
        return any_of_cells(
            self.volume.shown(clip(finer_region(region, self.factors), self.volume.shape)), self.factors
        )


@dataclass(frozen=True)
class MaskLevel:
    """The mask of one level, made of the source alone; the same face as a coarser level.

    Args:
        root: The group.
        level: The mask of the level.
        mask: What it holds.
        finest: The finest level of the image, whose format it follows.
    """

    root: str
    level: Level
    mask: ShrunkMask
    finest: str

    @property
    def below(self) -> str:
        """Return nothing: it is made of no other level."""
        return ""

    @property
    def target(self) -> WriteTarget:
        """Return the array."""
        return open_target(f"{self.root}/{self.level.path}")

    def create(self) -> int:
        """Make the array anew, and return how many write units it has."""
        zarr_format = open_target(self.finest).zarr_format
        made = create_array(
            f"{self.root}/{self.level.path}", shape=self.level.shape, dtype="uint8", axes=self.mask.volume.axes,
            overwrite=True, zarr_format=2 if zarr_format == 2 else 3,
        )  # fmt: skip
        return made.count

    def wanted(self, number: int) -> NDArray[Any]:
        """Return what a write unit must hold."""
        return np.where(self.mask.read(self.target.block(number)), SHOWN, HIDDEN).astype(np.uint8)

    def write(self, number: int) -> None:
        """Write one write unit."""
        target = self.target
        target.write(target.block(number), self.wanted(number))

    def above(self, finer: Iterable[int]) -> Iterator[int]:
        """Yield nothing: no mask is made of voxels."""
        del finer
        return iter(())


def with_holes_told(volume: Volume) -> Volume:
    """Return a volume without a mask that hides nothing, and with what its mask tells."""
    if volume.mask is None or not volume.mask.has_holes:
        return replace(volume, mask=None)
    told = volume.mask.remark
    return replace(volume, remarks=(*volume.remarks, told)) if told else volume


def shrunk_mask(volume: Volume, factors: Five) -> ShrunkMask | None:
    """Return the mask of a level that is coarser by some factors; None where the volume has none."""
    return None if volume.mask is None else ShrunkMask(volume, factors)


def mask_level(root: str, volume: Volume, level: Level, first: str) -> MaskLevel:
    """Return the mask of a level of an image."""
    place = root.rstrip("/")
    held = Level(f"{MASK}/{level.path}", level.shape, level.factors)
    return MaskLevel(place, held, ShrunkMask(volume, level.factors), f"{place}/{first}")


def finer_region(region: Region, step: Five) -> Region:
    """Return the region of finer voxels that a region is made of."""
    return region_of([(start * by, stop * by) for (start, stop), by in zip(region, step, strict=True)])


def shrunk(shape: Five, step: Five) -> Five:
    """Return the size after averaging; what is left over at the edge makes a voxel too."""
    return five([-(-length // by) for length, by in zip(shape, step, strict=True)])


def any_of_cells(shown: NDArray[np.bool_], step: Five) -> NDArray[np.bool_]:
    """Return whether any voxel of a cell is shown."""
    found = shown
    for axis, by in enumerate(step):
        if by > 1:
            found = np.logical_or.reduceat(found, range(0, found.shape[axis], by), axis=axis)
    return found
