"""Tries mutants one by one, each in a child process with limits; prints a line of JSON for each that went wrong.

python -m tests.mutants.trial FIRST LAST [STEP]
"""

import json
import os
import random
import resource
import select
import signal
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path

from ilcore.formats.open import images_in, open_volume
from ilcore.grammar.errors import ILError
from ilcore.grammar.region import region_of
from tasks.describe import describe
from tests.mutants.mutations import mutate
from tests.mutants.seeds import SEEDS

SECONDS, BYTES = 20, 2 * 10**9
#: Voxels along each axis that are read from the beginning, and from the end.
SIDE = 64


def look(path: str) -> None:
    """Do what `il info` does, then read from both ends of the first images and of a coarser level."""
    describe(path, axes=None, level=0, missing=None)
    for image in (images_in(path) or (None,))[:2]:
        volume = open_volume(path, image=image)
        for level in range(min(2, volume.levels)):
            held = open_volume(path, image=image, level=level)
            held.read(region_of([(0, min(SIDE, length)) for length in held.shape]))
            held.read(region_of([(max(0, length - SIDE), length) for length in held.shape]))


def trial(number: int, folder: Path) -> tuple[str, str]:
    """Return what became of a mutant, and how it was made."""
    names = list(SEEDS)
    seed = names[number % len(names)]
    place = folder / str(number)
    place.mkdir()
    path = SEEDS[seed](place)
    made = f"{number} ({seed}): {mutate(place, random.Random(number))}"
    began = time.monotonic()
    outcome = _limited(str(path))
    return f"{outcome} in {time.monotonic() - began:.1f} s" if outcome.startswith("hang") else outcome, made


def _limited(path: str) -> str:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        os.write(writing, _outcome(path).encode()[:4000])
        os._exit(0)
    os.close(writing)
    ready, _, _ = select.select([reading], [], [], SECONDS)
    if not ready:
        os.kill(child, signal.SIGKILL)
    told = os.read(reading, 4000).decode() if ready else "hang"
    os.close(reading)
    _, status, used = os.wait4(child, 0)
    if ready and os.WIFSIGNALED(status):
        return f"killed by signal {os.WTERMSIG(status)}"
    # Kibibytes on Linux, bytes on macOS.
    peak = used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return f"took {peak / 1e9:.1f} GB" if peak > BYTES else told


def _outcome(path: str) -> str:
    warnings.simplefilter("ignore")
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_DATA, (BYTES, BYTES))
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115 (the child ends with it)
    try:
        look(path)
    except ILError as error:
        return f"refused: {error}"
    except BaseException:
        return "traceback: " + traceback.format_exc()[-3500:]
    return "read"


def main(first: int, last: int, step: int = 1) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for number in range(first, last, step):
            outcome, made = trial(number, Path(folder))
            print(json.dumps({"number": number, "made": made, "outcome": outcome}), flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
