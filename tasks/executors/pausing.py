"""Pause and suspend, as asked for on Prefect's pages: no new tile is begun meanwhile, and nothing is lost.

Paused:    the run stays and waits; resumed, it goes on at the tile where it was.
Suspended: the run ends in good order and leaves its state alone; resumed, a worker starts it anew, and it takes up.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.exceptions import Pause
from prefect.runtime import flow_run

from tasks.executors.shutdown import Stopped, heeding, is_ending

#: Seconds between two looks at the state of the run.
EVERY = 2.0


@dataclass
class _Watch:
    run_id: UUID
    suspended: Any = None
    looked: float = 0.0

    def __call__(self) -> bool:
        """Wait while the run is paused; tell whether it was suspended."""
        while self.suspended is None and time.monotonic() - self.looked >= EVERY:
            state = self._state()
            self.looked = time.monotonic()
            if state is None or not state.is_paused() or is_ending():
                break
            if state.state_details.pause_reschedule:
                self.suspended = state
            else:
                time.sleep(EVERY)
        return self.suspended is not None

    def _state(self) -> Any:
        try:
            with get_client(sync_client=True) as client:
                return client.read_flow_run(self.run_id).state
        except Exception:
            # Prefect is away: that is no reason to stop.
            return None


@contextmanager
def pausable() -> Iterator[None]:
    """Heed pauses of the flow run around this block."""
    if flow_run.id is None:
        yield
        return
    watch = _Watch(UUID(str(flow_run.id)))
    with heeding(watch):
        try:
            yield
        except Stopped:
            if watch.suspended is None:
                raise
    if watch.suspended is not None:
        # Not an end: the state that the server gave the run stays, and resuming starts it again.
        raise Pause(state=watch.suspended)
