"""The report of a run: one HTML page that needs nothing but a browser, not even scripts."""

import base64
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any, Literal, Protocol

import numpy as np
from jinja2 import Environment, StrictUndefined, Template
from numpy.typing import NDArray

from ilcore.qa.drawing import VoxelSize
from ilcore.qa.layer_pictures import LayerView, layer_picture
from ilcore.qa.pictures import (
    GUIDES,
    Curve,
    MapGuide,
    Plane,
    before_after_picture,
    curve_picture,
    map_picture,
    null_picture,
)

#: Pixels of a panel where there is room, and by how much it may shrink.
_PANEL = {"planes": 400, "crops": 400, "worst": 264, "nulls": 192}
_SMALLEST = 0.35
#: Bytes of the pictures of planes; with the rest and base64 a page stays below five million.
_BUDGET = 3_300_000
#: At most so many of each are drawn; the page says how many there are.
_MOST = {"planes": 6, "crops": 6, "worst": 8, "maps": 16, "curves": 12}
_ORDER = {"fail": 0, "warn": 1, "pass": 2}
_SENTENCE = {
    "pass": "Every check is inside its limits.",
    "warn": "Usable, but look at the checks marked below before you rely on it.",
    "fail": "Do not use this result as it is: at least one check is outside its limits.",
}


class FindingLike(Protocol):
    """What the page needs of a finding; `ilcore.qa.verdict.Finding` has it."""

    @property
    def check(self) -> str:
        """Return what was checked."""

    @property
    def verdict(self) -> str:
        """Return pass, warn or fail."""

    @property
    def measured(self) -> float:
        """Return the number."""

    @property
    def allowed(self) -> str:
        """Return its limits in words."""

    @property
    def why(self) -> str:
        """Return what the number means."""


@dataclass(frozen=True, kw_only=True)
class WorstTile:
    """A tile that somebody should look at.

    Args:
        index: Position in the grid of tiles.
        reason: Why it is here.
        row: Its numbers.
        plane: Its middle plane.
    """

    index: tuple[int, ...]
    reason: str
    row: Mapping[str, object]
    plane: Plane


@dataclass(frozen=True, kw_only=True)
class ReportInput:
    """All that the page tells.

    Args:
        title: Name of the run.
        verdict: Of the whole run.
        findings: Checks with number and limit.
        why: Why this method was chosen.
        bound: How good the result is at least, or why nobody can say; empty where it was not asked.
        remarks: What the source says and the result does not.
        notes: What was not checked, and why.
        plan_yaml: The plan, as it can be run again.
        preflight_rows: What was measured of each channel before the run.
        planes: Whole planes, a few.
        crops: Small pieces, pixel for pixel.
        layers: What is said of each voxel beside the image, a plane of each layer.
        maps: Numbers at tile resolution, [y, x] or [z, y, x], by name.
        worst: Tiles to look at, worst first.
        nulls: Fields of noise alone: name, what went in and what came out, less the level and over the noise, [y, x].
        curves: Loss against step.
        numbers: Name -> number with its unit.
        versions: Package -> version.
        voxel_size: Along y and x, and the unit; None when not known.
        words: Meaning of the numbers 0, 1, ... of maps whose values are names.
    """

    title: str
    verdict: Literal["pass", "warn", "fail"]
    findings: Sequence[FindingLike]
    why: str
    plan_yaml: str
    bound: str = ""
    remarks: Sequence[str] = ()
    notes: Sequence[str] = ()
    preflight_rows: Sequence[Mapping[str, object]] = ()
    planes: Sequence[Plane] = ()
    crops: Sequence[Plane] = ()
    layers: Sequence[LayerView] = ()
    maps: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    worst: Sequence[WorstTile] = ()
    nulls: Sequence[tuple[str, NDArray[Any], NDArray[Any]]] = ()
    curves: Sequence[Curve] = ()
    numbers: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    voxel_size: VoxelSize | None = None
    words: Mapping[str, Sequence[str]] = field(default_factory=dict)


