"""Carries out a plan in a store again and again, killed before a chosen writing each time, then once more to its end.

Run by test_s3_kill.py in a process of its own, which imports everything once and forks a child for each run:

    killing_s3.py PLAN PREFIX  ->  one JSON line per case
"""

import json
import os
import random
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from aiobotocore.client import AioBaseClient

from ilcore.methods.catalogue import METHODS
from ilcore.planning.plan import RestorationPlan, read_plan
from ilcore.running import local as alone
from ilcore.stores import store_lock
from tests.e2e.killing import SMOOTHING, _forked

#: Killed before the n-th writing or deletion of an object whose name holds these words.
PLACES = (
    ("out.ome.zarr.il/lock", 2), ("il/generation", 1), ("il/plan.yaml", 1), ("weights/volume.safetensors", 1),
    ("ledger.zarr/zarr.json", 1), ("scratch.zarr/c/", 2), ("ledger.zarr/tiles/c/", 2), ("/0/c/", 2),
    ("ledger.zarr/blocks/c/", 1), ("il/record.json", 1), ("out.ome.zarr/zarr.json", 1), ("il/generation", 2),
    ("il/record.json", 2), ("il/scratch.zarr", 5),
)  # fmt: skip
#: Kills before any writing.
RANDOM = 2
WRITING = ("PutObject", "DeleteObject", "DeleteObjects")


def main(plan_path: str, prefix: str) -> None:
    # Torch imports its compiler when the first optimiser is made: seconds that every child would pay.
    torch.optim.Adam([torch.zeros(1, requires_grad=True)])
    store_lock.BEAT_SECONDS, store_lock.LOOKS = 0.3, 4
    plan = read_plan(Path(plan_path))
    count = Path(plan_path).with_name("writings")
    status = _forked(lambda: _whole(_at(plan, f"{prefix}/whole"), count))
    assert status == 0, status
    drawn = random.Random(3).sample(range(1, int(count.read_text())), RANDOM)
    for number, (words, at) in enumerate([*PLACES, *(("", at) for at in drawn)]):
        there = _at(plan, f"{prefix}/{number}")
        killed = _forked(lambda there=there, words=words, at=at: _killed(there, words, at))
        told = {"case": f"{words} {at}", "place": there.target, "killed": killed}
        print(json.dumps({**told, "status": _forked(lambda there=there: alone.carry_out(there))}))


def _at(plan: RestorationPlan, folder: str) -> RestorationPlan:
    return plan.model_copy(update={"target": f"{folder}/out.ome.zarr"})


def _whole(plan: RestorationPlan, count: Path) -> None:
    seen: list[str] = []
    _watch(seen.append)
    alone.carry_out(plan)
    count.write_text(str(len(seen)))


def _killed(plan: RestorationPlan, words: str, at: int) -> None:
    left = at

    def told(name: str) -> None:
        nonlocal left
        left -= words in name
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    _watch(told)
    alone.carry_out(plan)


def _watch(told: Callable[[str], Any]) -> None:
    """Tell of every object that is written or deleted, just before it is."""
    call = AioBaseClient._make_api_call

    async def watched(self: Any, method: str, given: Any) -> Any:
        if method in WRITING:
            for each in given.get("Delete", {"Objects": [given]})["Objects"]:
                told(each["Key"])
        return await call(self, method, given)

    AioBaseClient._make_api_call = watched


if __name__ == "__main__":
    METHODS[SMOOTHING.name] = SMOOTHING
    main(*sys.argv[1:])
