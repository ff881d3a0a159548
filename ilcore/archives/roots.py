"""Keeps an archive to the places that it declares: a list, a STAC item or a link may lead anywhere."""

import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from ilcore.grammar.errors import BadInput
from ilcore.volumes.addresses import is_remote


def check_roots(roots: Sequence[str], *places: str) -> None:
    """Refuse places that do not lie in one of the roots; without roots, none is refused.

    Raises:
        BadInput: Naming the first of them.
    """
    for place in places if roots else ():
        if not any(_is_within(place, root) for root in roots):
            raise BadInput(
                f"scans and results must lie in {', '.join(roots)}, got {place}; or add a root to the archive"
            )


def _is_within(place: str, root: str) -> bool:
    if is_remote(place) or is_remote(root):
        return is_remote(place) and is_remote(root) and _starts(_parts(place), _parts(root))
    # Where links lead to counts, not where they lie.
    return _starts(Path(os.path.realpath(place)).parts, Path(os.path.realpath(root)).parts)


def _parts(url: str) -> tuple[str, ...]:
    address = urlsplit(url)
    path = os.path.normpath(unquote(address.path) or "/")
    return (address.scheme, address.netloc, *PurePosixPath(path).parts)


def _starts(parts: Sequence[str], first: Sequence[str]) -> bool:
    return tuple(parts[: len(first)]) == tuple(first)
