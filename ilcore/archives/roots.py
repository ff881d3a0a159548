"""Keeps an archive to the places that it declares: a list, a STAC item or a link may lead anywhere."""

from collections.abc import Sequence

from ilcore.grammar.errors import BadInput
from ilcore.stores.leads import is_within


def check_roots(roots: Sequence[str], *places: str) -> None:
    """Refuse places that do not lie in one of the roots; without roots, none is refused.

    Raises:
        BadInput: Naming the first of them.
    """
    for place in places if roots else ():
        if not any(is_within(place, root) for root in roots):
            raise BadInput(
                f"scans and results must lie in {', '.join(roots)}, got {place}; or add a root to the archive"
            )