def render_report(given: ReportInput) -> str:
    """Return the page: self-contained HTML of less than 5 MB.

    Args:
        given: What to tell.
    """
    counts = {name: len(getattr(given, name)) for name in _MOST}
    worst = list(given.worst)[: _MOST["worst"]]
    groups = {
        "planes": list(given.planes)[: _MOST["planes"]],
        "crops": list(given.crops)[: _MOST["crops"]],
        "worst": [tile.plane for tile in worst],
    }
    drawn = _draw(groups, given.voxel_size)
    return _template().render(
        given=given,
        sentence=_SENTENCE[given.verdict],
        findings=sorted(given.findings, key=lambda finding: _ORDER.get(finding.verdict, 0)),
        planes=[(plane.name, _data(png)) for plane, png in drawn["planes"]],
        crops=[(plane.name, _data(png)) for plane, png in drawn["crops"]],
        worst=[(tile, _data(png)) for tile, (_, png) in zip(worst, drawn["worst"], strict=True)],
        layers=[(view, _data(layer_picture(view, given.voxel_size))) for view in given.layers],
        maps=_maps(given),
        nulls=[(name, _data(null_picture(name, seen, out, panel=_PANEL["nulls"]))) for name, seen, out in given.nulls],
        curves=_data(curve_picture(given.curves[: _MOST["curves"]])) if given.curves else None,
        preflight=_table(given.preflight_rows),
        more={name: counts[name] - most for name, most in _MOST.items() if counts[name] > most},
        untold=given.voxel_size is None,
    )


def _draw(
    groups: Mapping[str, Sequence[Plane]], voxel_size: VoxelSize | None
) -> dict[str, list[tuple[Plane, bytes]]]:  # fmt: skip
    """Draw all planes, smaller where they would make the page too heavy: noise does not compress."""
    shrink = 1.0
    while True:
        drawn = {
            name: [
                (plane, before_after_picture(plane, voxel_size, panel=int(shrink * _PANEL[name]))) for plane in planes
            ]
            for name, planes in groups.items()
        }
        total = sum(len(png) for pictures in drawn.values() for _, png in pictures)
        if total <= _BUDGET or shrink <= _SMALLEST:
            return drawn
        shrink = max(_SMALLEST, 0.95 * shrink * math.sqrt(_BUDGET / total))


def _maps(given: ReportInput) -> list[tuple[MapGuide, str, str]]:
    found = []
    for name, array in list(given.maps.items())[: _MOST["maps"]]:
        words = given.words.get(name, ())
        guide = GUIDES.get(name) or MapGuide(title=name.replace("_", " "), good="")
        found.append((guide, _summary(array, words), _data(map_picture(name, array, words=words))))
    return found


def _summary(array: NDArray[Any], words: Sequence[str]) -> str:
    values = np.asarray(array, np.float64)
    known = values[np.isfinite(values)]
    if not known.size:
        return "no tile has a value"
    if words:
        counts = {word: int((known == number).sum()) for number, word in enumerate(words)}
        return ", ".join(f"{word} {count}" for word, count in counts.items() if count)
    without = values.size - known.size
    text = f"median {np.median(known):.3g}, from {known.min():.3g} to {known.max():.3g}"
    return text + (f"; {without} without" if without else "")


def _table(rows: Sequence[Mapping[str, object]]) -> tuple[list[str], list[list[str]]]:
    """Return the names of all columns in the order they are met, and the cells."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    return names, [[_words(row.get(name)) for name in names] for row in rows]


def _words(value: object) -> str:
    if value is None or value == "":
        return "–"
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, float | np.floating):
        return f"{value:.4g}" if math.isfinite(value) else "–"
    if isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping):
        return ", ".join(_words(item) for item in value) or "–"
    return str(value)


def _data(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


@cache
def _template() -> Template:
    page = resources.files("ilcore.qa").joinpath("report.html.j2").read_text(encoding="utf-8")
    surroundings = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    surroundings.filters["words"] = _words
    return surroundings.from_string(page)
