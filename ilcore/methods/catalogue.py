"""Every method, by name. A family is one file; its `ENTRIES` are added here."""

import difflib

from ilcore.grammar.errors import UnknownMethod
from ilcore.methods import (
    blind_spots,
    calibrated,
    classical,
    copying,
    image_prior,
    non_local,
    pairs,
    pretrained,
    scores,
    stein,
    zero_shot,
)
from ilcore.methods.entry import Entry

_FAMILIES = (
    blind_spots, pairs, scores, non_local, stein, zero_shot, image_prior, pretrained, classical, calibrated,
)  # fmt: skip

METHODS: dict[str, Entry] = {entry.name: entry for family in _FAMILIES for entry in family.ENTRIES}


#: The name of what changes nothing: not in the catalogue, as nobody would choose it to restore.
COPY = "copy"


def find(name: str) -> Entry:
    """Return a method of the catalogue.

    Raises:
        UnknownMethod: Naming the nearest there is.
    """
    if name in METHODS:
        return METHODS[name]
    if name == COPY:
        return copying.ENTRY
    near = difflib.get_close_matches(name, METHODS, 1, 0.0)
    raise UnknownMethod(f"method must be one of {', '.join(METHODS)}; got {name!r}; did you mean {near[0]!r}?")
