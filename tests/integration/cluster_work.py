"""What the cluster test's workers run: it must be importable by them."""

import os
import time
from pathlib import Path

from ilcore.grammar.errors import BadVolume, BadWeights


def note(job: tuple[str, int]) -> tuple[int, int]:
    """Leave a mark for each run of a number, then take a while, so that a kill hits somebody at work."""
    folder, number = job
    (Path(folder) / f"{number}-{time.time_ns()}").touch()
    time.sleep(0.1)
    return number, os.getpid()


def threads(_: int) -> str:
    return os.environ["OMP_NUM_THREADS"]


def refuse(folder: str) -> None:
    (Path(folder) / f"refused-{time.time_ns()}").touch()
    raise BadWeights("weights must be right, got wrong; bring others")


def unreadable(code: int) -> None:
    """Find a source that cannot be read, for the reason that the system gives."""
    try:
        raise OSError(code, os.strerror(code))
    except OSError as error:
        raise BadVolume("a source that can be read was wanted") from error


def flaky(folder: str) -> str:
    """Fail once, as a store that times out does."""
    mark = Path(folder) / "failed-once"
    if not mark.exists():
        mark.touch()
        raise TimeoutError("store")
    return "done"


def where(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


def computing(seconds: float, device: str) -> int:
    """What `where` does, on a device."""
    assert device == "cpu"
    return where(seconds)


def squared(number: int) -> int:
    return number * number


def squared_on(number: int, device: str) -> tuple[int, str]:
    return number * number, device


def unreadable_number(number: int) -> int:
    if number == 3:
        raise BadVolume("a number that can be read was wanted, got number 3; choose another")
    return number
