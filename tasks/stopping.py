"""SIGTERM: no new work is begun, what is at work is committed, and the run ends so that it can be taken up.

first signal ──> work in flight is waited for ──> Stopped
             └─ after GRACE seconds, or a second signal ──> the process ends at once; nothing is lost but that work
"""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from ilcore.grammar.errors import ILError

#: What Kubernetes waits before it kills is 30 s, systemd 90.
GRACE = float(os.environ.get("IL_GRACE_SECONDS", "25"))
#: The exit code of a process that SIGTERM ended.
TERMINATED = 143

_asked = threading.Event()


class Stopped(ILError):
    """The run was asked to stop, and did."""

    exit_code = TERMINATED


def is_asked() -> bool:
    """Tell whether the run was asked to stop."""
    return _asked.is_set()


@contextmanager
def gracefully() -> Iterator[None]:
    """Answer SIGTERM with an orderly end, where this thread may."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _asked.clear()
    before = signal.signal(signal.SIGTERM, _ask)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _ask(_signal: int, _frame: FrameType | None) -> None:
    if _asked.is_set():
        _end()
    _asked.set()
    print("asked to stop: what is at work is finished first", file=sys.stderr)  # noqa: T201 (a log may not come out)
    timer = threading.Timer(GRACE, _end)
    timer.daemon = True
    timer.start()


def _end() -> None:
    from tasks.recording import abandon

    print("stopped at once; what was finished is kept", file=sys.stderr)  # noqa: T201
    abandon()
    os._exit(TERMINATED)
