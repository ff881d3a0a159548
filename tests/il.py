"""The `il` command in processes of its own, and how far its runs are."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ilcore import open_volume
from ilcore.grammar.region import whole
from ilcore.running.ledger import Ledger
from ilcore.running.workspace import Workspace


def _with_ctrl_c() -> None:
    # The shell of a script has it ignored in what it starts in the background, such as these tests.
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Il:
    """The command, in a process group of its own so that it can be killed with all its workers."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = {**environment, "OMP_NUM_THREADS": "1"}

    def start(self, *words: object) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "flows.cli", *map(str, words)], env=self.environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True, preexec_fn=_with_ctrl_c,
        )  # fmt: skip

    def __call__(self, *words: object) -> tuple[int, str, str]:
        process = self.start(*words)
        told, trouble = process.communicate(timeout=600)
        return process.returncode, told, trouble


def end(process: subprocess.Popen[Any]) -> None:
    """Kill a process and all of its group."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    with process:
        pass


def status_of(target: Path) -> NDArray[Any]:
    """Return the status of every tile."""
    plan = Workspace.of(target).plan_of_run()
    return Ledger(Workspace.of(target).ledger, plan.tile_grid).read("status").ravel()


def done_of(target: Path) -> int:
    """Return how many tiles are done; none while there is nothing to look at."""
    try:
        return int((status_of(target) > 0).sum())
    except Exception:
        return 0


def digests_of(target: Path) -> dict[Any, int]:
    """Return the digest of every tile that is done."""
    workspace = Workspace.of(target)
    rows = Ledger(workspace.ledger, workspace.plan_of_run().tile_grid).rows()
    return {tuple(row["tile"]): row["digest"] for row in rows if row["status"] != "open"}


def picture_of(target: Path) -> NDArray[Any]:
    """Return the first plane of a result."""
    volume = open_volume(str(target))
    return volume.read(whole(volume.shape))[0, 0, 0]
