"""What a finer result says of itself before it has a voxel: as large as its source on the Earth or in the sample.

along one axis, factor 2          source  |   0   |   1   |   2   |      voxels of s, the first middle at o
                                  result  | 0 | 1 | 2 | 3 | 4 | 5 |      voxels of s/2, the first middle at o - s/4
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from ilcore.aims.ratios import finer
from ilcore.grammar.region import AXES, five
from ilcore.volumes.georeference import coarsened
from ilcore.volumes.ground_control import cut_points
from ilcore.volumes.scan_metadata import ScanMetadata
from ilcore.volumes.validity import Mask, MaskAround
from ilcore.volumes.volume import Volume


def result_face(volume: Volume, factors: Sequence[Fraction | int]) -> Volume:
    """Return the volume that a result is, its voxels aside: finer by factors along z, y and x, of the same extent.

    Reading it is an error; only the writer of the result has what is in it. Its mask is that of the source.

    Raises:
        BadInput: A length times its factor is no whole number.
    """
    z, y, x = (Fraction(factor) for factor in factors)
    each = (Fraction(1), Fraction(1), z, y, x)
    if set(each) == {1}:
        return volume
    sizes = zip(volume.scale, each, strict=True)
    scale = [size / float(factor) if factor != 1 else size for size, factor in sizes]
    origin = [
        first + size * (1 / float(factor) - 1) / 2 if factor != 1 else first
        for first, size, factor in zip(volume.origin, volume.scale, each, strict=True)
    ]
    own = tuple(each[AXES.index(axis)] for axis in volume.axes)
    shape = five([finer(length, factor) for length, factor in zip(volume.shape, each, strict=True)])
    return replace(
        volume,
        shape=shape,
        scale=(scale[0], scale[1], scale[2], scale[3], scale[4]),
        origin=(origin[0], origin[1], origin[2], origin[3], origin[4]),
        chunks=five([min(pair) for pair in zip(volume.chunks, shape, strict=True)]),
        about=_placed(volume.about, y, x),
        level=0,
        levels=1,
        source=NoVoxels(volume.name),
        mask=None if volume.mask is None else FinerMask(volume.mask, own),
    )


@final
@dataclass(frozen=True)
class NoVoxels:
    """The voxels of a result that is not made yet."""

    name: str

    def read(self, index: tuple[slice, ...]) -> NDArray[Any]:
        """Refuse.

        Raises:
            TypeError: Always.
        """
        raise TypeError(f"a finer result of {self.name} has no voxels yet; read them where it was written")


@final
@dataclass(frozen=True)
class FinerMask(MaskAround):
    """The mask of a source on the grid of its finer result: a cell is data where its voxel is.

    Args:
        mask: That of the source.
        factors: Of each axis, in the order of the source.
    """

    mask: Mask
    factors: tuple[Fraction, ...]

    def read(self, index: tuple[slice, ...]) -> NDArray[np.bool_]:
        places = [
            np.arange(part.start, part.stop) * factor.denominator // factor.numerator
            for part, factor in zip(index, self.factors, strict=True)
        ]
        coarse = tuple(slice(int(at[0]), int(at[-1]) + 1) for at in places)
        found = self.mask.read(coarse)
        return np.asarray(found[np.ix_(*(at - at[0] for at in places))], np.bool_)


def _placed(about: ScanMetadata, y: Fraction, x: Fraction) -> ScanMetadata:
    """Return the place on the Earth from the same corner on, in voxels of the result."""
    rows, columns = 1 / float(y), 1 / float(x)
    return replace(
        about,
        affine=None if about.affine is None else coarsened(about.affine, rows, columns),
        attributes=cut_points(about.attributes, 0.0, 0.0, rows, columns),
    )
