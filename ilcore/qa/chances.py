"""How often noise alone may look like something: shared out over the tiles of a run."""

import math

#: Chance that noise alone shows something in a run; and at least that in a tile of it.
CHANCE, LEAST_CHANCE = 0.05, 0.001


def chance_of(places: int, all_places: int) -> float:
    """Return the chance of a false finding that one tile of a run gets, so that the run has CHANCE in all.

    In runs of more tiles than CHANCE / LEAST_CHANCE some are found by chance; `by_chance` tells how many.
    """
    return max(CHANCE * min(1.0, places / max(all_places, 1)), LEAST_CHANCE)


def by_chance(tiles: int) -> int:
    """Return in how many of so many tiles something is found by chance, at most."""
    expected = tiles * LEAST_CHANCE
    return 0 if expected <= CHANCE else math.ceil(expected + 2 * math.sqrt(expected))
