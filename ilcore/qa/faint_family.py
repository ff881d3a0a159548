"""Faint points as a family: what single ones cannot tell, the mean over all that a picture still shows can.

A point of which half was taken leaves a response in the residual that noise alone reaches dozens of times in a plane.
Where the restored picture shows points, though, it is known where to look: over many of them noise averages out.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ilcore.qa.faint_plane import Hits, Places, Response, Surroundings

Values: TypeAlias = NDArray[Any]

#: Response of the restored picture to a faint point, in noise standard deviations: less may be noise that was kept,
#: more is not faint.
_FAINT = 2.0, 6.0
#: Around it the picture must show no more than these parts of that: anywhere, and as a root mean square.
_LARGEST, _TYPICAL = 0.5, 0.35
#: Points closer than this are one (pixels), and at most so many of a plane are looked at.
_APART, _MOST = 5.0, 1000
#: Offsets of what a peak must exceed.
_NEAR = [(y, x) for y in range(-2, 3) for x in range(-2, 3)]
#: One-sided quantile of the normal law for 95 %.
_QUANTILE = 1.6449


@dataclass(frozen=True)
class Family:
    """Faint points that stand alone in the restored picture.

    Args:
        count: How many.
        taken: Sum of what was taken of each, in noise standard deviations of its matched filter.
        kept: Sum of what the picture shows of them.
    """

    count: float = 0.0
    taken: float = 0.0
    kept: float = 0.0

    @classmethod
    def of(cls, table: Mapping[str, Any]) -> "Family":
        """Return the points of all tiles together, from columns of the ledger; NaN where a tile was not asked."""
        return cls(*(float(np.nansum(table.get(name, 0.0))) for name in ("shown_points", "shown_taken", "shown_kept")))

    def __add__(self, other: "Family") -> "Family":
        return Family(self.count + other.count, self.taken + other.taken, self.kept + other.kept)

    @property
    def lost(self) -> float | None:
        """Return the share of their contrast that they lost at least, with 95 %; None where there are none."""
        whole = self.taken + self.kept
        return (self.taken - _QUANTILE * math.sqrt(self.count)) / whole if self.count and whole > 0 else None


def family_of(responses: Sequence[Response], known: NDArray[np.bool_], rings: Sequence[Any]) -> Hits:
    """Return the faint points that the restored picture shows; `strength` is what was taken of each, `kept` the rest.

    Args:
        responses: Of each filter.
        known: Where something may be found.
        rings: Offsets of the surroundings, by filter.

    Shape:
        known [y, x].
    """
    parts = []
    for number, (response, ring) in enumerate(zip(responses, rings, strict=True)):
        y, x = _peaks(np.abs(response.kept), known)
        if not y.size:
            continue
        own, around = np.abs(response.kept[y, x]), Surroundings.of(response.kept, (y, x), ring)
        taken = np.sign(response.kept[y, x]) * response.taken[y, x]
        alone = (around.largest < _LARGEST * own) & (around.typical < _TYPICAL * own)
        parts.append(Hits(y, x, np.full(len(y), float(number)), own, taken, own).some(alone))
    return Hits.joined(parts).apart(_APART, _MOST)


def _peaks(size: Values, known: NDArray[np.bool_]) -> Places:
    """Return where faint responses are the largest of five by five."""
    here = known & (size > _FAINT[0]) & (size < _FAINT[1])
    # Most places drop out beside their next neighbours, which costs little.
    for axis in (0, 1):
        first, second = (np.moveaxis(each, axis, 0) for each in (here, size))
        first[1:] &= second[1:] >= second[:-1]
        first[:-1] &= second[:-1] >= second[1:]
    y, x = np.divmod(np.flatnonzero(here), here.shape[1])
    largest = size[y, x] >= Surroundings.of(size, (y, x), _NEAR).largest
    return y[largest], x[largest]
