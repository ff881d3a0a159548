"""Whether results are still where the books say; a store that did not answer once is not asked again the same night."""

from urllib.parse import urlsplit

from ilcore.grammar.errors import StoreError
from ilcore.restoring.stages import made_by
from ilcore.volumes.addresses import is_remote
from ilcore.volumes.stores import answered, place_of


class Results:
    """The results of one archive, as one night sees them."""

    def __init__(self) -> None:
        self._away: dict[str, StoreError] = {}

    def is_gone(self, target: str) -> bool:
        """Tell whether no result of ours lies at a target any more.

        Raises:
            StoreError: Its store does not answer, so that nobody can tell.
        """
        store = _store_of(target)
        if store in self._away:
            raise self._away[store]
        try:
            with answered():
                return made_by(place_of(target, is_patient=False)) is None
        except StoreError as error:
            self._away[store] = error
            raise


def _store_of(target: str) -> str:
    parts = urlsplit(target)
    return f"{parts.scheme}://{parts.netloc}" if is_remote(target) else ""
