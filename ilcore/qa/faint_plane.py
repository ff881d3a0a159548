"""One plane in which faint structure is searched, and what a search finds in it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.special import ndtri

from ilcore.grammar.problem import Noise
from ilcore.qa.chances import CHANCE

Values: TypeAlias = NDArray[Any]
#: Rows and columns of some pixels.
Places: TypeAlias = tuple[NDArray[np.intp], NDArray[np.intp]]

#: Noise below this part of the value range is rounding, not noise.
LEAST_STD = 0.002
#: Share of what a filter sees of the restored picture around that counts as noise where the kept part of a point is
#: added to what was taken away; and how many times the largest response around that part must be.
LEFT_OF_BOTH, OUT = 0.5, 1.5
#: The least scale that is believed of a residual: a method that keeps noise leaves less.
LEAST_SCALE = 0.95
#: A response must take at least this share of its contrast away, and be this many standard deviations, to count.
LOST, LEAST, SHOWN = 0.45, 2.3, 1.5
#: Responses of several filters and all places, in terms of independent ones: measured on white noise.
FILTERS = 4.0
#: Stronger responses than this are held down where scales are measured.
_STRONG = 2.5
#: Mean square of Gaussian noise so held down.
_HELD = 0.978
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
        reach: Side of the box (pixels) in which its scale is measured: what is found must not be much of it.
        step: Every how many pixels it is measured.
    """

    taken: Values
    kept: Values
    reach: int
    step: int

    def candidates(self, known: NDArray[np.bool_], limit: float) -> Places:
        """Return where a closer look may find more than the limit."""
        taken, whole = np.abs(self.taken), np.abs(self.taken + self.kept)
        least = LEAST_SCALE * limit
        lost = (taken > LEAST) & (whole > least) & (taken > LOST * whole)
        y, x = np.divmod(np.flatnonzero(((taken > least) | lost) & known), known.shape[1])
        return y, x

    def shown(self, known: NDArray[np.bool_]) -> int:
        """Return at how many places the restored picture shows something."""
        return int(((np.abs(self.kept) > SHOWN) & known).sum())

    def scaled(self) -> "Response":
        """Return the response over its own scale, where noise is stronger, or more correlated, than was told."""
        step = 3 if self.taken.size < _LARGE else 8
        scale = max(1.0, float(np.median(np.abs(self.taken[::step, ::step]))) / 0.6745)
        if scale == 1:
            return self
        return Response(self.taken / np.float32(scale), self.kept / np.float32(scale), self.reach, self.step)

    def scores(
        self, at: Places, known: NDArray[np.bool_], around: "Surroundings", left: float, skewness: Values | None
    ) -> tuple[Values, Values, Values]:
        """Return score, signed response and kept share at candidates.

        Args:
            at: Rows and columns of the candidates.
            known: Where something may be found.
            around: The restored picture around each.
            left: Share of what the filter sees around that good denoisers take away.
            skewness: Of the filtered noise at each, where it is not Gaussian.
        """
        sign = np.sign(self.taken[at])
        taken, kept = np.abs(self.taken[at]), sign * self.kept[at]
        whole = taken + kept
        alone = taken / np.hypot(self._scale(self.taken, at), left * around.typical)
        together = whole / np.hypot(self._scale(self.taken + self.kept, at), LEFT_OF_BOTH * around.typical)
        able = kept > SHOWN
        stands_out = able & (kept > OUT * around.largest)
        # Of many points that were kept, noise alone makes a few look as if they had been lost.
        many = max(self.shown(known) * float(stands_out[able].mean()) if stands_out.any() else 0, 1.0)
        is_lost = (taken > LOST * whole) & (taken > max(LEAST, -float(ndtri(CHANCE / (FILTERS * many)))))
        score = np.maximum(alone, np.where(stands_out & is_lost, together, 0))
        if skewness is not None:
            score = np.where(sign > 0, as_gaussian(score, skewness), score)
        return score, sign * taken, np.clip(kept / np.maximum(whole, 1e-6), 0, 1)

    def _scale(self, response: Values, at: Places) -> Values:
        """Return the root mean square of a response around some places, single strong values held down."""
        power = np.minimum(response[:: self.step, :: self.step] ** 2, _STRONG**2)
        around = ndimage.uniform_filter(power, self.reach // self.step, mode="reflect")
        scale = around[at[0] // self.step, at[1] // self.step] / _HELD
        return np.asarray(np.sqrt(np.maximum(scale, LEAST_SCALE**2)))


@dataclass(frozen=True)
class Surroundings:
    """Response of a filter to the restored picture around candidates: root mean square, and largest absolute value."""

    typical: Values
    largest: Values

    @classmethod
    def of(cls, kept: Values, at: Places, offsets: Sequence[tuple[int, int]]) -> "Surroundings":
        """Look at some offsets (down, across) from each candidate; beyond the edges the image is mirrored."""
        power, largest = np.zeros(len(at[0]), np.float32), np.zeros(len(at[0]), np.float32)
        rows, columns = (
            {step: _mirrored(at[axis] + step, kept.shape[axis]) for step in {offset[axis] for offset in offsets}}
            for axis in (0, 1)
        )
        for down, across in offsets:
            value = np.abs(kept[rows[down], columns[across]])
            power += value**2
            np.maximum(largest, value, out=largest)
        return cls(np.sqrt(power / len(offsets)), largest)


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
        left, kept = np.argsort(-self.score, kind="stable"), list[np.intp]()
        while left.size and len(kept) < most:
            best, left = left[0], left[1:]
            kept.append(best)
            left = left[np.hypot(self.y[left] - self.y[best], self.x[left] - self.x[best]) > distance]
        return self.some(np.array(kept, np.intp))

    def beside(self, lines: "Hits", half: float, distance: float) -> "Hits":
        """Return the hits that do not lie along a line; `half` is half its length, `which` of lines their angle."""
        away = np.ones(len(self.y), bool)
        for number in range(len(lines.y)):
            away &= ~self._along(lines, number, half, distance)
        return self.some(away)

    def stronger(self, points: "Hits", half: float, distance: float) -> "Hits":
        """Return the lines that are stronger than each point along them."""
        along = (points._along(self, number, half, distance) for number in range(len(self.y)))
        best = [float(points.score[near].max(initial=0)) for near in along]
        return self.some(self.score > np.array(best))

    def _along(self, lines: "Hits", number: int, half: float, distance: float) -> NDArray[np.bool_]:
        down, right, angle = self.y - lines.y[number], self.x - lines.x[number], lines.which[number]
        along, across = (
            right * np.cos(angle) + down * np.sin(angle),
            down * np.cos(angle) - right * np.sin(angle),
        )
        return np.asarray((np.abs(along) <= half + distance) & (np.abs(across) <= distance))

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


def _mirrored(index: NDArray[np.intp], length: int) -> NDArray[np.intp]:
    """Return indices that left an axis, mirrored at its ends."""
    inside = np.abs(index)
    return np.asarray(np.clip(np.where(inside >= length, 2 * length - 2 - inside, inside), 0, length - 1))


def halved(a: Values) -> Values:
    """Return an image smoothed by (1, 2, 1) / 4 along both axes, a Gaussian of variance a half; edges repeat."""
    p = np.pad(a, 1, mode="edge")
    p = 0.25 * p[:-2] + 0.5 * p[1:-1] + 0.25 * p[2:]
    return np.asarray(0.25 * p[:, :-2] + 0.5 * p[:, 1:-1] + 0.25 * p[:, 2:])


def background(a: Values, side: int) -> Values:
    """Return the mean of the box around every pixel."""
    return np.asarray(ndimage.uniform_filter(a, side, mode="nearest"))
