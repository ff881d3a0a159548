"""Pictures of a restoration for people: before and after, maps of tiles, loss curves. PNG bytes, no global state."""

import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, TypeGuard

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from ilcore.grammar.errors import BadInput
from ilcore.qa.marks import Mark, draw, title_of

Values = NDArray[Any]
#: Size of a voxel along y and x, and its unit.
VoxelSize = tuple[float, float, str]
Curve = tuple[str, Sequence[tuple[float, float]]]

#: No panel is drawn from more pixels than this along its longer side.
LARGEST = 900
#: Colours: missing values in images, missing tiles in maps, residuals above and below the grey scale.
MISSING, NO_TILE, ABOVE, BELOW = "#f5a800", "#9aa3ad", "#d7191c", "#2c5fd5"
_INK, _SOFT, _DPI = "#1d2733", "#5b6775", 100
_SHORT = {"micrometer": "µm", "micron": "µm", "um": "µm", "nanometer": "nm", "millimeter": "mm", "meter": "m"}
#: Colours of named values: green and blue are as wished, amber and red are not.
_WORDS = {
    "restored": "#6dbf8b", "fell back": "#f0a83c", "failed": "#d7191c", "empty": "#dfe4ea", "open": "#5b6775",
    "none": "#dfe4ea", "tile": "#3f7fc4", "volume": "#8fc1ea", "pretrained": "#56b3a5", "classical": "#f0a83c",
    "raw": "#d7191c", "pass": "#6dbf8b", "warn": "#f0a83c", "fail": "#d7191c",
}  # fmt: skip
#: At most so many z planes of a map are drawn.
_SLICES = 12
#: At most so many pixels for one tile of a map.
_TILE = 48


@dataclass(frozen=True, kw_only=True)
class Plane:
    """One plane as it was and as it is.

    Args:
        name: What it shows, such as "channel 0, z 12".
        before: Observation, in source units; values that are not finite are missing.
        after: Restoration, of the same shape.
        noise_std: Standard deviation of the noise at a typical grey level, where known.
        marks: What was found in the difference.
    """

    name: str
    before: Values
    after: Values
    noise_std: float | None = None
    marks: Sequence[Mark] = ()


@dataclass(frozen=True, kw_only=True)
class MapGuide:
    """How a map of the tiles is drawn and read.

    Args:
        title: Name for people.
        good: What good looks like.
        kind: "off" is pale where the value is `best` and coloured to either side, "bad" is pale at 0 and dark where the
            value is large, "plain" is neither good nor bad, "words" has named values.
        best: The right value.
        reach: Distance from `best` at which the colour is full.
    """

    title: str
    good: str
    kind: Literal["off", "bad", "plain", "words"] = "plain"
    best: float = 0.0
    reach: float = 1.0


#: Guides by the names that the ledger uses.
GUIDES: Mapping[str, MapGuide] = MappingProxyType({
    "residual_level": MapGuide(
        title="residual level", kind="off", best=1, reach=1,
        good="pale, near 1: as much was taken away as there was noise. Red: more. Blue: noise was kept."),
    "verdict": MapGuide(title="verdict", kind="words", good="pass, or nothing judged, everywhere."),
    "residual_structure": MapGuide(
        title="residual structure", kind="bad", reach=12,
        good="pale, below 7.5: no lump in what was taken away that noise cannot explain, in noise std."),
    "contrast_loss": MapGuide(
        title="contrast loss", kind="off", reach=0.3,
        good="pale, near 0: structures are as strong as they were. Red: fainter. Blue: stronger."),
    "shift": MapGuide(title="shift", kind="bad", reach=0.4, good="pale, 0: nothing moved; in voxels."),
    "residual_lag": MapGuide(
        title="residual correlation", kind="off", reach=0.5,
        good="not red: neighbours in the residual are no more alike than in the noise. Blue: coarse noise was kept."),
    "seam": MapGuide(
        title="seams", kind="bad", reach=6,
        good="pale, below 2.5: grey levels change across a tile's border as they do beside it. Dark: a visible seam."),
    "flux_change": MapGuide(
        title="change of the mean", kind="off", reach=0.05,
        good="pale, near 0: no tile became brighter or darker."),
    **{f"faint_{what}": MapGuide(title=f"{what} taken away", kind="bad", reach=5, good="pale, 0: nothing but noise.")
       for what in ("points", "lines")},
    "clipped": MapGuide(title="clipped share", kind="bad", reach=0.01, good="pale, 0: no value left the data type."),
    "risk": MapGuide(title="estimated error", good="even, no tile that stands out: mean squared error, estimated."),
    "noise_std": MapGuide(title="noise", good="even, where the light is even: standard deviation of the noise."),
    "steps": MapGuide(title="steps", good="even: steps learnt on each tile."),
    "seconds": MapGuide(title="seconds", good="even: time spent on each tile."),
    "status": MapGuide(title="status", kind="words", good="restored, or empty, everywhere."),
    "used": MapGuide(title="values come from", kind="words", good="one colour: no tile fell back."),
})  # fmt: skip


