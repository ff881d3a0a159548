"""What parts can do for one another, declared by name: a recipe holds together where every wish is met."""

from collections.abc import Iterator, Set
from enum import Enum
from typing import Literal

#: The part of a recipe that offers a capability.
Slot = Literal["views", "network", "loss"]


class Capability(Enum):
    """Something that the part of one slot offers and parts of other slots may require."""

    SHOWS_OBSERVATION = (
        "views",
        "show the observation itself, so that weights learnt elsewhere can be applied unseen",
        "take views of the observation, such as Whole or HiddenPixels, not a code",
    )
    SHOWS_IMAGE = (
        "views",
        "show an image and nothing beside it, in the channels of the observation",
        "take views that add neither masks nor planes, such as HiddenPixels",
    )
    SHOWS_MASK = (
        "views",
        "show values and beside them which of them are known",
        "take DroppedPixels",
    )
    SHOWS_CODE = (
        "views",
        "show a code that has nothing to do with the image",
        "take NoiseCode",
    )
    WHOLE_IMAGES = (
        "views",
        "draw inputs whose outputs are images of whole tiles, one for each row",
        "take views of whole tiles, such as Whole, HiddenPixels or NoiseCode",
    )
    BOTH_HALVES = (
        "views",
        "draw two halves of every tile and ask for each by the other",
        "take DiagonalHalves or SortedHalves",
    )
    PICKED_NEIGHBOURS = (
        "views",
        "ask for the pixel beside every one they show",
        "take NeighbourHalves",
    )
    READS_IMAGE = (
        "network",
        "reads an input of any size and returns as many voxels",
        "take a network such as UNet, Plain or SkipNet",
    )
    READS_OTHER_CHANNELS = (
        "network",
        "reads inputs of other channels than those of the image",
        "set residual=False and grey=False, or take SkipNet",
    )
    READS_MASK = (
        "network",
        "reads values with the mask of what is known",
        "take MaskedUNet",
    )
    READS_PLANES = (
        "network",
        "reads single planes of a stack",
        "wrap a network of two axes in ByPlane",
    )
    ENLARGES_CODE = (
        "network",
        "makes an image of a small code",
        "take DeepDecoder, or set halvings=0",
    )
    RETURNS_IMAGE = (
        "network",
        "returns an image in the channels of the observation",
        "take a network such as UNet, Plain or SkipNet",
    )
    RETURNS_SPREAD = (
        "network",
        "returns mean and spread of every pixel, blind for the pixel itself",
        "take BlindSpot",
    )
    CANNOT_COPY = (
        "network",
        "cannot simply repeat its input",
        "set residual=False",
    )
    HOLDS_OUTLIERS = (
        "network",
        "has a sparse part beside the image",
        "wrap it in WithOutliers",
    )
    ESTIMATES_RISK = (
        "loss", "estimates the risk, and so may fall below zero", "take Sure",
    )  # fmt: skip

    def __init__(self, slot: Slot, words: str, remedy: str) -> None:
        self.slot, self.words, self.remedy = slot, words, remedy


def missing(who: object, wanted: Set[Capability], offered: Set[Capability], by: object) -> Iterator[str]:
    """Yield one sentence for each capability that is wanted and not offered: wanted, got, what to do."""
    for one in Capability:
        if one in wanted and one not in offered:
            article = "views that" if one.slot == "views" else f"a {one.slot} that"
            yield f"{who} needs {article} {one.words}, got {by}; {one.remedy}"
