"""Whether a volume or an array has stripes that are subtracted before anything else is asked of it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ilcore.degradations.stripes import Direction, Values, direction_of, without_stripes


def stripes_in(samples: Sequence[NDArray[Any]]) -> Direction | None:
    """Return what shares offsets, columns or rows; None unless all channels that vary show the same.

    Shape:
        each sample [channel, z, y, x], as stored; NaN where it is no data.
    """
    channels = range(max((len(sample) for sample in samples), default=0))
    planes = [[plane for sample in samples for plane in sample[n].astype(np.float64)] for n in channels]
    found = {direction_of(each) for each in planes if any(_varies(plane) for plane in each)}
    return found.pop() if len(found) == 1 else None


def destriped(samples: Sequence[NDArray[Any]], direction: Direction | None) -> list[NDArray[Any]]:
    """Return samples without stripes, or as they are where there are none."""
    return list(samples) if direction is None else [without_stripes(sample, direction) for sample in samples]


def words_of(direction: Direction) -> str:
    """Say in half a sentence what is done."""
    return f"each {direction} has an offset of its own (stripes), which is subtracted first"


def _varies(plane: Values) -> bool:
    known = plane[np.isfinite(plane)]
    return known.size > 0 and bool(known.min() < known.max())
