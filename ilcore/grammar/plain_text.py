"""Texts from files, made fit to be shown: what would steer a terminal, break a line of a log or turn a page's words."""

import unicodedata

#: Control and format characters, half characters, and separators of lines: by their Unicode category.
_UNSHOWN = ("Cc", "Cf", "Cs", "Zl", "Zp")


def plain(text: object) -> str:
    r"""Return a text with every character that is not shown in itself written as an escape.

    >>> plain("GFP\x1b[31m")
    'GFP\\x1b[31m'
    """
    told = str(text)
    if told.isascii() and told.isprintable():
        return told
    return "".join(each if _is_shown(each) else ascii(each)[1:-1] for each in told)


def has_controls(text: str) -> bool:
    """Tell whether a text holds a control character or half a character."""
    return any(unicodedata.category(each) in ("Cc", "Cs") for each in text)


def _is_shown(character: str) -> bool:
    return unicodedata.category(character) not in _UNSHOWN
