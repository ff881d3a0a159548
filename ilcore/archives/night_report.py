"""The morning page: what last night did, as one HTML file that needs nothing but a browser."""

import base64
import shlex
from collections.abc import Mapping
from functools import cache
from importlib import resources
from io import BytesIO
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote, urlsplit

import numpy as np
from jinja2 import Environment, StrictUndefined, Template
from matplotlib.image import imsave
from numpy.typing import NDArray

from ilcore.formats.open import open_volume
from ilcore.grammar.errors import ILError
from ilcore.grammar.region import region_of
from ilcore.running.finer import OnResult
from ilcore.running.run import Run
from ilcore.stores.addresses import is_remote
from ilcore.volumes.validity import data_in

#: Side of the part of a scan that is shown, and how many scans are.
_SIDE, _SHOWN = 128, 200
_MARKS = {"done": "good", "paused": "look", "begun": "look", "failed": "look"}


def night_report_page(night: Mapping[str, Any], earlier: str | None) -> str:
    """Return the page of a night.

    Args:
        night: What the books say of it.
        earlier: Name of the night before.
    """
    rows = [_row(entry, shows=number < _SHOWN) for number, entry in enumerate(night["done"])]
    page = str(night.get("run", ""))
    run = page if urlsplit(page).scheme in ("http", "https") else ""
    return _template().render(night=night, rows=rows, earlier=earlier, run=run)


@cache
def _template() -> Template:
    source = (resources.files("ilcore.archives") / "night_report.html.j2").read_text(encoding="utf-8")
    return Environment(autoescape=True, undefined=StrictUndefined).from_string(source)


def _row(entry: Mapping[str, Any], *, shows: bool) -> dict[str, Any]:
    outcome = entry["outcome"]
    numbers = outcome.get("numbers", {})
    before, after = _thumbnails(entry["target"]) if shows and entry["standing"] == "done" else ("", "")
    page = str(outcome.get("page", ""))
    is_link = urlsplit(page).scheme in ("http", "https")
    return {
        **{name: entry[name] for name in ("source", "target", "standing", "why", "degraded")},
        "todo": entry.get("todo", ""),
        "drift": entry.get("drift", ""),
        "name": PurePosixPath(entry["source"]).name,
        "mark": _MARKS.get(entry["standing"], "bad"),
        "verdict": outcome.get("verdict", ""),
        "gain": _number(numbers.get("gain_db_estimated"), "{:.1f} dB"),
        "pace": _number(numbers.get("seconds_per_megavoxel"), "{:,.0f}"),
        "report": _link(str(outcome.get("report", ""))),
        "run": "" if is_link else page.partition(" (")[0],
        "run_link": page if is_link else "",
        "before": before,
        "shown": shlex.quote(entry["target"]),
        "after": after,
    }


def _number(value: float | None, words: str) -> str:
    return "–" if value is None else words.format(value)


def _link(place: str) -> str:
    """Return what a browser can follow: a page in a store has no such address."""
    return "" if not place or is_remote(place) else "file://" + quote(place)


def _thumbnails(target: str) -> tuple[str, str]:
    """Return the middle of a scan and of its result as PNG in base64, in one contrast; empty where one is gone."""
    try:
        before, after = _middles(Run.begun(target))
    except (ILError, OSError):
        return "", ""
    known = before[np.isfinite(before)]
    if not known.size:
        return "", ""
    low, high = (float(value) for value in np.percentile(known, (0.5, 99.7)))
    return _png(before, low, high), _png(after, low, high)


def _middles(run: Run) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the middle of the scan as the result shows it, a finer one over its coarser voxels, and of the result."""
    result = open_volume(run.plan.target)
    t, _, z, y, x = result.shape
    spans = [(max(0, (n - _SIDE) // 2), min(n, max(0, (n - _SIDE) // 2) + _SIDE)) for n in (y, x)]
    region = region_of([(t // 2, t // 2 + 1), (0, 1), (z // 2, z // 2 + 1), *spans])
    before, valid = OnResult.of(run).stored(region)
    return data_in(before, valid)[0, 0, 0], result.known(region)[0, 0, 0]


def _png(image: NDArray[Any], low: float, high: float) -> str:
    file = BytesIO()
    shown = np.nan_to_num(image.astype(np.float64), nan=low, posinf=high, neginf=low)
    imsave(file, shown, cmap="gray", vmin=low, vmax=max(high, low + 1e-12), format="png")
    return base64.b64encode(file.getvalue()).decode()
