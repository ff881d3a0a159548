"""Points in what was taken away: matched filters from one pixel up."""

from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ilcore.qa.faint_plane import Hits, QuietPlane, Response, background, halved

Values: TypeAlias = NDArray[Any]

#: Smoothings by (1, 2, 1) / 4 under which points are looked for, and the Gaussian width each amounts to.
_TIMES = (0, 1, 2, 4, 8)
WIDTHS = tuple(float(np.sqrt(times / 2)) for times in _TIMES)
#: Ring (inner and outer radius, pixels) of the surroundings; the inner one grows with the filter.
_INNER, _OUTER = (3, 3, 3, 4, 5), 7
#: A point stands out that is so many times the largest response around it.
_OUT = 1.5


def point_hits(plane: QuietPlane, limit: float) -> Hits:
    """Return the responses of all filters that are beyond the limit."""
    parts = []
    both = zip(_filtered(plane.taken), _filtered(plane.picture), strict=True)
    for number, (taken, kept) in enumerate(both):
        norm, skew = _NORMS[number]
        response = Response(taken / norm, kept / (plane.std * norm)).scaled()
        at = response.candidates(plane.known, limit)
        if not at[0].size:
            continue
        activity, largest = _around(response.kept, at, number)
        skewness = None if plane.skewness is None else plane.skewness[at] * skew
        score, strength, share = response.scores(at, activity, _OUT * largest, skewness)
        found = Hits(*at, np.full(len(score), float(number)), score, strength, share)
        parts.append(found.some(score > limit))
    return Hits.joined(parts)


def _filtered(image: Values) -> Iterator[Values]:
    """Yield an image under each filter, its background taken off."""
    ground, smooth = background(image), image
    for before, times in zip((0, *_TIMES), _TIMES, strict=False):
        for _ in range(times - before):
            smooth = halved(smooth)
        yield smooth - ground


def _around(kept: Values, at: tuple[NDArray[np.intp], NDArray[np.intp]], number: int) -> tuple[Values, Values]:
    """Return root mean square and largest absolute value of a response in the ring around candidates."""
    wide = np.pad(np.abs(kept), _OUTER, mode="reflect" if min(kept.shape) > _OUTER else "edge")
    power, largest = np.zeros(len(at[0]), np.float32), np.zeros(len(at[0]), np.float32)
    ring = _ring(_INNER[number])
    for down, across in ring:
        value = wide[at[0] + down, at[1] + across]
        power += value**2
        np.maximum(largest, value, out=largest)
    return np.sqrt(power / len(ring)), largest


def _ring(inner: int) -> list[tuple[int, int]]:
    rows, columns = np.mgrid[-_OUTER : _OUTER + 1, -_OUTER : _OUTER + 1]
    distance = np.hypot(rows, columns)
    inside = (inner <= distance) & (distance <= _OUTER)
    return [(int(y), int(x)) for y, x in np.argwhere(inside)]


def _norms() -> list[tuple[float, float]]:
    """Return of each filter the standard deviation, and the skewness, that white noise of 1 and 1 has under it."""
    dot = np.zeros((41, 41))
    dot[20, 20] = 1
    kernels = list(_filtered(dot))
    stds = [float(np.sqrt((kernel**2).sum())) for kernel in kernels]
    return [(std, float((kernel**3).sum()) / std**3) for kernel, std in zip(kernels, stds, strict=True)]


_NORMS = _norms()
