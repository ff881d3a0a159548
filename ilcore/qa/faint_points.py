"""Points in what was taken away: matched filters from one pixel up."""

import math
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ilcore.qa.faint_plane import Hits, QuietPlane, Response, Surroundings, background, halved

Values: TypeAlias = NDArray[Any]

#: Smoothings by (1, 2, 1) / 4 under which points are looked for, and the Gaussian width each amounts to.
_TIMES = (0, 1, 2, 4, 8)
WIDTHS = tuple(float(np.sqrt(times / 2)) for times in _TIMES)
#: Ring (inner and outer radius, pixels) of the surroundings; the inner one grows with the filter.
_INNER, _OUTER = (3, 3, 3, 4, 5), 7
#: Share of what a filter sees of the restored picture in the ring that good denoisers take away.
_LEFT = 0.1
#: Side of the box in which the scale of responses is measured, and every how many pixels.
_STEP = 2
_REACH = 33
#: Side of the box whose mean is background.
_BACKGROUND = 21


def point_responses(plane: QuietPlane) -> list[Response]:
    """Return the responses of all filters."""
    both = zip(_filtered(plane.taken), _filtered(plane.picture), _NORMS, strict=True)
    return [
        Response(taken / norm, kept / (plane.std * norm), _REACH, _STEP).scaled() for taken, kept, (norm, _) in both
    ]


def point_hits(plane: QuietPlane, responses: Sequence[Response], limit: float) -> Hits:
    """Return the responses of all filters that are beyond the limit."""
    parts = []
    for number, response in enumerate(responses):
        _, skew = _NORMS[number]
        at = response.candidates(plane.known, limit)
        if not at[0].size:
            continue
        skewness = None if plane.skewness is None else plane.skewness[at] * skew
        around = Surroundings.of(response.kept, at, RINGS[number])
        score, strength, share = response.scores(at, plane.known, around, _LEFT, skewness)
        found = Hits(*at, np.full(len(score), float(number)), score, strength, share)
        parts.append(found.some(score > limit))
    return Hits.joined(parts)


def _filtered(image: Values) -> Iterator[Values]:
    """Yield an image under each filter, its background taken off."""
    ground, smooth = background(image, _BACKGROUND), image
    for before, times in zip((0, *_TIMES), _TIMES, strict=False):
        for _ in range(times - before):
            smooth = halved(smooth)
        yield smooth - ground


def _ring(inner: int) -> list[tuple[int, int]]:
    reach = range(-_OUTER, _OUTER + 1)
    return [(y, x) for y in reach for x in reach if inner <= math.hypot(y, x) <= _OUTER]


def _norms() -> list[tuple[float, float]]:
    """Return of each filter the standard deviation, and the skewness, that white noise of 1 and 1 has under it."""
    dot = np.zeros((61, 61))
    dot[30, 30] = 1
    kernels = list(_filtered(dot))
    stds = [float(np.sqrt((kernel**2).sum())) for kernel in kernels]
    return [(std, float((kernel**3).sum()) / std**3) for kernel, std in zip(kernels, stds, strict=True)]


_NORMS, RINGS = _norms(), [_ring(inner) for inner in _INNER]