def before_after_picture(plane: Plane, voxel_size: VoxelSize | None = None, *, panel: int = LARGEST) -> bytes:
    """Draw before | after | what was taken away, as PNG.

    Before and after share one contrast, percentiles 0.5 to 99.7 of before. The residual is grey within four standard
    deviations of the noise, red above and blue below. Larger planes are reduced by block means; the grey scale of the
    residual then shrinks as white noise does.

    Args:
        plane: What to draw.
        voxel_size: For the scale bar and the aspect, where known.
        panel: Pixels along the longer side of each of the three panels.

    Raises:
        BadInput: When before and after are not two planes of one shape.
    """
    if plane.before.ndim != 2 or plane.before.shape != plane.after.shape or not plane.before.size:
        raise BadInput(
            f"before and after must be planes [y, x] of one shape, got {plane.before.shape} and {plane.after.shape};"
            " cut one plane out of each"
        )
    before, after = (_reduced(bands(image), plane.before.shape) for image in (plane.before, plane.after))
    taken = _reduced(zip_bands(plane.before, plane.after), plane.before.shape)
    width, height = _box(before.shape, voxel_size, min(panel, LARGEST))
    shrink = max(1.0, max(plane.before.shape) / max(width, height))
    span, (reach, meaning) = _contrast(before, after), _reach(taken, plane.noise_std, shrink)
    panels = (
        ("before", before, _grey(), span, f"black {span[0]:.4g}, white {span[1]:.4g}"),
        ("after", after, _grey(), span, "same contrast"),
        (title_of(plane.marks), taken, _grey(ends=True), (-reach, reach), f"grey 0, black/white {meaning}"),
    )
    column, gap = max(width, 270), 14
    figure = _figure(3 * column + 2 * gap, height + 66)
    _write(figure, 0, 4, plane.name + (f"  (reduced {shrink:.3g}×)" if shrink > 1 else ""), bold=True)
    for number, (title, image, colours, limits, note) in enumerate(panels):
        left = number * (column + gap)
        _write(figure, left, 24, title)
        axes = _axes(figure, (left, 42, width, height))
        _show(axes, image, plane.before.shape, colours, limits)
        _write(figure, left, 46 + height, note, soft=True)
        draw(axes, plane.marks if number == 2 else ())
        if number == 0 and _is_known(voxel_size):
            _scale_bar(axes, plane.before.shape, voxel_size, (width, height))
    return _png(figure)


