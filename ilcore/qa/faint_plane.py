"""One plane in which faint structure is searched, and what a search finds in it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ilcore.grammar.problem import Noise

Values: TypeAlias = NDArray[Any]

#: Side of the box whose mean is background.
BACKGROUND = 13
#: Noise below this part of the value range is rounding, not noise.
LEAST_STD = 0.002
#: Share of what a filter sees of the restored picture around that may be left in the residual: of texture and edges
#: good denoisers leave about a third.
LEFT = 0.5
#: Scales that are believed: of a residual from a method that keeps some noise, and of the noisy picture.
LEAST_RESIDUAL, LEAST_NOISY = 0.95, 0.95
#: A response must take at least this share of its contrast away, and be this many standard deviations, to count.
LOST, LEAST = 0.4, 2.3
#: Side of the box in which scales are measured, in pixels; on every second pixel.
_AROUND, _STEP = 33, 2
#: Planes of so many pixels have a median in every eighth row and column.
_LARGE = 20_000


@dataclass(frozen=True)
class QuietPlane:
    """A plane of one channel: what was taken away over the noise, the restored picture, and where both are known.

    Args:
        taken: Residual over the standard deviation of the noise at each pixel; 0 where nothing is known.
        picture: Restored picture.
        std: Standard deviation of the noise at each pixel.
        skewness: Of the noise at each pixel; 0 for Gaussian noise.
        known: Where something may be found: data, and what lies around it too.

    Shape:
        all [y, x].
    """

    taken: Values
    picture: Values
    std: Values
    skewness: Values | None
    known: NDArray[np.bool_]

    @classmethod
    def of(cls, noisy: Values, restored: Values, trusted: NDArray[np.bool_], noise: Noise) -> "QuietPlane":
        """Return the plane of an observation and its restoration."""
        picture = np.nan_to_num(restored.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
        variance = np.broadcast_to(np.asarray(noise.variance(picture), np.float32), picture.shape)
        # A restoration a little below the dark level would make the variance vanish.
        variance = np.maximum(variance, max(0.02 * float(variance[trusted].mean()), LEAST_STD**2))
        std = np.sqrt(variance)
        taken = np.where(trusted, noisy - picture, 0).astype(np.float32) / std
        # The third moment of counts is their mean: of grey levels, the gain times the part of the variance they make.
        skewness = noise.gain * np.maximum(variance - np.float32(noise.read_std**2), 0) / (variance * std)
        known = trusted if trusted.all() else ndimage.binary_erosion(trusted, iterations=3, border_value=1)
        return cls(taken, picture, std, skewness if noise.gain > 0 else None, known)


@dataclass(frozen=True)
class Response:
    """What one filter answers, in standard deviations of noise filtered alike.

    Args:
        taken: To what was taken away.
        kept: To the restored picture.
    """

    taken: Values
    kept: Values

    def candidates(self, known: NDArray[np.bool_], limit: float) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Return where a closer look may find more than the limit."""
        strong = np.abs(self.taken) > LEAST_RESIDUAL * limit
        both = (np.abs(self.taken + self.kept) > LEAST_NOISY * limit) & (np.abs(self.taken) > LEAST)
        y, x = np.nonzero((strong | both) & known)
        return y, x

    def scaled(self) -> "Response":
        """Return the response over its own scale, where noise is stronger, or more correlated, than was told."""
        step = 3 if self.taken.size < _LARGE else 8
        scale = max(1.0, float(np.median(np.abs(self.taken[::step, ::step]))) / 0.6745)
        if scale == 1:
            return self
        return Response(self.taken / np.float32(scale), self.kept / np.float32(scale))

    def scores(
        self, at: tuple[NDArray[np.intp], NDArray[np.intp]], activity: Values, around: Values, skewness: Values | None
    ) -> tuple[Values, Values, Values]:
        """Return score, signed response and kept share at candidates.

        Args:
            at: Rows and columns of the candidates.
            activity: Root mean square of the same response to the restored picture around each.
            around: Response to the restored picture above which a candidate stands out from its surroundings.
            skewness: Of the filtered noise at each, where it is not Gaussian.
        """
        sign = np.sign(self.taken[at])
        taken, kept = np.abs(self.taken[at]), sign * self.kept[at]
        whole, loud = taken + kept, (LEFT * activity) ** 2
        alone = taken / np.sqrt(np.maximum(LEAST_RESIDUAL, _scale(self.taken)[_half(at)]) ** 2 + loud)
        together = whole / np.sqrt(np.maximum(LEAST_NOISY, _scale(self.taken + self.kept)[_half(at)]) ** 2 + loud)
        stands_out = (kept > around) & (taken > LOST * whole) & (taken > LEAST)
        score = np.maximum(alone, np.where(stands_out, together, 0))
        if skewness is not None:
            score = np.where(sign > 0, as_gaussian(score, skewness), score)
        return score, sign * taken, np.clip(kept / np.maximum(whole, 1e-6), 0, 1)

    def activity(self, at: tuple[NDArray[np.intp], NDArray[np.intp]]) -> Values:
        """Return the root mean square of the response to the restored picture around candidates."""
        return _scale(self.kept, np.inf)[_half(at)]


