"""Axes by name: from the order of a source to t c z y x, and back."""

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ilcore.grammar.errors import BadVolume
from ilcore.volumes.region import AXES, Region

ALIASES = {"time": "t", "channel": "c", "band": "c", "depth": "z", "height": "y", "width": "x"}
GUESSES = {2: "yx", 3: "zyx", 4: "czyx", 5: "tczyx"}

T = TypeVar("T")


def read_axes(names: Sequence[str], ndim: int, uri: str) -> str:
    """Return the axes of a source as letters in its own order.

    Args:
        names: One name an axis, `"zyx"` or `("channel", "y", "x")`; upper and lower case are the same.
        ndim: How many axes the array has.
        uri: The source, for the message.

    Raises:
        BadVolume: A name is not one of t c z y x, comes twice, y or x is absent, or the count is not that of the array.
    """
    letters = [ALIASES.get(str(name).lower(), str(name).lower()) for name in names]
    known = all(letter in AXES and len(letter) == 1 for letter in letters) and len(set(letters)) == len(letters)
    if not known or not {"y", "x"} <= set(letters) or len(letters) != ndim:
        raise BadVolume(
            f"{ndim} axes out of t c z y x, each once and y and x among them, were wanted for {uri}; "
            f"got {list(map(str, names))}; say which is which with axes=, for example axes={GUESSES.get(ndim, 'zyx')!r}"
        )
    return "".join(letters)


def guess_axes(shape: Sequence[int], uri: str) -> str:
    """Return the usual meaning of unnamed axes: yx, zyx, czyx, tczyx.

    Raises:
        BadVolume: Fewer than two or more than five axes, or a colour picture that would be taken for a thin stack.
    """
    if len(shape) not in GUESSES:
        raise BadVolume(
            f"a volume of 2 to 5 axes was wanted, {uri} has {len(shape)} (shape {tuple(shape)}); reshape it"
        )
    if len(shape) == 3 and shape[-1] in (3, 4) and min(shape[:2]) >= 32:
        raise BadVolume(
            f"named axes were wanted: {uri} of shape {tuple(shape)} may be a colour picture or a stack; "
            "say axes='yxc' or axes='zyx'"
        )
    return GUESSES[len(shape)]


def canonical(axes: str) -> str:
    """Return the axes that a source has in the order t c z y x, which is the order results are written in."""
    return "".join(axis for axis in AXES if axis in axes)


def spread(values: Sequence[T], axes: str, absent: T) -> tuple[T, T, T, T, T]:
    """Put one value an axis of the source into the places of t c z y x."""
    found = dict(zip(axes, values, strict=True))
    t, c, z, y, x = (found.get(axis, absent) for axis in AXES)
    return (t, c, z, y, x)


def pick(values: Sequence[T], axes: str) -> tuple[T, ...]:
    """Take from values in the order t c z y x those of some axes, in the order of those axes."""
    found = dict(zip(AXES, values, strict=True))
    return tuple(found[axis] for axis in axes)


def source_index(region: Region, axes: str) -> tuple[slice, ...]:
    """Return the index of a region in an array with these axes."""
    return tuple(slice(start, stop) for start, stop in pick(region, axes))


def to_five(block: NDArray[Any], axes: str) -> NDArray[Any]:
    """View a block with these axes as t c z y x."""
    ordered = np.transpose(block, [axes.index(axis) for axis in canonical(axes)])
    return ordered.reshape(spread(block.shape, axes, 1))


def from_five(block: NDArray[Any], axes: str) -> NDArray[Any]:
    """View a block t c z y x as one with these axes, in the order t c z y x; the others have length 1."""
    return block.reshape([length for axis, length in zip(AXES, block.shape, strict=True) if axis in axes])
