"""SIGTERM while work is under way in a thread of its own."""

import os
import signal
import threading
import time
from typing import Any

import pytest

from tasks.executors import shutdown as stopping
from tasks.executors.shutdown import gracefully, stop_requested, waited_for


@pytest.fixture(autouse=True)
def _nobody_was_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "_asked", threading.Event())
    # What is to end a process that takes too long would end this one, long after the test.
    monkeypatch.setattr(stopping, "_end", lambda: None)


def until_asked(seconds: float = 20.0) -> bool:
    end = time.monotonic() + seconds
    while not stop_requested() and time.monotonic() < end:
        time.sleep(0.01)
    return stop_requested()


def test_a_signal_reaches_work_that_is_waited_for() -> None:
    def work() -> bool:
        os.kill(os.getpid(), signal.SIGTERM)
        return until_asked()

    before = signal.getsignal(signal.SIGTERM)
    with gracefully():
        assert waited_for(work)
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.medium
def test_what_prefect_puts_around_a_flow_does_not_take_the_signal() -> None:
    from prefect.utilities.engine import capture_sigterm

    def work() -> bool:
        with capture_sigterm(), gracefully():
            os.kill(os.getpid(), signal.SIGTERM)
            return until_asked()

    with gracefully():
        assert waited_for(work)


def test_an_error_of_the_work_comes_out() -> None:
    def work() -> None:
        raise OSError("no disk")

    with pytest.raises(OSError, match="no disk"):
        waited_for(work)


@pytest.mark.parametrize("inherited", [signal.default_int_handler, signal.SIG_IGN])
def test_ctrl_c_ends_the_work_in_good_order(inherited: Any) -> None:
    before = signal.signal(signal.SIGINT, inherited)
    try:
        _ctrl_c_ends_the_work()
        assert signal.getsignal(signal.SIGINT) is inherited
    finally:
        signal.signal(signal.SIGINT, before)


def _ctrl_c_ends_the_work() -> None:
    ended = []

    def work() -> None:
        time.sleep(0.2)  # until it is waited for
        os.kill(os.getpid(), signal.SIGINT)
        ended.append(until_asked())

    with pytest.raises(KeyboardInterrupt), gracefully():
        waited_for(work)
    assert ended == [True]
