"""Display settings of a source (`omero` of OME-Zarr), with what no viewer could use left out: they are cosmetic."""

import math
import re
from collections.abc import Mapping
from typing import Any

#: Ends of the range of values that a viewer shows, and of those that it lets people choose.
ENDS = ("min", "max", "start", "end")
_COLOUR = re.compile(r"#?([0-9A-Fa-f]{6})(?:[0-9A-Fa-f]{2})?")


def usable_display(omero: Any) -> dict[str, Any] | None:
    """Return display settings as all readers understand them; null counts as absent. None where there are none."""
    if not isinstance(omero, Mapping):
        return None
    said = {str(key): value for key, value in omero.items() if value is not None and key != "channels"}
    channels = omero.get("channels")
    if not isinstance(channels, list | tuple):
        return said or None
    return {**said, "channels": [usable_channel(each) for each in channels]}


def usable_channel(said: Any) -> dict[str, Any]:
    """Return the settings of one channel without those that have no meaning."""
    if not isinstance(said, Mapping):
        return {}
    found = {str(key): value for key, value in said.items() if value is not None}
    colour = _COLOUR.fullmatch(str(found.pop("color", "")))
    window = found.pop("window", None)
    if isinstance(window, Mapping):
        numbers = {key: window[key] for key in window if key not in ENDS or _is_finite(window[key])}
        found["window"] = {str(key): value for key, value in numbers.items() if value is not None}
    if "active" in found and not isinstance(found["active"], bool):
        found["active"] = bool(found["active"])
    return {**found, **({"color": colour[1].upper()} if colour else {})}


def _is_finite(said: Any) -> bool:
    return isinstance(said, int | float) and not isinstance(said, bool) and math.isfinite(said)
