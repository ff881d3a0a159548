"""Pictures of a restoration for people: before and after, maps of tiles, loss curves. PNG bytes, no global state."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import Colormap, ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from ilcore.grammar.errors import BadInput
from ilcore.qa.drawing import (
    DPI,
    LARGEST,
    SOFT,
    Panel,
    Values,
    VoxelSize,
    add_axes,
    apart,
    bands,
    block_means,
    box_of,
    grey,
    new_figure,
    panels_picture,
    png_of,
    shortened,
    show,
    write,
)
from ilcore.qa.marks import Mark, inside, told
from ilcore.qa.standardised import std_of_mean

Curve = tuple[str, Sequence[tuple[float, float]]]

#: Colour of missing tiles in maps.
NO_TILE = "#9aa3ad"
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
        noise_std: Standard deviation of the noise at every pixel, or one for all, where known.
        lags: Correlation of the noise of neighbours along y and x.
        marks: Points and lines found in what was taken away.
    """

    name: str
    before: Values
    after: Values
    noise_std: float | Values | None = None
    lags: tuple[float, float] = (0.0, 0.0)
    marks: Sequence[Mark] = ()

    def part(self, name: str, place: tuple[slice, slice]) -> "Plane":
        """Return a part of the plane under a name of its own."""
        std = self.noise_std[place] if isinstance(self.noise_std, np.ndarray) else self.noise_std
        marks = inside(self.marks, place)
        return replace(self, name=name, before=self.before[place], after=self.after[place], noise_std=std, marks=marks)


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
    "residual_tails": MapGuide(
        title="residual tails", kind="off", best=1, reach=0.6,
        good="pale, near 1: what was taken away is normally distributed. Red: edges or texture were. Blue: a pattern."),
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
    "error_bound": MapGuide(
        title="error at most", good="even: root mean square error of a tile, not exceeded with 95 %, in grey levels."),
    "spread": MapGuide(
        title="spread", good="even, no tile that stands out: standard deviation of the images that were averaged."),
    "noise_std": MapGuide(title="noise", good="even, where the light is even: standard deviation of the noise."),
    "steps": MapGuide(title="steps", good="even: steps learnt on each tile."),
    "seconds": MapGuide(title="seconds", good="even: time spent on each tile."),
    "status": MapGuide(title="status", kind="words", good="restored, or empty, everywhere."),
    "used": MapGuide(title="values come from", kind="words", good="one colour: no tile fell back."),
})  # fmt: skip


