"""Coarser levels of a result, each the mean of the one below, block by block."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ilcore.grammar.layers import Layer
from ilcore.grammar.region import Five, clip, five
from ilcore.results.masks import MaskLevel, ShrunkMask, finer_region, mask_level, shrunk, shrunk_mask
from ilcore.results.write import WriteTarget, create_array, open_target
from ilcore.volumes.level import Level
from ilcore.volumes.validity import Validity
from ilcore.volumes.volume import Floats, Volume

#: The coarsest level is at most this wide.
COARSEST = 256
#: Axes shorter than this are left as they are.
SHORTEST_PLANE, SHORTEST_STACK = 64, 32
#: Planes are averaged only once they are no further apart than this, in pixels of the plane.
ISOTROPIC = 1.5
#: All values are data.
ANY = Validity()


@dataclass(frozen=True, kw_only=True)
class PyramidLevel:
    """One coarser level of an image, made of the one below it.

    Args:
        root: The group.
        below: Path of the finer level.
        level: The level itself.
        step: How many voxels of the finer level become one, t c z y x.
        validity: Which values are data.
        mask: Where the finer level shows voxels; None where values alone decide.
        is_averaged: Whether cells are averaged, or stand for their first voxel as numbers of objects do.
        layer: What the level is a layer of, where it is no image.
    """

    root: str
    below: str
    level: Level
    step: Five
    validity: Validity
    mask: "ShrunkMask | None" = None
    is_averaged: bool = True
    layer: Layer | None = None

    @property
    def finer(self) -> WriteTarget:
        """The level below."""
        return open_target(f"{self.root}/{self.below}")

    @property
    def target(self) -> WriteTarget:
        """The level."""
        return open_target(f"{self.root}/{self.level.path}")

    def create(self) -> int:
        """Make the array of the level anew, and return how many write units it has."""
        below, path = self.finer, f"{self.root}/{self.level.path}"
        made = create_array(
            path, shape=self.level.shape, dtype=below.dtype, axes=below.axes, fill=below.fill, overwrite=True,
            zarr_format=2 if below.zarr_format == 2 else 3,
        )  # fmt: skip
        return made.count

    def wanted(self, number: int) -> NDArray[Any]:
        """Return what a write unit must hold."""
        below = self.finer
        part = clip(finer_region(self.target.block(number), self.step), below.shape)
        block = below.read(part)
        if self.layer is not None:
            return of_cells(block, self.step, self.layer)
        if not self.is_averaged:
            return block[tuple(slice(None, None, by) for by in self.step)]
        return mean_of_cells(block, self.step, self.validity, None if self.mask is None else self.mask.read(part))

    def write(self, number: int) -> None:
        """Write one write unit."""
        target = self.target
        target.write(target.block(number), self.wanted(number))

    def above(self, finer: Iterable[int]) -> Iterator[int]:
        """Yield the write units of this level that are made of some of the level below."""
        for number in finer:
            spans = zip(self.finer.block(number), self.step, strict=True)
            t, c, z, y, x = ((start // by, -(-stop // by)) for (start, stop), by in spans)
            yield from self.target.blocks_of((t, c, z, y, x))


def pyramid_levels(
    root: str, volume: Volume, first: str = "0", layer: Layer | None = None
) -> tuple[PyramidLevel, ...]:  # fmt: skip
    """Return the coarser levels of an image, the finest first.

    Args:
        root: The group; its array `first` is the finest level.
        volume: The source, for its size, the size of its voxels and the value that means "no data".
        first: Path of the finest level; the others are called "1", "2" ... beside it.
        layer: What they are a layer of, where they are no image.
    """
    found: list[PyramidLevel] = []
    folder = first.rpartition("/")[0]
    below = Level(first, volume.shape)
    for number, factors in enumerate(level_factors(volume.shape, volume.scale), start=1):
        step = five([factor // before for factor, before in zip(factors, below.factors, strict=True)])
        level = Level(f"{folder}/{number}" if folder else str(number), shrunk(below.shape, step), factors)
        found.append(
            PyramidLevel(
                root=root.rstrip("/"),
                below=below.path,
                level=level,
                step=step,
                validity=volume.validity,
                mask=shrunk_mask(volume, below.factors),
                is_averaged=volume.kind == "image",
                layer=layer,
            )
        )
        below = level
    return tuple(found)


def mask_levels(root: str, volume: Volume, first: str = "0") -> tuple[MaskLevel, ...]:
    """Return the mask of every level of an image as levels of their own; none where the volume has no mask."""
    if volume.mask is None:
        return ()
    levels = (Level(first, volume.shape), *(rung.level for rung in pyramid_levels(root, volume, first)))
    return tuple(mask_level(root, volume, level, first) for level in levels)


def write_pyramid(root: str, volume: Volume, first: str = "0") -> tuple[Level, ...]:
    """Write the coarser levels of an image whose finest level is complete.

    Args:
        root: The group; its array `first` is the finest level.
        volume: The source, for the size of its voxels and the value that means "no data".
        first: Path of the finest level; the others are called "1", "2" ...

    Returns:
        All levels, finest first.
    """
    steps = pyramid_levels(root, volume, first)
    write_levels(steps)
    write_levels(mask_levels(root, volume, first))
    return (Level(first, volume.shape), *(rung.level for rung in steps))


def write_levels(steps: "Iterable[PyramidLevel | MaskLevel]") -> None:
    """Write levels, each once the one below it is complete."""
    for rung in steps:
        for number in range(rung.create()):
            rung.write(number)


def level_factors(shape: Five, scale: Floats) -> Iterator[Five]:
    """Yield how much coarser each further level is than the finest, until the plane is at most `COARSEST` wide.

    Planes are averaged as soon as they are about as near to each other as pixels are.
    """
    factors: Five = (1, 1, 1, 1, 1)
    while True:
        now = shrunk(shape, factors)
        near = factors[2] * scale[2] <= ISOTROPIC * max(factors[3] * scale[3], factors[4] * scale[4])
        if max(now[3:]) <= COARSEST and not (near and now[2] > COARSEST):
            return
        step = [1, 1, *(2 if length > SHORTEST_PLANE else 1 for length in now[2:])]
        step[2] = 2 if near and now[2] >= SHORTEST_STACK else 1
        factors = five([factor * more for factor, more in zip(factors, step, strict=True)])
        yield factors


def mean_of_cells(
    block: NDArray[Any], step: Five, validity: Validity = ANY, shown: NDArray[np.bool_] | None = None
) -> NDArray[Any]:
    """Average cells of voxels, leaving out what is no data; whole numbers are rounded to the nearest.

    A cell without data is "no data" too; a mean of data never is: it moves to the nearest value that means none.

    Args:
        block: The finer voxels.
        step: How many become one, t c z y x.
        validity: Which values are data.
        shown: Where a mask shows the finer voxels.

    Shape:
        [t, c, z, y, x] -> each length divided by its step, rounded up.
    """
    shape = shrunk(five(block.shape), step)
    total, count = np.zeros(shape), np.zeros(shape, dtype=np.int32)
    valid = validity.holds(block) if shown is None else validity.holds(block) & shown
    # One voxel of every cell at a time: only arrays of the coarse size are made in float64.
    for offset in product(*map(range, step)):
        at = tuple(slice(start, None, by) for start, by in zip(offset, step, strict=True))
        place = tuple(slice(0, length) for length in block[at].shape)
        total[place] += np.where(valid[at], block[at], 0)
        count[place] += valid[at]
    mean = total / np.maximum(count, 1)
    means = validity.kept_valid(_to_type(mean, block.dtype), mean)
    return np.where(count > 0, means, _empty(block, step, validity))


def of_cells(block: NDArray[Any], step: Five, layer: Layer) -> NDArray[Any]:
    """Return what a layer says of cells of voxels.

    Shape:
        [t, c, z, y, x] -> each length divided by its step, rounded up.
    """
    if layer.coarsening == "root mean square":
        return np.sqrt(mean_of_cells(block.astype(np.float64) ** 2, step)).astype(block.dtype)
    found = block
    for axis, by in enumerate(step):
        if by > 1:
            found = np.maximum.reduceat(found, range(0, found.shape[axis], by), axis=axis)
    return found


def _empty(block: NDArray[Any], step: Five, validity: Validity) -> Any:
    """Return what stands where nothing was data: the mark, NaN, or what stood there, hidden or out of range."""
    if validity.marks or block.dtype.kind == "f":
        return block.dtype.type(next(iter(validity.marks), np.nan))
    return block[tuple(slice(None, None, by) for by in step)]


def _to_type(mean: NDArray[np.float64], dtype: np.dtype[Any]) -> NDArray[Any]:
    if dtype.kind == "f":
        return mean.astype(dtype)
    info = np.iinfo(dtype)
    # The mean of large 64-bit numbers may round to 2**63, which the type does not hold.
    high = info.max if dtype.itemsize < 8 else np.nextafter(float(info.max), 0)
    return np.clip(np.rint(mean), info.min, high).astype(dtype)
