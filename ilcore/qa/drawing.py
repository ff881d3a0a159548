"""Drawing for pictures of people: panels of pixels side by side, bars and words. PNG bytes, no global state."""

import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from ilcore.qa.marks import Mark, draw

Values = NDArray[Any]
#: Size of a voxel along y and x, and its unit.
VoxelSize = tuple[float, float, str]

#: No panel is drawn from more pixels than this along its longer side.
LARGEST = 900
#: Colours: missing values in images, values above and below the grey scale, text.
MISSING, ABOVE, BELOW = "#f5a800", "#d7191c", "#2c5fd5"
INK, SOFT, DPI = "#1d2733", "#5b6775", 100
_SHORT = {"micrometer": "µm", "micron": "µm", "um": "µm", "nanometer": "nm", "millimeter": "mm", "meter": "m"}


@dataclass(frozen=True)
class Panel:
    """One image of a picture: what it shows, its pixels, colours, the values drawn first and last, note and marks."""

    title: str
    image: Values
    colours: Colormap
    limits: tuple[float, float]
    note: str
    marks: Sequence[Mark] = ()


def panels_picture(
    name: str,
    panels: Sequence[Panel],
    shape: Sequence[int],
    box: tuple[int, int],
    voxel_size: VoxelSize | None = None,
) -> bytes:
    """Draw panels side by side, as PNG.

    Args:
        name: Above them.
        panels: What to draw.
        shape: Of the plane in source pixels, of which each panel may be a reduced picture.
        box: Width and height of a panel, pixels.
        voxel_size: For the scale bar on the first, where known.
    """
    width, height = box
    column, gap = max(width, 270), 14
    drawn = new_figure(len(panels) * column + (len(panels) - 1) * gap, height + 66)
    write(drawn, 0, 4, name, bold=True)
    for number, panel in enumerate(panels):
        left = number * (column + gap)
        write(drawn, left, 24, panel.title)
        place = add_axes(drawn, (left, 42, width, height))
        show(place, panel.image, shape, panel.colours, panel.limits)
        draw(place, panel.marks)
        write(drawn, left, 46 + height, panel.note, soft=True)
        if number == 0 and is_known(voxel_size):
            _scale_bar(place, shape, voxel_size, (width, height))
    return png_of(drawn)


def bands(image: Values) -> Iterator[NDArray[np.float64]]:
    """Yield an image by bands of as many rows as one row of its picture takes, in float64."""
    step = _step(image.shape)
    for row in range(0, image.shape[0], step):
        yield image[row : row + step].astype(np.float64)


def _step(shape: Sequence[int]) -> int:
    return max(1, math.ceil(max(shape) / LARGEST))


def block_means(parts: Iterator[NDArray[np.float64]], shape: Sequence[int]) -> NDArray[np.float64]:
    """Return the block means over finite values, NaN where a block has none; holds one band at a time."""
    starts = np.arange(0, shape[1], _step(shape))
    rows = []
    for band in parts:
        known = np.isfinite(band)
        total = np.add.reduceat(np.where(known, band, 0).sum(0), starts)
        count = np.add.reduceat(known.sum(0), starts)
        rows.append(np.where(count > 0, total / np.maximum(count, 1), np.nan))
    return np.stack(rows)


def is_known(voxel_size: VoxelSize | None) -> TypeGuard[VoxelSize]:
    """Tell whether both sides of a voxel are lengths."""
    return voxel_size is not None and all(math.isfinite(size) and size > 0 for size in voxel_size[:2])