def before_after_picture(plane: Plane, voxel_size: VoxelSize | None = None, *, panel: int = LARGEST) -> bytes:
    """Draw before | after | what was taken away, as PNG.

    Before and after share one contrast, percentiles 0.5 to 99.7 of before. What was taken away is divided by the noise
    at each pixel, where that is known, and grey within four standard deviations, red above and blue below. Larger
    planes are reduced by block means; the grey scale then shrinks as the mean of noise so correlated does.

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
    before, after = (block_means(bands(image), plane.before.shape) for image in (plane.before, plane.after))
    taken = block_means(zip_bands(plane), plane.before.shape)
    width, height = box_of(before.shape, voxel_size, min(panel, LARGEST))
    shrink = max(1.0, max(plane.before.shape) / max(width, height))
    span, (reach, meaning) = _contrast(before, after), _reach(taken, plane, shrink)
    title = "taken away (before − after)" + ("" if _noise_of(plane) is None else ", over the noise") + told(plane.marks)
    panels = (
        Panel("before", before, grey(), span, f"black {span[0]:.4g}, white {span[1]:.4g}"),
        Panel("after", after, grey(), span, "same contrast"),
        Panel(title, taken, grey(ends=True), (-reach, reach), f"grey 0, black/white {meaning}", plane.marks),
    )
    name = plane.name + (f"  (reduced {shrink:.3g}×)" if shrink > 1 else "")
    return panels_picture(name, panels, plane.before.shape, (width, height), voxel_size)


def null_picture(name: str, seen: Values, restored: Values, *, panel: int = LARGEST) -> bytes:
    """Draw noise alone | what the method made of it | the same, four times as contrasty, as PNG.

    Args:
        name: What it shows, such as "level 120".
        seen: Noise on a level, less the level, over the noise.
        restored: What the method made of it, in the same units.
        panel: Pixels along the longer side of each of the three panels.

    Shape:
        seen, restored [y, x].
    """
    noise, flat = grey(), grey(ends=True)
    panels = (
        Panel("noise alone", seen, noise, (-4, 4), "black/white ±4 noise std"),
        Panel("what came out: flat is right", restored, noise, (-4, 4), "same contrast"),
        Panel("the same, magnified", restored, flat, (-1, 1), "grey the level, black/white ±1 noise std"),
    )
    return panels_picture(name, panels, seen.shape, box_of(seen.shape, None, min(panel, LARGEST)))


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
    images = [block_means(bands(stack[z]), stack.shape[1:]) for z in chosen]
    cell = min((300 - 6 * (columns - 1)) // columns, _TILE * max(stack.shape[1:]))
    cell = max(cell, 40)
    width, height = box_of(stack.shape[1:], None, cell, smallest=28)
    caption = 14 if len(stack) > 1 else 0
    figure = new_figure(400, max(rows * (height + caption + 6), 150) + 12)
    colours, limits = _map_colours(name, np.concatenate([image.ravel() for image in images]), words)
    for place, (z, image) in enumerate(zip(chosen, images, strict=True)):
        left, top = (place % columns) * (cell + 6), (place // columns) * (height + caption + 6) + 4
        if caption:
            write(figure, left, top, _place(int(z), np.asarray(array).shape), soft=True)
        show(add_axes(figure, (left, top + caption, width, height)), image, stack.shape[1:], colours, limits)
    _colour_bar(figure, colours, limits, words)
    return png_of(figure)


def curve_picture(curves: Sequence[Curve]) -> bytes:
    """Draw loss against step, one line per curve, as PNG; points that are not finite are left out.

    Args:
        curves: Name and points (step, loss) of each.
    """
    lines = [(name, np.asarray(points, np.float64).reshape(-1, 2)) for name, points in curves]
    lines = [(name, points[np.isfinite(points).all(1)]) for name, points in lines]
    lines = [(name, points) for name, points in lines if len(points)]
    figure = new_figure(760, 300)
    axes = figure.add_axes((0.11, 0.15, 0.6, 0.79))
    for name, points in lines:
        axes.plot(
            points[:, 0], points[:, 1], lw=1.4, marker="." if len(points) < 40 else "", ms=4, label=shortened(name)
        )
    if lines and min(points[:, 1].min() for _, points in lines) > 0:
        axes.set_yscale("log")
    axes.set_xlabel("step", color=SOFT, fontsize=9)
    axes.set_ylabel("loss", color=SOFT, fontsize=9)
    axes.tick_params(labelsize=8, colors=SOFT, which="both")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    if lines:
        axes.legend(*(each[:12] for each in axes.get_legend_handles_labels()), fontsize=8, frameon=False,
                    loc="upper left", bbox_to_anchor=(1.01, 1.02))  # fmt: skip
    else:
        axes.text(0.5, 0.5, "nothing was learnt", ha="center", color=SOFT, transform=axes.transAxes)
    return png_of(figure)


def zip_bands(plane: Plane) -> Iterator[NDArray[np.float64]]:
    """Yield what was taken away by bands, divided by the noise at each pixel where that is known."""
    noise = _noise_of(plane)
    std = np.broadcast_to(1.0 if noise is None else noise, plane.before.shape)
    for before, after, unit in zip(bands(plane.before), bands(plane.after), bands(std), strict=True):
        # The difference of two infinities is missing, not an alarm.
        with np.errstate(invalid="ignore", divide="ignore"):
            difference = (before - after) / unit
        yield difference


def _noise_of(plane: Plane) -> Values | None:
    """Return the noise at every pixel, or one for all; None where there is none to measure in."""
    std = np.asarray(np.nan if plane.noise_std is None else plane.noise_std, np.float64)
    return std if (np.nan_to_num(std, posinf=0.0) > 0).any() else None


def _contrast(before: Values, after: Values) -> tuple[float, float]:
    for image in (before, after):
        known = image[np.isfinite(image)]
        if known.size:
            low, high = (float(value) for value in np.percentile(known, (0.5, 99.7)))
            return apart(low, high)
    return 0.0, 1.0


def _reach(taken: Values, plane: Plane, shrink: float) -> tuple[float, str]:
    """Return the residual drawn black or white, and what it means."""
    if _noise_of(plane) is not None:
        reach = 4 * std_of_mean(shrink, plane.lags[0]) * std_of_mean(shrink, plane.lags[1])
        return reach, f"±{reach:.3g} noise std" + (" (4 × the noise at this size)" if shrink > 1 else "")
    known = np.abs(taken[np.isfinite(taken)])
    spread = 4 * 1.4826 * float(np.median(known)) if known.size else 0.0
    reach = spread or float(known.max(initial=0.0)) or 1.0
    return reach, f"±{reach:.3g}"


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
        colours, limits = colormaps["viridis"], apart(low, high)
    return colours.with_extremes(bad=NO_TILE), limits


def _place(number: int, shape: Sequence[int]) -> str:
    """Return which plane of [t, z, y, x] or [z, y, x] that is."""
    planes = shape[-3]
    return (
        f"z {number % planes}"
        if number < planes == math.prod(shape[:-2])
        else f"t {number // planes} z {number % planes}"
    )


def _colour_bar(figure: Figure, colours: Colormap, limits: tuple[float, float], words: Sequence[str]) -> None:
    height = float(figure.get_size_inches()[1]) * DPI
    axes = add_axes(figure, (312, 8, 14, int(min(height - 20, 260))))
    axes.set_axis_on()
    ramp = np.linspace(limits[1], limits[0], 256)[:, None]
    axes.imshow(ramp, cmap=colours, norm=Normalize(*limits), aspect="auto", extent=(0, 1, *limits))
    axes.set_xticks([])
    axes.yaxis.tick_right()
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.tick_params(labelsize=8, colors=SOFT, length=2)
    if words:
        axes.set_yticks(range(len(words)), labels=[shortened(word, 12) for word in words])
