"""Pictures of the layers of a result: one plane of each, with what its colours mean."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from ilcore.grammar.layers import Label, Layer
from ilcore.qa.drawing import (
    SOFT,
    Values,
    VoxelSize,
    add_axes,
    apart,
    bands,
    block_means,
    box_of,
    grey,
    new_figure,
    png_of,
    show,
    write,
)

#: Pixels of the panel along its longer side, and of the column with the legend.
_PANEL, _LEGEND = 400, 360
#: Colour of voxels of which a layer does not know anything.
_UNKNOWN = "#dfe4ea"
_NUMBERS = colormaps["magma"].with_extremes(bad=_UNKNOWN)


@dataclass(frozen=True, kw_only=True)
class LayerView:
    """What is shown of a layer.

    Args:
        layer: The layer.
        name: Which plane it is.
        plane: Its voxels, [y, x].
        image: The image there, [y, x]; NaN where there is no data.
        shares: Of the voxels of the whole result, by the words of its labels; nothing where it has none.
    """

    layer: Layer
    name: str
    plane: Values
    image: Values
    shares: Mapping[str, float]

    @property
    def summary(self) -> str:
        """Return in words what the layer says of the whole result, or of this plane where it holds numbers."""
        if self.layer.labels:
            return ", ".join(f"{word} {_percent(share)}" for word, share in self.shares.items() if share > 0)
        known = self.plane[np.isfinite(self.plane)]
        if not known.size:
            return "nothing is known of this plane"
        low, middle, high = np.percentile(known, (5, 50, 95))
        lacking = f"; unknown in {_percent(1 - known.size / self.plane.size)}" if known.size < self.plane.size else ""
        return f"median {middle:.3g}, nine tenths between {low:.3g} and {high:.3g}{lacking}"


def _percent(share: float) -> str:
    """Return a share in words; what is there is never nothing."""
    if share == 0:
        return "none"
    return "less than 0.1 %" if 0 < share < 1e-3 else f"{100 * share:.1f} %"


def layer_picture(view: LayerView, voxel_size: VoxelSize | None = None) -> bytes:
    """Draw a plane of the image and the layer over it side by side with a legend, as PNG.

    Args:
        view: What to draw.
        voxel_size: For the proportions, where known.
    """
    shape = view.plane.shape
    width, height = box_of(shape, voxel_size, _PANEL)
    legend = max(height, 40 * len(view.layer.labels))
    figure = new_figure(2 * max(width, 200) + 28 + _LEGEND, legend + 62)
    write(figure, 0, 4, f"{view.layer.title}: {view.name}", bold=True)
    left = max(width, 200) + 14
    write(figure, 0, 24, "restored")
    write(figure, left, 24, view.layer.title.lower())
    image = block_means(bands(view.image), shape)
    known = image[np.isfinite(image)]
    limits = apart(*np.percentile(known, (0.5, 99.7))) if known.size else (0.0, 1.0)
    show(add_axes(figure, (0, 42, width, height)), image, shape, grey(), limits)
    place = add_axes(figure, (left, 42, width, height))
    if labels := view.layer.labels:
        # Between two labels lies no third.
        place.imshow(_label_colours(view), aspect="auto", interpolation="nearest")
        _list(add_axes(figure, (2 * left + 4, 42, _LEGEND - 10, legend)), labels, view.shares)
    else:
        if not np.isfinite(view.plane).all():
            write(figure, left, 46 + height, "pale: not known", soft=True)
        means = block_means(bands(view.plane), shape)
        ends = _ends(means)
        show(place, means, shape, _NUMBERS, ends)
        _scale(add_axes(figure, (2 * left + 4, 42, 16, height)), ends)
    return png_of(figure)


def _label_colours(view: LayerView) -> NDArray[np.float64]:
    """Return the colours of a plane of labels, [y, x, 4]; the rare ones do not vanish where it is drawn smaller."""
    step = max(1, -(-max(view.plane.shape) // (2 * _PANEL)))
    rows = np.maximum.reduceat(view.plane, range(0, view.plane.shape[0], step), axis=0)
    pixels = np.maximum.reduceat(rows, range(0, view.plane.shape[1], step), axis=1)
    return np.asarray(ListedColormap([label.colour for label in view.layer.labels])(pixels), np.float64)


def _ends(means: NDArray[np.float64]) -> tuple[float, float]:
    known = means[np.isfinite(means)]
    return apart(0.0, float(np.percentile(known, 99.7)) if known.size else 1.0)


def _list(axes: Axes, labels: Sequence[Label], shares: Mapping[str, float]) -> None:
    """List the labels with their colours, shares and meanings."""
    axes.set_xlim(0, _LEGEND - 10)
    axes.set_ylim(40 * len(labels), 0)
    for row, label in enumerate(labels):
        axes.add_patch(Rectangle((0, 40 * row + 2), 14, 14, facecolor=label.colour, edgecolor=SOFT, linewidth=0.6))
        axes.text(22, 40 * row + 2, _told(label, shares), va="top", fontsize=9)
        axes.text(22, 40 * row + 18, label.meaning, va="top", fontsize=7, color=SOFT)


def _told(label: Label, shares: Mapping[str, float]) -> str:
    share = shares.get(label.word)
    return f"{label.value}  {label.word}" + ("" if share is None else f", {_percent(share)}")


def _scale(axes: Axes, ends: tuple[float, float]) -> None:
    axes.set_axis_on()
    ramp = np.linspace(ends[1], ends[0], 256)[:, None]
    axes.imshow(ramp, cmap=_NUMBERS, norm=Normalize(*ends), aspect="auto", extent=(0, 1, *ends))
    axes.set_xticks([])
    axes.yaxis.tick_right()
    axes.tick_params(labelsize=8, colors=SOFT, length=2)