def map_picture(name: str, array: Values, *, words: Sequence[str] = ()) -> bytes:
    """Draw a map of the tiles as PNG, z planes side by side, with its colour bar.

    Args:
        name: Name of the map; those of GUIDES get their own colours and limits.
        array: One number per tile; not finite where there is none.
        words: Meaning of the numbers 0, 1, ... of a map whose values are names.

    Shape:
        [y, x], [z, y, x] or [t, z, y, x].
    """
    stack = np.asarray(array, np.float64).reshape(-1, *np.asarray(array).shape[-2:])
    chosen = np.unique(np.linspace(0, len(stack) - 1, min(len(stack), _SLICES)).round().astype(int))
    columns = math.ceil(math.sqrt(len(chosen)))
    rows = math.ceil(len(chosen) / columns)
    images = [_reduced(bands(stack[z]), stack.shape[1:]) for z in chosen]
    cell = min((300 - 6 * (columns - 1)) // columns, _TILE * max(stack.shape[1:]))
    cell = max(cell, 40)
    width, height = _box(stack.shape[1:], None, cell, smallest=28)
    caption = 14 if len(stack) > 1 else 0
    figure = _figure(400, max(rows * (height + caption + 6), 150) + 12)
    colours, limits = _map_colours(name, np.concatenate([image.ravel() for image in images]), words)
    for place, (z, image) in enumerate(zip(chosen, images, strict=True)):
        left, top = (place % columns) * (cell + 6), (place // columns) * (height + caption + 6) + 4
        if caption:
            _write(figure, left, top, _place(int(z), np.asarray(array).shape), soft=True)
        _show(_axes(figure, (left, top + caption, width, height)), image, stack.shape[1:], colours, limits)
    _colour_bar(figure, colours, limits, words)
    return _png(figure)


def curve_picture(curves: Sequence[Curve]) -> bytes:
    """Draw loss against step, one line per curve, as PNG; points that are not finite are left out.

    Args:
        curves: Name and points (step, loss) of each.
    """
    lines = [(name, np.asarray(points, np.float64).reshape(-1, 2)) for name, points in curves]
    lines = [(name, points[np.isfinite(points).all(1)]) for name, points in lines]
    lines = [(name, points) for name, points in lines if len(points)]
    figure = _figure(760, 300)
    axes = figure.add_axes((0.11, 0.15, 0.6, 0.79))
    for name, points in lines:
        axes.plot(points[:, 0], points[:, 1], lw=1.4, marker="." if len(points) < 40 else "", ms=4, label=_cut(name))
    if lines and min(points[:, 1].min() for _, points in lines) > 0:
        axes.set_yscale("log")
    axes.set_xlabel("step", color=_SOFT, fontsize=9)
    axes.set_ylabel("loss", color=_SOFT, fontsize=9)
    axes.tick_params(labelsize=8, colors=_SOFT, which="both")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    if lines:
        axes.legend(*(each[:12] for each in axes.get_legend_handles_labels()), fontsize=8, frameon=False,
                    loc="upper left", bbox_to_anchor=(1.01, 1.02))  # fmt: skip
    else:
        axes.text(0.5, 0.5, "nothing was learnt", ha="center", color=_SOFT, transform=axes.transAxes)
    return _png(figure)


def bands(image: Values) -> Iterator[NDArray[np.float64]]:
    """Yield an image by bands of as many rows as one row of its picture takes, in float64."""
    step = _factor(image.shape)
    for row in range(0, image.shape[0], step):
        yield image[row : row + step].astype(np.float64)


def zip_bands(one: Values, two: Values) -> Iterator[NDArray[np.float64]]:
    """Yield the difference of two images by bands."""
    for a, b in zip(bands(one), bands(two), strict=True):
        # The difference of two infinities is missing, not an alarm.
        with np.errstate(invalid="ignore"):
            difference = a - b
        yield difference


def _factor(shape: Sequence[int]) -> int:
    return max(1, math.ceil(max(shape) / LARGEST))


def _reduced(parts: Iterator[NDArray[np.float64]], shape: Sequence[int]) -> NDArray[np.float64]:
    """Return the block means over finite values, NaN where a block has none; holds one band at a time."""
    starts = np.arange(0, shape[1], _factor(shape))
    rows = []
    for band in parts:
        known = np.isfinite(band)
        total = np.add.reduceat(np.where(known, band, 0).sum(0), starts)
        count = np.add.reduceat(known.sum(0), starts)
        rows.append(np.where(count > 0, total / np.maximum(count, 1), np.nan))
    return np.stack(rows)


def _is_known(voxel_size: VoxelSize | None) -> TypeGuard[VoxelSize]:
    return voxel_size is not None and all(math.isfinite(size) and size > 0 for size in voxel_size[:2])


def _box(shape: Sequence[int], voxel_size: VoxelSize | None, panel: int, smallest: int = 60) -> tuple[int, int]:
    """Return width and height of a panel in pixels: whole multiples of small images, so that 1:1 stays crisp."""
    ratio = min(max(voxel_size[0] / voxel_size[1], 0.25), 4.0) if _is_known(voxel_size) else 1.0
    longest = max(shape[0] * ratio, shape[1])
    zoom = panel / longest if longest > panel else max(1, panel // math.ceil(longest))
    height, width = (round(length * zoom) for length in (shape[0] * ratio, shape[1]))
    return max(width, smallest), max(height, min(smallest, 24))


def _contrast(before: Values, after: Values) -> tuple[float, float]:
    for image in (before, after):
        known = image[np.isfinite(image)]
        if known.size:
            low, high = (float(value) for value in np.percentile(known, (0.5, 99.7)))
            return _apart(low, high)
    return 0.0, 1.0


def _apart(low: float, high: float) -> tuple[float, float]:
    # Differences below what float32 tells apart are no contrast.
    least = 1e-6 * max(abs(low), abs(high))
    if high - low > least:
        return low, high
    room = max(abs(low), 1.0) / 2
    return low - room, high + room


def _reach(taken: Values, noise_std: float | None, shrink: float) -> tuple[float, str]:
    """Return the residual drawn black or white, and what it means."""
    if noise_std is not None and math.isfinite(noise_std) and noise_std > 0:
        reach, at_this_size = 4 * noise_std / shrink, " at this size" if shrink > 1 else ""
        return reach, f"±{reach:.3g} (4 × noise{at_this_size})"
    known = np.abs(taken[np.isfinite(taken)])
    spread = 4 * 1.4826 * float(np.median(known)) if known.size else 0.0
    reach = spread or float(known.max(initial=0.0)) or 1.0
    return reach, f"±{reach:.3g}"


def _grey(*, ends: bool = False) -> Colormap:
    extremes = {"over": ABOVE, "under": BELOW} if ends else {}
    return colormaps["gray"].with_extremes(bad=MISSING, **extremes)


def _map_colours(name: str, values: Values, words: Sequence[str]) -> tuple[Colormap, tuple[float, float]]:
    guide = GUIDES.get(name, MapGuide(title=name, good=""))
    known = values[np.isfinite(values)]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    colours: Colormap
    if words:
        spare = colormaps["Set2"].resampled(8)
        colours = ListedColormap([_WORDS.get(word, spare(number % 8)) for number, word in enumerate(words)])
        limits = (-0.5, len(words) - 0.5)
    elif guide.kind == "off":
        colours, limits = colormaps["RdBu_r"], (guide.best - guide.reach, guide.best + guide.reach)
    elif guide.kind == "bad":
        colours, limits = colormaps["OrRd"], (0.0, guide.reach)
    else:
        colours, limits = colormaps["viridis"], _apart(low, high)
    return colours.with_extremes(bad=NO_TILE), limits


def _place(number: int, shape: Sequence[int]) -> str:
    """Return which plane of [t, z, y, x] or [z, y, x] that is."""
    planes = shape[-3]
    return (
        f"z {number % planes}"
        if number < planes == math.prod(shape[:-2])
        else f"t {number // planes} z {number % planes}"
    )


def _figure(width: int, height: int) -> Figure:
    return Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI, facecolor="white")


def _axes(figure: Figure, box: tuple[int, int, int, int]) -> Axes:
    """Return axes at (left, top, width, height) in pixels."""
    width, height = (float(length) * _DPI for length in figure.get_size_inches())
    left, top, wide, high = box
    axes = figure.add_axes((left / width, 1 - (top + high) / height, wide / width, high / height))
    axes.set_axis_off()
    return axes


def _write(figure: Figure, left: int, top: int, text: str, *, bold: bool = False, soft: bool = False) -> None:
    width, height = (float(length) * _DPI for length in figure.get_size_inches())
    figure.text(
        left / width, 1 - top / height, text, va="top", parse_math=False, fontsize=8 if soft else 9,
        color=_SOFT if soft else _INK, fontweight="bold" if bold else "normal")  # fmt: skip


def _show(
    axes: Axes, image: Values, shape: Sequence[int], colours: Colormap, limits: tuple[float, float]
) -> None:  # fmt: skip
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


def _colour_bar(figure: Figure, colours: Colormap, limits: tuple[float, float], words: Sequence[str]) -> None:
    height = float(figure.get_size_inches()[1]) * _DPI
    axes = _axes(figure, (312, 8, 14, int(min(height - 20, 260))))
    axes.set_axis_on()
    ramp = np.linspace(limits[1], limits[0], 256)[:, None]
    axes.imshow(ramp, cmap=colours, norm=Normalize(*limits), aspect="auto", extent=(0, 1, *limits))
    axes.set_xticks([])
    axes.yaxis.tick_right()
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.tick_params(labelsize=8, colors=_SOFT, length=2)
    if words:
        axes.set_yticks(range(len(words)), labels=[_cut(word, 12) for word in words])


def _cut(text: str, most: int = 28) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _png(figure: Figure) -> bytes:
    # Names come from files; mathtext would choke on a dollar sign.
    held = io.BytesIO()
    figure.savefig(held, format="png", dpi=_DPI)
    return held.getvalue()
