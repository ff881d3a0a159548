"""Which axis a method sees as depth: the z of a stack, the t of a movie, or none at all.

    depth  a tile holds                        a method sees [channel, depth, y, x]
    z      several planes of one frame         frame by frame, neighbouring planes together
    t      several frames of one plane         plane by plane, neighbouring frames together
    none   one plane of one frame              every plane alone

Blocks on their way between stores are always [t, channel, z, y, x].
"""

from typing import Any, Literal, TypeAlias

from numpy.typing import NDArray

from ilcore.grammar.errors import BadInput
from ilcore.grammar.region import Five, Region

Depth: TypeAlias = Literal["z", "t", "none"]
#: What to call one step along it.
PLANE = {"z": "plane along z", "t": "frame along t"}


def depth_wanted(wish: Depth | None, shape: Five, *, needs_stack: bool) -> Depth:
    """Return the axis that a method sees as depth: what was asked for, else z, else t where it cannot do without.

    Args:
        wish: What the user said.
        shape: Of the volume, t c z y x.
        needs_stack: Whether the method learns from neighbouring planes.

    Raises:
        BadInput: When there is but one plane along the axis asked for.
    """
    if wish is None:
        return "z" if shape[2] > 1 else "t" if needs_stack and shape[0] > 1 else "none"
    if length_of(wish, shape) < 2 and wish != "none":
        raise BadInput(
            f"depth {wish} wants more than one {PLANE[wish]}, got a volume of {shape} (t c z y x); leave it out"
        )
    return wish


def length_of(depth: Depth, shape: Five) -> int:
    """Return how many voxels a volume has along the depth."""
    return {"z": shape[2], "t": shape[0], "none": 1}[depth]


def stacked(block: NDArray[Any], depth: Depth) -> NDArray[Any]:
    """Return a block as a method sees it.

    Shape:
        [t, channel, z, y, x] -> [channel, depth, y, x].
    """
    return block[:, :, 0].swapaxes(0, 1) if depth == "t" else block[0]


def unstacked(values: NDArray[Any], depth: Depth) -> NDArray[Any]:
    """Return what a method made as a block.

    Shape:
        [channel, depth, y, x] -> [t, channel, z, y, x].
    """
    return values.swapaxes(0, 1)[:, :, None] if depth == "t" else values[None]


def within(region: Region, outer: Region, depth: Depth) -> tuple[slice, ...]:
    """Return where a region lies in the stack of an outer one, [channel, depth, y, x]."""
    t, _, z, y, x = (slice(a - b, c - b) for (a, c), (b, _) in zip(region, outer, strict=True))
    return (slice(None), t if depth == "t" else z, y, x)
