"""Is a restoration faithful to what people measure in it: faint structure, light, channels, frames?"""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ilcore.grammar.problem import Noise
from ilcore.qa.bleeding import bleeding
from ilcore.qa.chances import CHANCE
from ilcore.qa.faint import counted, search
from ilcore.qa.flicker import movie_checks
from ilcore.qa.photometry import Light, photometry

Values: TypeAlias = NDArray[Any]


def faithful(
    noisy: Values,
    restored: Values,
    trusted: NDArray[np.bool_],
    noise: Sequence[Noise],
    *,
    zeros: Sequence[float] | None = None,
    is_movie: bool = False,
    chance: float = CHANCE,
    core: tuple[slice, ...] | None = None,
) -> dict[str, float]:
    """Return the findings on one tile; checks that cannot be made are absent.

    Args:
        noisy: Observation, normalised.
        restored: Restoration, in the same units.
        trusted: Where the observation is data.
        noise: Noise of each channel, in the same units.
        zeros: Level of no light of each channel, for ratios; 0 by default.
        is_movie: Whether the planes of the tile are frames that follow each other.
        chance: Chance at which noise alone, perfectly removed, may show faint structure in this tile.
        core: Where faint structure is counted, [channel, z, y, x]; everywhere by default.

    Returns:
        faint_points, faint_lines, shown_points, shown_taken, shown_kept: see `counted`.
        object_flux, radiometry, band_ratio: see `photometry`.
        bleeding: share of one channel in another.
        flicker, ghosts: see `movie_checks`.

    Shape:
        noisy, restored, trusted [channel, z, y, x].
    """
    dark = zeros or [0.0] * len(noise)
    given = [each for each in zip(noisy, restored, trusted, noise, dark, strict=True) if each[2].any()]
    if not given:
        return {}
    lights = [Light.of(*each) for each in given]
    found = counted(search(noisy, restored, trusted, noise, chance), core) | photometry(lights)
    share = bleeding(lights)
    if share is not None:
        found["bleeding"] = share
    return found | (movie_checks(lights) if is_movie else {})
