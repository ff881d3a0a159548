"""SIGTERM and deadlines: no new work is begun, what is at work is committed, and the run ends to be taken up later.

first signal ──> work in flight is waited for ──> Stopped
             └─ after GRACE seconds, or a second signal ──> the process ends at once; nothing is lost but that work
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from contextvars import copy_context
from types import FrameType
from typing import TypeVar

import psutil

from ilcore.grammar.errors import ILError
from ilcore.running.workspace import give_back_locks

Answer = TypeVar("Answer")

#: What Kubernetes waits before it kills is 30 s, systemd 90.
GRACE = float(os.environ.get("IL_GRACE_SECONDS", "25"))
#: The exit code of a process that SIGTERM ended.
TERMINATED = 143

_asked = threading.Event()
#: The moments, on the monotonic clock, at which blocks of `until` want to be over.
_ends: list[float] = []
#: What blocks of `while_left` may still use, each told by its own meter.
_meters: list[Callable[[], float]] = []
#: Asked before new work: whether somebody else wants the run to stop. They may take their time, and it waits then.
_questions: list[Callable[[], bool]] = []
#: What is noted before the process ends at once; each once.
_last_words: list[Callable[[], None]] = []
#: Seconds that ending at once waits for each of them.
PATIENCE_SECONDS = 10


class Stopped(ILError):
    """The run was asked to stop, and did."""

    exit_code = TERMINATED


class OutOfTime(Stopped):
    """The run was to end by now, and did."""


def is_asked() -> bool:
    """Tell whether the run was asked to stop, or its time is over; wait while it is paused."""
    return is_ending() or any(question() for question in _questions)


def ask() -> None:
    """Let the run stop as if SIGTERM had come."""
    _asked.set()


def is_ending() -> bool:
    """Tell whether the run was told to stop or its time is over, without waiting for anything."""
    return _asked.is_set() or is_late()


def is_late() -> bool:
    """Tell whether the time is over that some block around was given."""
    return (bool(_ends) and time.monotonic() >= min(_ends)) or any(left() <= 0 for left in _meters)


def stopped() -> Stopped:
    """Return the error with which a run ends that was asked to."""
    kept = "what is done is kept: `il resume` goes on with it"
    if is_late() and not _asked.is_set():
        return OutOfTime(f"the time of the run is over; {kept}")
    return Stopped(f"the run was asked to stop and did; {kept}")


@contextmanager
def until(seconds: float | None) -> Iterator[None]:
    """Let no new work begin within the block after some seconds; None is no limit."""
    if seconds is None:
        yield
        return
    end = time.monotonic() + seconds
    _ends.append(end)
    try:
        yield
    finally:
        _ends.remove(end)


@contextmanager
def while_left(left: Callable[[], float]) -> Iterator[None]:
    """Let no new work begin within the block once a meter tells that nothing is left."""
    _meters.append(left)
    try:
        yield
    finally:
        _meters.remove(left)


@contextmanager
def heeding(question: Callable[[], bool]) -> Iterator[None]:
    """Ask, before new work within the block, whether to stop."""
    _questions.append(question)
    try:
        yield
    finally:
        _questions.remove(question)


@contextmanager
def gracefully() -> Iterator[None]:
    """Answer SIGTERM with an orderly end, where this thread may; not to be used in itself.

    Ctrl-C is answered too where it was ignored, as a shell has it for what a script starts in the background.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _asked.clear()
    before, ctrl_c = signal.signal(signal.SIGTERM, _ask), signal.getsignal(signal.SIGINT)
    if ctrl_c is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        signal.signal(signal.SIGINT, ctrl_c)


def waited_for(work: Callable[[], Answer]) -> Answer:
    """Return what work in a thread of its own returns; this thread answers signals meanwhile.

    Ctrl-C lets the work end in good order, and then goes on its way.
    """
    with ThreadPoolExecutor(1) as pool:
        try:
            return pool.submit(copy_context().run, work).result()
        except KeyboardInterrupt:
            ask()
            raise


def _ask(_signal: int, _frame: FrameType | None) -> None:
    if _asked.is_set():
        _end()
    _asked.set()
    print("asked to stop: what is at work is finished first", file=sys.stderr)  # noqa: T201 (a log may not come out)
    timer = threading.Timer(GRACE, _end)
    timer.daemon = True
    timer.start()


def _end() -> None:
    print("stopped at once; what was finished is kept", file=sys.stderr)  # noqa: T201
    abandon()
    os._exit(TERMINATED)


def at_last(note: Callable[[], None]) -> None:
    """Have something noted where this process is to end at once."""
    if note not in _last_words:
        _last_words.append(note)


def abandon() -> None:
    """Note that this process stops now, and end its workers; the runs are taken up again by `il resume`."""
    # In a thread: what was interrupted may hold a lock that MLflow needs, and must not keep us here.
    for note in _last_words:
        _within_patience(note)
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            child.kill()
    # Only now that nobody of ours writes any more.
    _within_patience(give_back_locks)


def _within_patience(work: Callable[[], None]) -> None:
    doing = threading.Thread(target=work, daemon=True)
    doing.start()
    doing.join(PATIENCE_SECONDS)