@dataclass(frozen=True)
class Hits:
    """Responses beyond the limit.

    Shape:
        all [hit]; `which` is the filter's number or angle.
    """

    y: NDArray[np.intp]
    x: NDArray[np.intp]
    which: Values
    score: Values
    strength: Values
    kept: Values

    @classmethod
    def joined(cls, parts: "list[Hits]") -> "Hits":
        """Return the hits of several filters together."""
        none = np.zeros(0, np.intp)
        if not parts:
            return cls(none, none, *(np.zeros(0),) * 4)
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in cls.__annotations__))

    def some(self, chosen: Any) -> "Hits":
        """Return some of the hits."""
        return Hits(*(getattr(self, name)[chosen] for name in self.__annotations__))

    def apart(self, distance: float, most: int) -> "Hits":
        """Return the strongest hits of which no two are nearer than a distance, at most so many."""
        left, kept = np.argsort(-self.score, kind="stable"), []
        while left.size and len(kept) < most:
            best, left = left[0], left[1:]
            kept.append(best)
            left = left[np.hypot(self.y[left] - self.y[best], self.x[left] - self.x[best]) > distance]
        return self.some(np.array(kept, np.intp))

    def beside(self, lines: "Hits", half: float, distance: float) -> "Hits":
        """Return the hits that do not lie along a line; `half` is half its length, `which` of lines their angle."""
        away = np.ones(len(self.y), bool)
        for y, x, angle, _, _ in lines.rows():
            along = (self.x - x) * np.cos(angle) + (self.y - y) * np.sin(angle)
            across = (self.y - y) * np.cos(angle) - (self.x - x) * np.sin(angle)
            away &= (np.abs(along) > half + distance) | (np.abs(across) > distance)
        return self.some(away)

    def rows(self) -> Iterator[tuple[int, int, float, float, float]]:
        """Go through y, x, which, strength and kept of all hits."""
        for row in zip(self.y, self.x, self.which, self.strength, self.kept, strict=True):
            yield int(row[0]), int(row[1]), float(row[2]), float(row[3]), float(row[4])


def as_gaussian(value: Values, skewness: Values) -> Values:
    """Return the Gaussian standard deviations that are exceeded as rarely as a value of skewed noise.

    Reference:
        Wilson & Hilferty, "The distribution of chi-square", PNAS 1931: the cube root of a gamma variable is Gaussian.
        Sums of counts have lighter tails than a gamma variable of their skewness, so nothing is found too often.
    """
    shape = 4 / np.maximum(skewness, 1e-3) ** 2
    root: Values = np.cbrt(np.maximum(1 + value / np.sqrt(shape), 0))
    return np.asarray(3 * np.sqrt(shape) * (root - 1 + 1 / (9 * shape)))


def halved(a: Values) -> Values:
    """Return an image smoothed by (1, 2, 1) / 4 along both axes, a Gaussian of variance a half; edges repeat."""
    p = np.pad(a, 1, mode="edge")
    p = 0.25 * p[:-2] + 0.5 * p[1:-1] + 0.25 * p[2:]
    return np.asarray(0.25 * p[:, :-2] + 0.5 * p[:, 1:-1] + 0.25 * p[:, 2:])


def background(a: Values) -> Values:
    """Return the mean of the box around every pixel."""
    return np.asarray(ndimage.uniform_filter(a, BACKGROUND, mode="nearest"))


def _scale(response: Values, most: float = 3.0) -> Values:
    """Return the root mean square of a response around every second pixel, single strong ones held down."""
    power = np.minimum(response[::_STEP, ::_STEP] ** 2, most**2)
    return np.sqrt(np.maximum(ndimage.uniform_filter(power, _AROUND // _STEP, mode="reflect"), 0))


def _half(at: tuple[NDArray[np.intp], NDArray[np.intp]]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    return at[0] // _STEP, at[1] // _STEP
