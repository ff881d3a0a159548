"""How a command ends: exit codes, one clear line for what went wrong, and what to say after Ctrl-C."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from types import FrameType
from typing import NoReturn

import typer
from rich.console import Console

#: 0 published, 1 error, 2 bad usage or bad input, 3 finished but the QA gate refused, 130 stopped by Ctrl-C.
PUBLISHED, ERROR, BAD_INPUT, REFUSED, STOPPED = 0, 1, 2, 3, 130

out = Console(soft_wrap=True, highlight=False)
err = Console(stderr=True, soft_wrap=True, highlight=False)


@contextmanager
def answering(after_ctrl_c: str = "") -> Iterator[None]:
    """Turn an error into one line on stderr and an exit code; IL_TRACEBACK=1 shows where it came from.

    Args:
        after_ctrl_c: The command that goes on with the work.
    """
    try:
        with _stopping_at_once(after_ctrl_c) if after_ctrl_c else nullcontext():
            yield
    except KeyboardInterrupt:
        err.print("stopped")
        raise typer.Exit(STOPPED) from None
    except Exception as error:
        told = _in_one_sentence(error)
        code = ERROR if isinstance(told, OSError) else getattr(told, "exit_code", None)
        # Anything without an exit code is a bug of ours: its traceback is what we want to be sent.
        if not isinstance(code, int) or isinstance(error, typer.Exit):
            raise
        _fail(told, code)


def _in_one_sentence(error: Exception) -> Exception:
    """Return an error, or what it means where a store's client made it."""
    if "botocore" not in sys.modules or hasattr(error, "exit_code"):
        return error
    from ilcore.volumes.stores import trouble

    return trouble(error) or error


@contextmanager
def _stopping_at_once(after_ctrl_c: str) -> Iterator[None]:
    """End the process itself on Ctrl-C, which also reaches Prefect's embedded server: waiting for that takes minutes.

    A run may end at any moment, so nothing is lost.
    """

    def stop(_signal: int, _frame: FrameType | None) -> None:
        err.print(f"stopped; what is done is kept: {after_ctrl_c}", markup=False)
        if "tasks.recording" in sys.modules:
            sys.modules["tasks.recording"].abandon()
        os._exit(STOPPED)

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _fail(error: Exception, code: int) -> NoReturn:
    if os.environ.get("IL_TRACEBACK"):
        raise error
    err.print(f"error: {error}", markup=False)
    raise typer.Exit(code) from None
