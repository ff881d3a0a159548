"""Hours of all workers together that a night may use, metered as workers come and go."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

#: Seconds between two counts of the workers.
EVERY = 5.0


@dataclass
class Budget:
    """Worker-seconds to spend.

    Args:
        left: Worker-seconds that are left.
        count: Tells how many workers there are now.
    """

    left: float
    count: Callable[[], int]
    _looked: float = field(default_factory=time.monotonic)
    _workers: int | None = None

    def look(self) -> float:
        """Charge the time since the last look to the workers that were there, and return what is left."""
        now = time.monotonic()
        if self._workers is None or now - self._looked >= EVERY:
            self.left -= (now - self._looked) * (self._workers or 0)
            self._looked, self._workers = now, self.count()
        return self.left - (now - self._looked) * self._workers

    def settle(self) -> None:
        """Charge what was used up to now; until somebody counts workers again, there are none."""
        # Nobody is asked: the scheduler may be what was lost.
        self.left -= (time.monotonic() - self._looked) * (self._workers or 0)
        self._looked, self._workers, self.count = time.monotonic(), 0, lambda: 0

    @property
    def seconds(self) -> float:
        """Return how long the workers that are there now may go on."""
        return self.look() / max(1, self._workers or 0)
