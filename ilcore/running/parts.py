"""The arrays of a result at full size: its image, and each layer beside it.

All have the same size and the same write units. The ledger counts them together: unit n of part p of P is number
n * P + p, so that what is made of the same tiles is written one after the other.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from ilcore.grammar.layers import Layer
from ilcore.grammar.region import Five
from ilcore.planning.plan import RestorationPlan
from ilcore.results.layers import create_layer
from ilcore.results.ome_zarr import create_finest
from ilcore.results.write import WriteTarget, open_target
from ilcore.stores.store import Place

#: Path of the image at full size.
IMAGE = "0"


@dataclass(frozen=True)
class Part:
    """The image of a result, or a layer of it.

    Args:
        at: Its place in the order of the plan: 0 is the image.
        count: How many parts there are.
        layer: None for the image.
    """

    at: int
    count: int
    layer: Layer | None = None

    @property
    def path(self) -> str:
        """Return where it lies under the result."""
        return IMAGE if self.layer is None else f"{self.layer.folder}/{IMAGE}"

    def dtype(self, plan: RestorationPlan) -> str:
        """Return the type of a voxel."""
        return plan.source.dtype if self.layer is None else self.layer.dtype

    def target(self, root: Place) -> WriteTarget:
        """Open it under a result."""
        return open_target(f"{root}/{self.path}")

    def number(self, unit: int) -> int:
        """Return the number of a write unit in the ledger."""
        return unit * self.count + self.at

    def numbers(self, units: Iterable[int]) -> list[int]:
        """Return the numbers of write units in the ledger."""
        return [self.number(unit) for unit in units]

    def of_all(self, column: NDArray[Any]) -> NDArray[Any]:
        """Return what a column of the ledger, one entry for each write unit of all parts, says of this one."""
        return column[self.at :: self.count]


def parts_of(plan: RestorationPlan) -> tuple[Part, ...]:
    """Return the parts of a result, its image first."""
    layers: Sequence[Layer | None] = (None, *plan.layers_beside)
    return tuple(Part(at, len(layers), layer) for at, layer in enumerate(layers))


def found_at(parts: Sequence[Part], number: int) -> tuple[Part, int]:
    """Return the part and the write unit of it that a number of the ledger stands for."""
    unit, at = divmod(int(number), len(parts))
    return parts[at], unit


def units_in(parts: Sequence[Part], numbers: Iterable[int]) -> list[int]:
    """Return the write units that numbers of the ledger stand for, whatever part they are of."""
    return sorted({found_at(parts, number)[1] for number in numbers})


def result_array(plan: RestorationPlan, path: str, shape: Five, layer: Layer | None = None) -> WriteTarget:
    """Make an empty array for a level of the image of a result, or of a layer of it."""
    if layer is not None:
        return create_layer(path, layer, shape=shape, axes=plan.source.axes, result_format=plan.result_format)
    return create_finest(
        path, shape=shape, dtype=plan.source.dtype, axes=plan.source.axes, missing=plan.source.missing,
        result_format=plan.result_format, overwrite=True,
    )  # fmt: skip
