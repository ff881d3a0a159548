"""Marks in the pictures of a report: points are ringed, lines are underlaid."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from matplotlib.axes import Axes

#: Colour of what is marked.
MARKED = "#00c389"


@dataclass(frozen=True)
class Mark:
    """A place to be marked in a plane: a point, or a line of some length (pixels) and angle (radians)."""

    y: float
    x: float
    length: float = 0.0
    angle: float = 0.0


def told(marks: Sequence[Mark]) -> str:
    """Return what the title of a picture says of its marks."""
    return f": {len(marks)} structures or outliers" if marks else ""


def inside(marks: Sequence[Mark], place: tuple[slice, slice]) -> tuple[Mark, ...]:
    """Return the marks in a part of a plane, counted from its first pixel."""
    rows, columns = place
    moved = (replace(mark, y=mark.y - rows.start, x=mark.x - columns.start) for mark in marks)
    height, width = (span.stop - span.start for span in place)
    return tuple(mark for mark in moved if 0 <= mark.y < height and 0 <= mark.x < width)


def draw(axes: Axes, marks: Sequence[Mark]) -> None:
    """Mark places in an image whose axes count pixels."""
    points = [mark for mark in marks if not mark.length]
    axes.scatter(
        [mark.x + 0.5 for mark in points], [mark.y + 0.5 for mark in points],
        s=60, facecolors="none", edgecolors=MARKED, linewidths=1.1,
    )  # fmt: skip
    for mark in marks:
        if mark.length:
            across, down = (0.5 * mark.length * part for part in (math.cos(mark.angle), math.sin(mark.angle)))
            ends = [mark.x + 0.5 - across, mark.x + 0.5 + across], [mark.y + 0.5 - down, mark.y + 0.5 + down]
            axes.plot(*ends, color=MARKED, lw=5, alpha=0.45, solid_capstyle="round", scalex=False, scaley=False)
