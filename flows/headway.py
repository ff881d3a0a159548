"""What people see while a plan is made: stage, trial and estimate; the first line before anything heavy is imported."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePath

from rich.console import Console

from ilcore.grammar.plain_text import plain
from ilcore.grammar.telling import Stage, heard

#: Seconds of one core that nobody else uses: for loading the libraries, for Prefect's server, for trials on samples.
LOADING, SERVER, TRIALS = 6.0, 12.0, 15.0


@contextmanager
def planning(source: str, *, has_method: bool, has_server: bool, to: Console) -> Iterator[None]:
    """Tell that a volume is planned, and how far that is, until the block is over.

    Args:
        source: The volume.
        has_method: Whether a method is named, so that none is tried.
        has_server: Whether Prefect's server is started for it.
        to: Where it is told.
    """
    seconds = (LOADING + SERVER * has_server + TRIALS * (not has_method)) * _busy()
    name = plain(PurePath(source.rstrip("/")).name)
    to.print(f"planning    {name}: loading the libraries; {_about(seconds)} until the plan", style="dim", markup=False)
    with heard(lambda stage: to.print(f"planning    {_words(stage)}", style="dim", markup=False)):
        yield


def _words(stage: Stage) -> str:
    counted = f" {stage.number} of {stage.total}" if stage.total else ""
    left = "" if stage.seconds_left is None else f"; {_about(stage.seconds_left)} left"
    name, _, what = stage.words.partition(": ")
    return f"{name}{counted}{f': {what}' if what else ''}{left}"


def _about(seconds: float) -> str:
    if seconds < 90:
        return f"about {max(5, 5 * round(seconds / 5))} s"
    return f"about {seconds / 60:.0f} min"


def _busy() -> float:
    """Return by how much others slow this machine down."""
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
