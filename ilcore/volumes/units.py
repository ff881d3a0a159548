"""Units by their full names, as OME-Zarr writes them, from the many ways in which files abbreviate them."""

import unicodedata
from typing import Any, Final

from ilcore.grammar.plain_text import plain

_PREFIXES: Final = {
    "yotta": "Y", "zetta": "Z", "exa": "E", "peta": "P", "tera": "T", "giga": "G", "mega": "M", "kilo": "k",
    "hecto": "h", "deca": "da", "": "", "deci": "d", "centi": "c", "milli": "m", "micro": "µ", "nano": "n",
    "pico": "p", "femto": "f", "atto": "a", "zepto": "z", "yocto": "y",
}  # fmt: skip
#: Units without prefixes: their symbol in OME-XML, then other ways to write them.
_OTHERS: Final = {
    "angstrom": ("Å", "angstroms", "ångström", "ångströms", "ang"),
    "inch": ("in", "inches", '"'),
    "foot": ("ft", "feet"),
    "yard": ("yd", "yards"),
    "mile": ("mi", "miles"),
    "parsec": ("pc", "parsecs"),
    "minute": ("min", "mins", "minutes"),
    "hour": ("h", "hr", "hrs", "hours"),
    "day": ("d", "days"),
    # How OME says that sizes are relative to each other only.
    "pixel": ("pixel", "pixels", "px", "pix"),
    "reference frame": ("reference frame", "referenceframe"),
}
#: More ways for units with prefixes; how ImageJ writes the micro sign, how old programs garble it.
_MORE: Final = {
    "micron": "micrometer", "microns": "micrometer", "\\u00b5m": "micrometer", "âμm": "micrometer",
    "sec": "second", "secs": "second", "msec": "millisecond", "msecs": "millisecond", "usec": "microsecond",
}  # fmt: skip
#: What says that there is no unit.
_NONE: Final = ("", "1", "none", "null", "unknown", "undefined", "na", "n/a", "nan")


def symbol_of(unit: str | None) -> str | None:
    """Return the symbol of a unit by its full name, as OME-XML writes it; None where it has none there."""
    return _SYMBOLS.get(unit or "")


def full_unit(said: Any) -> str | None:
    """Return the full name of a unit; one that is not known keeps its own word, and None means that there is none."""
    text = unicodedata.normalize("NFKC", str("" if said is None else said)).strip()
    if text.lower() in _NONE:
        return None
    # Mm is no mm, Pm is no pm: only what has no other meaning may be written in any case.
    return _EXACT.get(text) or _ANY_CASE.get(text.lower()) or plain(text)


def _spellings() -> tuple[dict[str, str], dict[str, str], dict[str, str]]:
    exact, any_case, symbols = {}, dict(_MORE), {}
    for base, letter, spelt in (("meter", "m", "metre"), ("second", "s", "second")):
        for prefix, short in _PREFIXES.items():
            name, symbol = f"{prefix}{base}", f"{short}{letter}"
            symbols[name] = symbol
            exact[unicodedata.normalize("NFKC", symbol)] = name
            any_case |= dict.fromkeys((name, f"{name}s", f"{prefix}{spelt}", f"{prefix}{spelt}s"), name)
        for short, prefix in (("u", "micro"), ("n", "nano"), ("m", "milli"), ("c", "centi"), ("", "")):
            any_case[f"{short}{letter}"] = f"{prefix}{base}"
        any_case[unicodedata.normalize("NFKC", f"µ{letter}").lower()] = f"micro{base}"
    for name, (symbol, *others) in _OTHERS.items():
        symbols[name] = symbol
        any_case |= dict.fromkeys((name, unicodedata.normalize("NFKC", symbol).lower(), *others), name)
    return exact, any_case, symbols


_EXACT, _ANY_CASE, _SYMBOLS = _spellings()
