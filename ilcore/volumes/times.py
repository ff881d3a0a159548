"""Points in time as ISO 8601, out of the ways in which files write them."""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import cftime
import numpy as np
from numpy.typing import NDArray

#: The attribute under which results say it.
OWN_TIME = "acquired"
#: Attributes that say when a scan was taken, the most telling first.
KEYS = (
    OWN_TIME, "acquisition_date", "AcquisitionDate", "datetime", "start_datetime", "time_coverage_start",
    "sensing_time", "TIFFTAG_DATETIME",
)  # fmt: skip


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


def cf_times(values: NDArray[Any], units: str, calendar: str) -> list[str] | None:
    """Return points in time from numbers counted from a date, as CF writes them; None where that is not the case.

    Args:
        values: Numbers of units.
        units: For example "days since 2020-01-01".
        calendar: Name of the calendar; days that ours has not, such as 30 February, are no points in time.
    """
    if not np.isfinite(values).all():
        return None
    try:
        found = np.atleast_1d(cftime.num2date(values, units, calendar, only_use_cftime_datetimes=True))
        return [datetime.fromisoformat(each.isoformat()).isoformat() for each in found]
    except (ValueError, OverflowError, TypeError, KeyError, ArithmeticError):
        return None
