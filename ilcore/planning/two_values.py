"""Masks that do not say that they are: two values only, in areas that hang together."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ilcore.grammar.errors import BadVolume
from ilcore.volumes.volume import Volume

#: Neighbours of a mask differ less often than this share of what chance would make of two values; counted photons, of
#: which there are none or one in a pixel, differ as often as that.
_COHERENT = 0.5


def check_is_no_mask(samples: Sequence[NDArray[Any]], volume: Volume) -> None:
    """Refuse a volume of two values in areas: there is no noise in it, and no value between them has a meaning.

    Args:
        samples: [channel, z, y, x] each; NaN where they are no data.
        volume: For the message.

    Raises:
        BadVolume: It is a mask.
    """
    held = [np.unique(sample[np.isfinite(sample)]) for sample in samples]
    if max((one.size for one in held), default=0) > 2:
        return
    values = np.unique(np.concatenate(held)) if held else np.zeros(0)
    if values.size == 2 and _differing(samples, values[1]) < _COHERENT:
        low, high = (f"{value:g}" for value in values)
        raise BadVolume(
            f"an image whose values measure something was wanted, {volume.name} holds {low} and {high} only, in areas, "
            "as a mask does; leave it out, or have it copied unchanged with task copy (--task copy)"
        )


def _differing(samples: Sequence[NDArray[Any]], high: float) -> float:
    """Return how often neighbours along x differ, over how often they would by chance."""
    pairs = differing = highs = pixels = 0
    for sample in samples:
        known = np.isfinite(sample)
        both = known[..., 1:] & known[..., :-1]
        pairs += int(both.sum())
        differing += int((both & (sample[..., 1:] != sample[..., :-1])).sum())
        highs, pixels = highs + int((sample == high).sum()), pixels + int(known.sum())
    share = highs / max(pixels, 1)
    chance = 2 * share * (1 - share)
    return 1.0 if not pairs or not chance else differing / pairs / chance
