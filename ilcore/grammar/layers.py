"""Layers: what a result says of each voxel beside the image, on the grid of the image.

    spread       how far the images lay apart that were averaged
    provenance   where the voxel comes from: observed, decided by a prior, filled

A layer is made where the image is, tile by tile, and goes the same way: scratch, blending, blocks, levels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, TypeAlias

#: What can be written beside the image.
LayerName: TypeAlias = Literal["spread", "provenance"]

#: Under which of our own attributes a result says where its layers lie.
LAYERS_BESIDE = "layers"
#: Where a voxel of a result comes from, the most trusted first.
KEPT, MEASURED, PRIOR, FILLED, SYNTHETIC = range(5)


@dataclass(frozen=True)
class Label:
    """A value of a layer that means something.

    Args:
        value: The value.
        word: Its name.
        colour: Red, green, blue as hexadecimal digits.
        meaning: For people.
    """

    value: int
    word: str
    colour: str
    meaning: str

    @property
    def rgba(self) -> tuple[int, int, int, int]:
        """Return the colour for viewers; nothing is drawn over voxels where nothing was made."""
        red, green, blue = bytes.fromhex(self.colour.removeprefix("#"))
        return red, green, blue, 0 if self.value == KEPT else 255


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A layer of a result.

    Args:
        name: As plans and folders call it.
        dtype: Type of a voxel.
        blending: What overlapping tiles make together: their weighted mean, unknown where one of them does not know
            it, or what the tile with the greatest weight says.
        coarsening: What a voxel of a coarser level holds: the root mean square of its cell, or the least trusted of it.
        fill: What stands where nothing is known.
        title: For people.
        meaning: One sentence of what it tells.
        labels: What its values mean, the most trusted first; none where they are numbers in the units of the image.
    """

    name: LayerName
    dtype: Literal["float32", "uint8"]
    blending: Literal["weighted mean", "heaviest"]
    coarsening: Literal["root mean square", "least trusted"]
    fill: float
    title: str
    meaning: str
    labels: tuple[Label, ...] = ()

    @property
    def folder(self) -> str:
        """Return where it lies under the result: labels have a place of their own in OME-Zarr."""
        return f"labels/{self.name}" if self.labels else self.name


_SPREAD = Layer(
    name="spread",
    dtype="float32",
    blending="weighted mean",
    coarsening="root mean square",
    fill=float("nan"),
    title="Spread",
    meaning="Standard deviation of the images that were averaged, in the units of the image: where it is large, they "
    "did not agree.",
)
_PROVENANCE = Layer(
    name="provenance",
    dtype="uint8",
    blending="heaviest",
    coarsening="least trusted",
    fill=KEPT,
    title="Provenance",
    meaning="Where each voxel comes from: what was not measured was made up, however well it fits in.",
    labels=(
        Label(KEPT, "kept", "#dfe4ea", "no data in the source, left as it was"),
        Label(MEASURED, "measured", "#6dbf8b", "rests on what was observed there"),
        Label(PRIOR, "prior", "#3f7fc4", "finer than what was observed: decided by the prior"),
        Label(FILLED, "filled", "#f0a83c", "not observed: filled in from what lies around it"),
        Label(SYNTHETIC, "synthetic", "#d7191c", "generated: no observation stands behind it"),
    ),
)
#: The layers there are.
LAYERS: Mapping[str, Layer] = MappingProxyType({each.name: each for each in (_SPREAD, _PROVENANCE)})
#: Words of the labels of provenance, in the order of their values.
PROVENANCE = tuple(label.word for label in _PROVENANCE.labels)


def layers_of(names: Sequence[str]) -> tuple[Layer, ...]:
    """Return the layers of these names."""
    return tuple(LAYERS[name] for name in names)
