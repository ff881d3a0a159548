"""Faint structure: points and lines searched in what was taken away.

    residual / noise std ─┬─ smoothed by 0 to 2 pixels ──── points      one pixel, a star, a vesicle
                          └─ summed along 12 directions ─── lines       a filament, a road, a scratch

A response counts where noise alone would give it in one of twenty tiles or less, however many places were looked at,
and where the restored picture around is quiet: every good denoiser leaves some of a sharp edge in its residual. Where
the restored picture still shows some of a point, what is left counts as evidence that it is one.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from ilcore.grammar.problem import Noise
from ilcore.qa.chances import CHANCE
from ilcore.qa.faint_family import Family, family_of
from ilcore.qa.faint_lines import LINE, line_hits
from ilcore.qa.faint_plane import FILTERS, QuietPlane, Response
from ilcore.qa.faint_points import RINGS, WIDTHS, point_hits, point_responses

Values: TypeAlias = NDArray[Any]
#: A line must stand out by so much more than a point: edges and stripes of the scene leave some of themselves.
_LINES_OVER_POINTS = 0.75
#: Responses closer than this are one finding (pixels): points, and what lies along a line.
_APART, _BESIDE = 5.0, 6.0
#: At most so many findings of a tile are told apart; where more were found, the number is a lower bound.
MOST = 1000

#: The tails of a residual are asked for from so many values on, those beyond so many deviations left out.
_FEWEST, _OUTLIER = 4000, 5.0


@dataclass(frozen=True)
class Trace:
    """A point or a line that was taken away.

    Args:
        kind: What it is.
        place: Channel, depth, y, x of its middle.
        size: Width of a point (standard deviation, pixels; 0: one pixel), length of the piece of line that was tried.
        angle: Direction of a line, radians from the x axis towards larger y; 0 for points.
        strength: Matched-filter response of what was taken away, in noise standard deviations; negative: it was dark.
        kept: Share of its contrast that the restored picture still has.
    """

    kind: Literal["point", "line"]
    place: tuple[int, int, int, int]
    size: float
    angle: float
    strength: float
    kept: float


@dataclass(frozen=True)
class Shown:
    """A faint point that the restored picture still shows.

    Args:
        place: Channel, depth, y, x.
        taken: What was taken of it, in noise standard deviations of its matched filter.
        kept: What the picture shows of it.
    """

    place: tuple[int, int, int, int]
    taken: float
    kept: float


@dataclass(frozen=True)
class Faint:
    """What was found: what was taken away, strongest first, and faint points that are still there."""

    traces: tuple[Trace, ...]
    shown: tuple[Shown, ...]


def search(
    noisy: Values, restored: Values, trusted: NDArray[np.bool_], noise: Sequence[Noise], chance: float = CHANCE
) -> Faint:
    """Return the points and lines that were taken away, and the faint points that were kept.

    Args:
        noisy: Observation.
        restored: Restoration, in the same units.
        trusted: Where the observation is data.
        noise: Noise of each channel, in the same units.
        chance: Chance at which noise alone, perfectly removed, may show one anywhere.

    Shape:
        noisy, restored, trusted [channel, z, y, x].

    Reference:
        Matched filters under a familywise error rate; the local scale is that of constant-false-alarm detectors:
        Rohling, "Radar CFAR thresholding in clutter and multiple target situations", IEEE TAES 1983. Sums along lines
        by doubling: Brady, "A fast discrete approximation algorithm for the Radon transform", SIAM J. Comput. 1998.
    """
    limit = limit_of(int(trusted.sum()), chance)
    found: list[Trace] = []
    shown: list[Shown] = []
    for channel in range(len(noisy)):
        excess = _excess(noisy[channel], restored[channel], trusted[channel], noise[channel])
        limits = _with_tails(limit, excess), limit
        for z in range(noisy.shape[1]):
            here = (noisy[channel, z], restored[channel, z], trusted[channel, z])
            if here[2].any() and min(here[2].shape) > 2:
                plane = QuietPlane.of(*here, noise[channel])
                responses = point_responses(plane)
                found += _in_plane(plane, responses, (channel, z), *limits)
                shown += _shown_in(plane, responses, (channel, z))
    return Faint(tuple(sorted(found, key=lambda trace: -abs(trace.strength))), tuple(shown))


def limit_of(places: int, chance: float = CHANCE) -> float:
    """Return the response, in noise standard deviations, that noise alone exceeds anywhere with some chance."""
    return -float(ndtri(chance / (2 * FILTERS * max(places, 1))))


def _excess(noisy: Values, restored: Values, trusted: NDArray[np.bool_], noise: Noise) -> float:
    """Return by how much the kurtosis of the residual surely exceeds that of normal noise; a few outliers do not count.

    Noise of real detectors has slightly heavier tails than the normal law, which tells among millions of voxels.
    """
    if trusted.sum() < _FEWEST:
        return 0.0
    image = restored[trusted]
    scaled = (noisy[trusted] - image) / np.sqrt(np.maximum(noise.variance(image), 1e-12))
    scaled = scaled - np.median(scaled)
    scaled = scaled[np.abs(scaled) < _OUTLIER * 1.4826 * float(np.median(np.abs(scaled)))]
    if scaled.size < _FEWEST:
        return 0.0
    kurtosis = float((scaled**4).mean() / (scaled**2).mean() ** 2)
    return max(0.0, kurtosis - 3.0 - 2.0 * math.sqrt(24.0 / scaled.size))


def _with_tails(limit: float, excess: float) -> float:
    """Return the response that noise of some excess kurtosis exceeds as often as normal noise exceeds a limit.

    Reference:
        Cornish & Fisher, "Moments and cumulants in the specification of distributions", 1938 (third order).
    """
    return limit + excess * (limit**3 - 3 * limit) / 24


def counted(found: Faint, core: tuple[slice, ...] | None = None) -> dict[str, float]:
    """Return the findings of a tile.

    Args:
        found: What was found.
        core: What the tile owns, [channel, z, y, x]: what it shares with its neighbours they count too.

    Returns:
        faint_points, faint_lines: how many were taken away.
        shown_points, shown_taken, shown_kept: how many faint points are still there, and sums of what was taken and
            kept of them.
    """
    own = [trace for trace in found.traces if core is None or _is_in(trace.place, core)]
    family = sum(
        (Family(1, each.taken, each.kept) for each in found.shown if core is None or _is_in(each.place, core)),
        Family(),
    )
    taken_away = {f"faint_{kind}s": float(sum(trace.kind == kind for trace in own)) for kind in ("point", "line")}
    return taken_away | {"shown_points": family.count, "shown_taken": family.taken, "shown_kept": family.kept}


def _is_in(place: tuple[int, int, int, int], core: tuple[slice, ...]) -> bool:
    return all(span.start <= at < span.stop for at, span in zip(place[1:], core[1:], strict=True))


def _shown_in(plane: QuietPlane, responses: Sequence[Response], place: tuple[int, int]) -> Iterator[Shown]:
    for y, x, _, taken, kept in family_of(responses, plane.known, RINGS).rows():
        yield Shown((*place, y, x), taken, kept)


def _in_plane(
    plane: QuietPlane, responses: Sequence[Response], place: tuple[int, int], limit: float, of_lines: float
) -> Iterator[Trace]:
    lines = line_hits(plane, of_lines + _LINES_OVER_POINTS).apart(LINE / 2, MOST)
    points = point_hits(plane, responses, limit).apart(_APART, MOST)
    # A strong point makes lines through it, a line points along it: the stronger of them is what it is.
    lines = lines.stronger(points, LINE / 2, _BESIDE)
    points = points.beside(lines, LINE / 2, _BESIDE)
    for kind, hits in (("line", lines), ("point", points)):
        for y, x, which, strength, kept in hits.rows():
            size, angle = (float(LINE), which) if kind == "line" else (WIDTHS[int(which)], 0.0)
            yield Trace(kind, (*place, y, x), size, angle, strength, kept)  # type: ignore[arg-type]
