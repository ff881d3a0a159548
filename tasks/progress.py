"""How far a stage is: a bar with rate, ETA and memory in a terminal, one line per tenth elsewhere."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import psutil
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

#: Seconds between two looks at the memory of all processes.
LOOK_EVERY = 1.0


class _Display(Protocol):
    def show(self, done: int, rate: float, words: str) -> None: ...


class Progress:
    """A counter that shows itself.

    Args:
        total: How many there are.
        already: How many were done before, by an earlier run.
    """

    def __init__(self, display: "_Display", total: int, already: int = 0) -> None:
        self.display, self.total, self.done, self.already = display, total, already, already
        self.started = time.monotonic()

    @classmethod
    @contextmanager
    def of(cls, stage: str, total: int, unit: str, *, already: int = 0) -> Iterator["Progress"]:
        """Show a stage until it ends."""
        if sys.stderr.isatty():
            with _bar(stage, unit) as bar:
                task = bar.add_task(stage, total=total, completed=already, words="")
                yield cls(_Terminal(bar, task, unit), total, already)
        else:
            yield cls(_Lines(stage, total, unit), total, already)

    def step(self, words: str = "", by: int = 1) -> None:
        """Count some more."""
        self.reach(self.done + by, words)

    def reach(self, done: int, words: str = "") -> None:
        """Set the count."""
        self.done = done
        rate = (done - self.already) / max(time.monotonic() - self.started, 1e-6)
        self.display.show(done, rate, words)


class _Terminal:
    def __init__(self, bar: Bar, task: TaskID, unit: str) -> None:
        self.bar, self.task, self.unit = bar, task, unit
        self.looked, self.memory = 0.0, ""

    def show(self, done: int, rate: float, words: str) -> None:
        if time.monotonic() - self.looked > LOOK_EVERY:
            self.looked, self.memory = time.monotonic(), f"{memory_bytes() / 2**30:.1f} GB"
        told = f"{rate:.2f} {self.unit}/s  {self.memory}  {words}"
        self.bar.update(self.task, completed=done, words=told)


class _Lines:
    def __init__(self, stage: str, total: int, unit: str) -> None:
        self.stage, self.total, self.unit, self.tenth = stage, total, unit, -1

    def show(self, done: int, rate: float, words: str) -> None:
        tenth = 10 * done // max(self.total, 1)
        if tenth == self.tenth:
            return
        self.tenth = tenth
        left = (self.total - done) / rate if rate > 0 else float("nan")
        told = f"{self.stage}: {done}/{self.total} {self.unit}, {rate:.2f} {self.unit}/s, {left:.0f} s left"
        sys.stderr.write(f"{told}, {memory_bytes() / 2**30:.1f} GB {words}".rstrip() + "\n")
        sys.stderr.flush()


def memory_bytes() -> int:
    """Return the resident memory of this process and all its workers."""
    here = psutil.Process()
    total = 0
    for process in (here, *here.children(recursive=True)):
        # A worker may end while we look.
        try:
            total += process.memory_info().rss
        except psutil.Error:
            continue
    return total


def _bar(stage: str, unit: str) -> Bar:
    return Bar(
        TextColumn(f"{stage:<9}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeElapsedColumn(),
        TextColumn("ETA"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[words]}"),
        console=Console(stderr=True),
    )
