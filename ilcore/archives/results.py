"""Whether results are still where the books say; a store that did not answer once is not asked again the same night."""

import os
from urllib.parse import urlsplit

from ilcore.grammar.errors import OutsideError, StoreError
from ilcore.running.stages import made_by
from ilcore.stores.addresses import is_remote
from ilcore.stores.places import answered, place_of


class Results:
    """The results of one archive, as one night sees them."""

    def __init__(self) -> None:
        self._away: dict[str, StoreError] = {}

    def is_gone(self, target: str) -> bool:
        """Tell whether no result of ours lies at a target any more.

        Raises:
            OutsideError: Nobody can tell: its store does not answer, or its disk seems not to be mounted.
        """
        if is_remote(target):
            return self._is_gone_from_store(target)
        folder = os.path.dirname(target)
        # A folder out of which somebody took results still holds what lies beside them.
        if os.path.isdir(folder) and not os.listdir(folder):
            raise OutsideError(
                f"{folder} is empty, and results are known to lie there; mount its disk, or remove the folder if they "
                "are to be made again"
            )
        return made_by(place_of(target)) is None

    def _is_gone_from_store(self, target: str) -> bool:
        parts = urlsplit(target)
        store = f"{parts.scheme}://{parts.netloc}"
        if store in self._away:
            raise self._away[store]
        try:
            with answered():
                return made_by(place_of(target, is_patient=False)) is None
        except StoreError as error:
            self._away[store] = error
            raise
