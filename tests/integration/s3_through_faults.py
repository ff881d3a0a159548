"""Carries a plan out through a faulty proxy, once for each fault; run by test_s3_faulty.py in a process of its own.

    s3_through_faults.py PLAN ENDPOINT PREFIX  ->  one JSON line per case

In its own process, since clients of S3 are kept for a whole process with the endpoint they were made with.
"""

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ilcore.grammar.errors import ILError
from ilcore.methods.catalogue import METHODS
from ilcore.planning.plan import RestorationPlan, read_plan
from ilcore.running.local import carry_out
from ilcore.stores import places as stores
from ilcore.stores import store_lock
from tests.faulty_proxy import BREAK, HANG, INTERNAL, SLOW_DOWN, Fault, FaultyProxy, faulty_proxy
from tests.standins import entry

PASSING: dict[str, tuple[Fault, ...]] = {
    "slow down": (SLOW_DOWN,),
    "broken off": (BREAK,),
    "all of them": (SLOW_DOWN, INTERNAL, BREAK),
}
LASTING: dict[str, tuple[Fault, str]] = {
    "slow down at tiles": (SLOW_DOWN, "scratch.zarr/c/"),
    "no answer at tiles": (HANG, "scratch.zarr/c/"),
    "no answer at blocks": (HANG, "/0/c/"),
}
REFUSED_SECONDS = 3.0


def main(plan_path: str, endpoint: str, prefix: str) -> None:
    METHODS["box"] = entry("box")
    store_lock.BEAT_SECONDS, store_lock.LOOKS = 0.2, 5
    plan = read_plan(Path(plan_path))
    with faulty_proxy(endpoint) as proxy:
        os.environ["AWS_ENDPOINT_URL"] = proxy.endpoint
        for told in _cases(plan, proxy, prefix):
            print(json.dumps(told), flush=True)


def _cases(plan: RestorationPlan, proxy: FaultyProxy, prefix: str) -> Iterator[dict[str, Any]]:
    def case(name: str) -> RestorationPlan:
        proxy.fault = _sound
        return plan.model_copy(update={"target": f"{prefix}/{name.replace(' ', '-')}.ome.zarr"})

    yield _carried_out(case("whole"), proxy)
    for name, faults in PASSING.items():
        there = case(name)
        proxy.sometimes(0.04, *faults)
        yield _carried_out(there, proxy)
    there = case("refused")
    proxy.fault = _refusing(proxy)
    yield _carried_out(there, proxy)
    for name, (fault, words) in LASTING.items():
        there = case(name)
        proxy.fault = _at(fault, words)
        yield _resumed(there, proxy)


def _sound(method: str, path: str) -> Fault:
    return None


def _at(fault: Fault, words: str) -> Callable[[str, str], Fault]:
    return lambda method, path: fault if method == "PUT" and words in path else None


def _refusing(proxy: FaultyProxy) -> Callable[[str, str], Fault]:
    """Refuse connections for a while from the first tile on."""
    begun = threading.Event()

    def fault(method: str, path: str) -> Fault:
        if method == "PUT" and "scratch.zarr/c/" in path and not begun.is_set():
            begun.set()
            proxy.faults += 1
            threading.Thread(target=proxy.refuse, args=(REFUSED_SECONDS,), daemon=True).start()
        return None

    return fault


def _carried_out(plan: RestorationPlan, proxy: FaultyProxy) -> dict[str, Any]:
    before, began = proxy.faults, time.monotonic()
    verdict = carry_out(plan).verdict
    return {
        "target": plan.target, "verdict": verdict, "faults": proxy.faults - before, "seconds": time.monotonic() - began
    }  # fmt: skip


def _resumed(plan: RestorationPlan, proxy: FaultyProxy) -> dict[str, Any]:
    """Run into a fault that lasts, with little patience; then, where it is over, once more."""
    patience = stores.ATTEMPTS, stores.READ_SECONDS
    stores.ATTEMPTS, stores.READ_SECONDS = 2, 1
    error, began = "", time.monotonic()
    try:
        carry_out(plan)
    except ILError as told:
        error = str(told)
    seconds = time.monotonic() - began
    stores.ATTEMPTS, stores.READ_SECONDS = patience
    proxy.fault = _sound
    return _carried_out(plan, proxy) | {"error": error, "seconds_until_told": seconds}


if __name__ == "__main__":
    main(*sys.argv[1:])
