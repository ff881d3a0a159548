"""Points in time as ISO 8601, out of the ways in which files write them."""

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: The attribute under which results say it.
OWN_TIME = "acquired"
#: Attributes that say when a scan was taken, the most telling first.
KEYS = (
    OWN_TIME, "acquisition_date", "AcquisitionDate", "datetime", "start_datetime", "time_coverage_start",
    "sensing_time", "TIFFTAG_DATETIME",
)  # fmt: skip
SECONDS = {
    "nanosecond": 1e-9, "microsecond": 1e-6, "millisecond": 1e-3, "second": 1.0, "minute": 60.0, "hour": 3600.0,
    "day": 86400.0,
}  # fmt: skip
CALENDARS = ("standard", "gregorian", "proleptic_gregorian")


def iso(said: Any) -> str | None:
    """Return a point in time as ISO 8601; None where it is none."""
    text = re.sub(r"^(\d{4}):(\d\d):(\d\d) ", r"\1-\2-\3T", str(said or "").strip())
    # Python knows six digits of a second at most.
    text = re.sub(r"(\.\d{6})\d+", r"\1", text)
    try:
        return datetime.fromisoformat(text).isoformat()
    except ValueError:
        return None


def acquired_of(attributes: Mapping[str, Any]) -> str | None:
    """Return when a scan was taken, as its attributes say."""
    return next((found for key in KEYS if (found := iso(attributes.get(key)))), None)


def own_words(attributes: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the key under which results say when the scan was taken, where it does, in the very words of a result."""
    said = attributes.get(OWN_TIME)
    return (OWN_TIME,) if said is not None and iso(said) == said else ()


def cf_unit(units: str) -> str:
    """Return the unit of "days since 2020-01-01"."""
    return units.partition(" since ")[0]


def cf_times(values: NDArray[Any], units: str, calendar: str, unit: str | None) -> list[str] | None:
    """Return points in time from numbers counted from a date, as CF writes them; None where that is not the case.

    Args:
        values: Numbers of units.
        units: For example "days since 2020-01-01".
        calendar: Name of the calendar; unusual ones have days that ours has not.
        unit: Full name of the unit.
    """
    begin = iso(units.partition(" since ")[2])
    if begin is None or unit not in SECONDS or calendar not in CALENDARS or not np.isfinite(values).all():
        return None
    first = datetime.fromisoformat(begin)
    try:
        return [(first + timedelta(seconds=float(value) * SECONDS[unit])).isoformat() for value in values]
    except OverflowError:
        return None
