"""Waiting for the servers of a platform: as long as their processes live, however slow the machine is."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tasks.services.supervising import Standing

#: Seconds between two words on who is still starting.
SAY_EVERY = 20.0
#: A server that was begun so often and never answered will not come up.
STARTS = 5


@dataclass
class Waiting:
    """What was seen so far of servers that come up.

    Args:
        tell: Takes a line for people.
        logs: Where the servers write.
    """

    tell: Callable[[str], None]
    logs: str
    _well: set[str] = field(default_factory=set)
    _begun: dict[str, set[int]] = field(default_factory=dict)
    _began: float = field(default_factory=lambda: time.monotonic())
    _said: float = field(default_factory=lambda: time.monotonic())

    def look(self, now: Sequence["Standing"]) -> list[str]:
        """Tell who came up and who is still starting, and return those that will not."""
        for each in now:
            if each.is_well and each.service.name not in self._well:
                self._well.add(each.service.name)
                self.tell(f"well      {each.service.name}")
            if each.pid:
                self._begun.setdefault(each.service.name, set()).add(each.pid)
        starting = [each.service.name for each in now if not each.is_well]
        if starting and time.monotonic() - self._said >= SAY_EVERY:
            self._said = time.monotonic()
            seconds = self._said - self._began
            self.tell(f"starting  {', '.join(starting)}: still starting after {seconds:.0f} s, logs in {self.logs}")
        return [each.service.name for each in now if self._is_lost(each)]

    def _is_lost(self, each: "Standing") -> bool:
        # A server that ends after a while is begun anew for ever: the supervisor only gives those up that end at once.
        often = len(self._begun.get(each.service.name, ())) > STARTS
        return each.state == "FATAL" or (often and each.service.name not in self._well)
