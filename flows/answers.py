"""How a command ends: exit codes, one clear line for what went wrong, and what to say after Ctrl-C."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

import typer
from rich.console import Console

from flows.extras import in_words
from ilcore.grammar.commands import command, quoted
from tasks.environment import machine

#: 0 published, 1 error, 2 bad usage or bad input, 3 finished but the QA gate refused, 130 stopped by Ctrl-C.
PUBLISHED, ERROR, BAD_INPUT, REFUSED, STOPPED = 0, 1, 2, 3, 130

#: What is true whenever a run is stopped.
KEPT = "what is done is kept"

out = Console(soft_wrap=True, highlight=False)
err = Console(stderr=True, soft_wrap=True, highlight=False)


@contextmanager
def answering(
    safe: str = "nothing was changed", *, again: Callable[[], str] | None = None, is_checked: bool = True
) -> Iterator[None]:
    """Turn an error into one line on stderr and an exit code; IL_TRACEBACK=1 shows where it came from.

    Args:
        safe: What is true of the work when Ctrl-C stops it.
        again: Gives the command that goes on with work that may take hours; None where it is over in a moment, and is
            to be given again.
        is_checked: Whether what is missing in the surroundings is an error; the command may tell it itself.
    """
    try:
        with _stopping(safe, again):
            for note in machine.notes():
                err.print(f"note: {note}", style="dim", markup=False)
            if is_checked:
                machine.check()
            yield
    except KeyboardInterrupt:
        _say_stopped(safe, again or this_command)
        raise typer.Exit(STOPPED) from None
    except Exception as error:
        told = _in_one_sentence(error)
        code = ERROR if isinstance(told, OSError) else getattr(told, "exit_code", None)
        # Anything without an exit code is a bug of ours: its traceback is what we want to be sent.
        if not isinstance(code, int) or isinstance(error, typer.Exit):
            raise
        # The same command goes on with nothing where a package is missing.
        _fail(told, code, None if isinstance(error, ModuleNotFoundError) else again)


def this_command() -> str:
    """Return the command that is being carried out, as a shell takes it."""
    return " ".join([command("il"), *map(quoted, sys.argv[1:])])


def going_on(target: str) -> Callable[[], str]:
    """Return what tells the command that goes on with a restoration: before it was begun, that is the same command."""

    def again() -> str:
        # Asked within a signal handler, so not of a store.
        is_begun = "://" not in target and os.path.exists(f"{target.rstrip('/')}.il/plan.yaml")
        return command("il resume", target) if is_begun else this_command()

    return again


def _in_one_sentence(error: Exception) -> Exception:
    """Return an error, or what it means where a package is missing or a store's client made it."""
    if isinstance(error, ModuleNotFoundError):
        return in_words(error) or error
    if "botocore" not in sys.modules or hasattr(error, "exit_code"):
        return error
    from ilcore.stores.places import trouble

    return trouble(error) or error


@contextmanager
def _stopping(safe: str, again: Callable[[], str] | None) -> Iterator[None]:
    """Answer Ctrl-C, also where the shell of a script had it ignored.

    Work that takes hours is ended with the process itself: Ctrl-C also reaches Prefect's embedded server, and waiting
    for that takes minutes. A run may end at any moment, so nothing is lost.
    """

    def stop(_signal: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, lambda *_: os._exit(STOPPED))
        _say_stopped(safe, again or this_command)
        if "tasks.executors.shutdown" in sys.modules:
            sys.modules["tasks.executors.shutdown"].abandon()
        os._exit(STOPPED)

    before = signal.signal(signal.SIGINT, stop if again else signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _say_stopped(safe: str, again: Callable[[], str]) -> None:
    err.print(f"stopped; {safe}; to go on: {again()}", markup=False)


def _fail(error: Exception, code: int, again: Callable[[], str] | None) -> NoReturn:
    if os.environ.get("IL_TRACEBACK"):
        raise error
    told = str(error)
    # The library cannot know by which command it is asked to go on.
    if again is not None:
        told = told.replace("`il resume`", f"`{again()}`")
    err.print(f"error: {told}", markup=False)
    raise typer.Exit(code) from None
