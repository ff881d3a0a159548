"""Starts one server of the platform, after ending what its last start left: a killed parent's children keep its port.

python -m tasks.services.launch PROGRAM ARGUMENTS ...
"""

import contextlib
import os
import sys
from collections.abc import Iterator

import psutil

#: In the environment of every process of a platform: its folder, and which server it belongs to.
FOLDER, SERVICE = "IL_PLATFORM", "IL_SERVICE"
#: Runs of flows outlive the worker that started them: they are at work, and hold no port.
SURVIVING = "prefect-worker"


def left_over(folder: str, service: str | None = None) -> Iterator[psutil.Process]:
    """Yield the processes of a platform, or of one of its servers, but for this one and its parents."""
    own = {os.getpid(), *(each.pid for each in psutil.Process().parents())}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.pid in own:
                continue
            known = process.environ()
            if known.get(FOLDER) == folder and service in (None, known.get(SERVICE)):
                yield process


def main(*command: str) -> None:
    """Become the server."""
    service = os.environ[SERVICE]
    for process in left_over(os.environ[FOLDER], service) if service != SURVIVING else ():
        with contextlib.suppress(psutil.Error):
            process.kill()
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(*sys.argv[1:])