def box_of(shape: Sequence[int], voxel_size: VoxelSize | None, panel: int, smallest: int = 60) -> tuple[int, int]:
    """Return width and height of a panel in pixels: whole multiples of small images, so that 1:1 stays crisp."""
    ratio = min(max(voxel_size[0] / voxel_size[1], 0.25), 4.0) if is_known(voxel_size) else 1.0
    longest = max(shape[0] * ratio, shape[1])
    zoom = panel / longest if longest > panel else max(1, panel // math.ceil(longest))
    height, width = (round(length * zoom) for length in (shape[0] * ratio, shape[1]))
    return max(width, smallest), max(height, min(smallest, 24))


def apart(low: float, high: float) -> tuple[float, float]:
    """Return two ends of a scale, moved apart where they are one."""
    # Differences below what float32 tells apart are no contrast.
    least = 1e-6 * max(abs(low), abs(high))
    if high - low > least:
        return low, high
    room = max(abs(low), 1.0) / 2
    return low - room, high + room


def grey(*, ends: bool = False) -> Colormap:
    """Return grey levels, what lies beyond both ends in red and blue where asked."""
    extremes = {"over": ABOVE, "under": BELOW} if ends else {}
    return colormaps["gray"].with_extremes(bad=MISSING, **extremes)


def new_figure(width: int, height: int) -> Figure:
    """Return a white figure of so many pixels."""
    return Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor="white")


def add_axes(figure: Figure, box: tuple[int, int, int, int]) -> Axes:
    """Return axes at (left, top, width, height) in pixels."""
    width, height = (float(length) * DPI for length in figure.get_size_inches())
    left, top, wide, high = box
    axes = figure.add_axes((left / width, 1 - (top + high) / height, wide / width, high / height))
    axes.set_axis_off()
    return axes


def write(figure: Figure, left: int, top: int, text: str, *, bold: bool = False, soft: bool = False) -> None:
    """Write a line that begins at (left, top) in pixels."""
    width, height = (float(length) * DPI for length in figure.get_size_inches())
    figure.text(
        left / width, 1 - top / height, text, va="top", parse_math=False, fontsize=8 if soft else 9,
        color=SOFT if soft else INK, fontweight="bold" if bold else "normal")  # fmt: skip


def show(
    axes: Axes, image: Values, shape: Sequence[int], colours: Colormap, limits: tuple[float, float]
) -> None:  # fmt: skip
    """Show an image of a plane of `shape` source pixels."""
    # The axes count source pixels, so that the scale bar does not depend on the reduction.
    axes.imshow(
        np.ma.masked_invalid(image), cmap=colours, norm=Normalize(*limits), extent=(0, shape[1], shape[0], 0),
        aspect="auto", interpolation="antialiased", interpolation_stage="data")  # fmt: skip


def _scale_bar(axes: Axes, shape: Sequence[int], voxel_size: VoxelSize, box: tuple[int, int]) -> None:
    size, unit = voxel_size[1], _SHORT.get(voxel_size[2], voxel_size[2])
    if min(box) < 60:
        return
    length = _round_length(shape[1] * size / 3)
    x_pixel, y_pixel = shape[1] / box[0], shape[0] / box[1]
    left, bottom, wide = 12 * x_pixel, shape[0] - 12 * y_pixel, length / size
    label = f"{length:g} {unit}".strip()
    back = max(wide, 6.8 * len(label) * x_pixel)
    axes.add_patch(Rectangle((left - 6 * x_pixel, bottom - 23 * y_pixel), back + 12 * x_pixel, 29 * y_pixel,
                             color="black", alpha=0.55, lw=0))  # fmt: skip
    axes.add_patch(Rectangle((left, bottom - 3 * y_pixel), wide, 3 * y_pixel, color="white", lw=0))
    axes.text(left, bottom - 7 * y_pixel, label, color="white", fontsize=8, va="bottom", parse_math=False)


def _round_length(most: float) -> float:
    """Return the largest of 1, 2, 5 times a power of ten that is not above `most`."""
    power = 10.0 ** math.floor(math.log10(most))
    return max(step * power for step in (1, 2, 5) if step * power <= most * (1 + 1e-9))


def shortened(text: str, most: int = 28) -> str:
    """Return a text of at most so many letters."""
    return text if len(text) <= most else text[: most - 1] + "…"


def png_of(figure: Figure) -> bytes:
    """Return a figure as a PNG file."""
    # Names come from files; mathtext would choke on a dollar sign.
    held = io.BytesIO()
    figure.savefig(held, format="png", dpi=DPI)
    return held.getvalue()
