"""Units by their full names, as OME-Zarr writes them, from the many ways in which files abbreviate them."""

from typing import Any

_LENGTHS = {
    "angstrom": ("å", "angstroms"),
    "picometer": ("pm", "picometers"),
    "nanometer": ("nm", "nanometers", "nanometre", "nanometres"),
    # The micro sign, the Greek letter, and how ImageJ writes it.
    "micrometer": (
        "µm", "μm", "\\u00b5m", "um", "micron", "microns", "micrometers", "micrometre", "micrometres",
    ),
    "millimeter": ("mm", "millimeters", "millimetre", "millimetres"),
    "centimeter": ("cm", "centimeters", "centimetre", "centimetres"),
    "meter": ("m", "meters", "metre", "metres"),
    "kilometer": ("km", "kilometers", "kilometre", "kilometres"),
}  # fmt: skip
_TIMES = {
    "nanosecond": ("ns", "nanoseconds"),
    "microsecond": ("us", "µs", "μs", "microseconds"),
    "millisecond": ("ms", "milliseconds", "msec"),
    "second": ("s", "sec", "secs", "seconds"),
    "minute": ("min", "mins", "minutes"),
    "hour": ("h", "hr", "hrs", "hours"),
    "day": ("d", "days"),
}
UNITS = {
    **{short: name for name, shorts in {**_LENGTHS, **_TIMES}.items() for short in shorts},
    **{name: name for name in (*_LENGTHS, *_TIMES)},
}
#: What OME calls them where our first abbreviation is another.
_SYMBOLS = {"angstrom": "Å", "microsecond": "µs"}


def symbol_of(unit: str | None) -> str | None:
    """Return the symbol of a unit by its full name, as OME-XML writes it; None where it is not known."""
    known = {**_LENGTHS, **_TIMES}
    return None if unit not in known else _SYMBOLS.get(unit, known[unit][0])


def full_unit(said: Any) -> str | None:
    """Return the full name of a unit of length or time; None where it is neither, or not known."""
    return UNITS.get(str(said).strip().lower())
