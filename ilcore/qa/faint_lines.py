"""Lines in what was taken away: sums along pieces of line in many directions."""

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ilcore.qa.faint_plane import Hits, QuietPlane, Response, Surroundings, background, halved

Values: TypeAlias = NDArray[Any]

#: Length of the pieces (pixels), by so many doublings, and how many directions are tried.
_DOUBLINGS, _DIRECTIONS = 4, 12
LINE = 2**_DOUBLINGS
ANGLES = tuple(np.pi * number / _DIRECTIONS for number in range(_DIRECTIONS))
#: What one pixel may add to a line: a hot one is a point.
_MOST = 4.0
#: Distances (pixels) to both sides at which a line's surroundings are looked at.
_SIDES = (4, 5, 6, 7, 8)
#: Share of what the filter sees of the restored picture there that good denoisers take away.
_LEFT = 0.05
#: Side of the box in which the scale of responses is measured, and every how many pixels.
_STEP = 4
_REACH = 65
#: Side of the box whose mean is background: a line must not be much of it.
_BACKGROUND = 25


def line_hits(plane: QuietPlane, limit: float) -> Hits:
    """Return the responses of all directions that are beyond the limit."""
    taken, picture = np.clip(plane.taken, -_MOST, _MOST), _prepared(plane.picture) / plane.std
    taken = _prepared(taken)
    parts = []
    for angle, (norm, skew) in zip(ANGLES, _NORMS, strict=True):
        response = Response(_summed(taken, angle) / norm, _summed(picture, angle) / norm, _REACH, _STEP).scaled()
        at = response.candidates(plane.known, limit)
        if not at[0].size:
            continue
        skewness = None if plane.skewness is None else plane.skewness[at] * skew
        around = Surroundings.of(response.kept, at, _sides(angle))
        score, strength, share = response.scores(at, plane.known, around, _LEFT, skewness)
        parts.append(Hits(*at, np.full(len(score), angle), score, strength, share).some(score > limit))
    return Hits.joined(parts)


def _prepared(image: Values) -> Values:
    return np.asarray(halved(image) - background(image, _BACKGROUND))


def _summed(image: Values, angle: float) -> Values:
    """Return the sums along pieces of line around every pixel; beyond the edges there is nothing."""
    down, across = np.sin(angle), np.cos(angle)
    # One step is one pixel along the longer axis.
    unit = max(abs(down), abs(across))
    for doubling in range(_DOUBLINGS):
        image = _plus(image, *_step(2**doubling * down / unit, 2**doubling * across / unit))
    half = (LINE - 1) / 2
    return _moved(image, *_step(-half * down / unit, -half * across / unit))


def _sides(angle: float) -> list[tuple[int, int]]:
    away = (side * sign for side in _SIDES for sign in (1, -1))
    return [_step(distance * np.cos(angle), -distance * np.sin(angle)) for distance in away]


def _step(down: float, across: float) -> tuple[int, int]:
    return round(float(down)), round(float(across))


def _plus(image: Values, down: int, across: int) -> Values:
    out = image.copy()
    here, there = _overlap(image.shape, down, across)
    out[here] += image[there]
    return out


def _moved(image: Values, down: int, across: int) -> Values:
    out = np.zeros_like(image)
    here, there = _overlap(image.shape, down, across)
    out[here] = image[there]
    return out


def _overlap(shape: tuple[int, ...], down: int, across: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Return the places of an image whose partner, so many pixels further, lies in it too, and the partners."""
    ends = [_ends(length, step) for length, step in zip(shape, (down, across), strict=True)]
    return (ends[0][0], ends[1][0]), (ends[0][1], ends[1][1])


def _ends(length: int, step: int) -> tuple[slice, slice]:
    step = max(-length, min(length, step))
    return slice(max(-step, 0), length - max(step, 0)), slice(max(step, 0), length - max(-step, 0))


def _norms() -> list[tuple[float, float]]:
    """Return for each direction the standard deviation, and the skewness, that white noise of 1 and 1 has."""
    dot = np.zeros((81, 81))
    dot[40, 40] = 1
    kernels = [_summed(_prepared(dot), angle) for angle in ANGLES]
    stds = [float(np.sqrt((kernel**2).sum())) for kernel in kernels]
    return [(std, float((kernel**3).sum()) / std**3) for kernel, std in zip(kernels, stds, strict=True)]


_NORMS = _norms()
