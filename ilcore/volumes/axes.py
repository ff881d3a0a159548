"""Axes by name: from the order of a source to t c z y x, and back."""

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ilcore.grammar.errors import BadVolume
from ilcore.grammar.region import AXES, Region

ALIASES = {
    **dict.fromkeys(("time", "times", "valid_time", "frame"), "t"),
    **dict.fromkeys(("channel", "channels", "band", "bands", "wavelength"), "c"),
    **dict.fromkeys(("depth", "altitude", "lev", "plane"), "z"),
    **dict.fromkeys(("height", "lat", "latitude", "northing", "row", "rows", "rlat"), "y"),
    **dict.fromkeys(("width", "lon", "longitude", "easting", "column", "columns", "col", "rlon"), "x"),
}
#: Stands for an axis of length 1 that is left out.
LEFT_OUT = "_"
GUESSES = {1: "x", 2: "yx", 3: "zyx", 4: "czyx", 5: "tczyx"}

T = TypeVar("T")


def find_axes(told: str | None, names: Sequence[str], shape: Sequence[int], uri: str) -> str:
    """Return the axes of a source as letters in its own order: as told, as it names them, or as is usual.

    Args:
        told: What the user says; may leave out axes of length 1.
        names: What the source says, empty where it says nothing.
        shape: Size of the array.
        uri: The source, for messages.

    Raises:
        BadVolume: As `read_axes` and `guess_axes`.
    """
    if len(shape) == 1 and told in (None, "x", "yx"):
        return "x"
    if told:
        return read_axes(_padded(told, names, shape), shape, uri)
    return read_axes(names, shape, uri) if names else guess_axes(shape, uri)


def read_axes(names: Sequence[str], shape: Sequence[int], uri: str) -> str:
    """Return the axes of a source as letters in its own order; an unknown axis of length 1 becomes `LEFT_OUT`.

    Args:
        names: One name an axis, `"zyx"` or `("channel", "y", "x")`; upper and lower case are the same.
        shape: Size of the array.
        uri: The source, for the message.

    Raises:
        BadVolume: A name is not one of t c z y x, comes twice, y or x is absent, or the count is not that of the array.
    """
    letters = [letter_of(name) for name in names]
    if len(letters) == len(shape):
        letters = [_or_left_out(letter, length) for letter, length in zip(letters, shape, strict=True)]
    kept = [letter for letter in letters if letter != LEFT_OUT]
    known = all(letter in AXES and len(letter) == 1 for letter in kept) and len(set(kept)) == len(kept)
    if not known or not {"y", "x"} <= set(kept) or len(letters) != len(shape):
        raise BadVolume(
            f"{len(shape)} axes out of t c z y x, each once and y and x among them, were wanted for {uri}; "
            f"got {list(map(str, names))}; say which is which with axes=, for example "
            f"axes={GUESSES.get(max(2, len(shape)), 'tczyx')!r}; an axis of length 1 may be left out"
        )
    return "".join(letters)


def letter_of(name: str) -> str:
    """Return the letter of an axis by any of its usual names; a name that is not known comes back in lower case."""
    lower = str(name).lower()
    return ALIASES.get(lower, lower)


def _or_left_out(letter: str, length: int) -> str:
    return LEFT_OUT if length == 1 and (letter not in AXES or len(letter) != 1) else letter


def _padded(told: str, names: Sequence[str], shape: Sequence[int]) -> Sequence[str]:
    """Put `LEFT_OUT` where the user left out axes of length 1: those the source calls otherwise, else the first."""
    excess = len(shape) - len(told)
    if excess <= 0:
        return told
    ones = [place for place, length in enumerate(shape) if length == 1]
    if len(names) == len(shape):
        ones.sort(key=lambda place: letter_of(names[place]) in told.lower())
    out = set(ones[:excess])
    rest = iter(told)
    return [LEFT_OUT if place in out else next(rest, "") for place in range(len(shape))] if len(out) == excess else told


def guess_axes(shape: Sequence[int], uri: str) -> str:
    """Return the usual meaning of unnamed axes: x, yx, zyx, czyx, tczyx.

    Raises:
        BadVolume: No axis or more than five, or a colour picture that would be taken for a thin stack.
    """
    if len(shape) not in GUESSES:
        raise BadVolume(
            f"a volume of 2 to 5 axes was wanted, {uri} has {len(shape)} (shape {tuple(shape)}); reshape it, or say "
            "which axes of length 1 to leave out: axes='_tczyx'"
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
