"""Nights over an archive, one after the other in one process; run by test_nightly.py.

    week.py ARCHIVE DAYS.json  ->  one JSON line a night: what it did, and what the process holds afterwards

DAYS is a list, one entry a night: files to be copied into the archive before it.
"""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import psutil

from flows.nightly import nightly
from flows.running import settled


def main(archive: str, days: str) -> None:
    for day in json.loads(Path(days).read_text()):
        for origin, place in day:
            shutil.copy(origin, place)
        summary = settled(nightly, {"archive": archive})
        print(json.dumps({"counts": summary["counts"], "not_done": summary["not_done"], **_held()}), flush=True)


def _held() -> dict[str, Any]:
    own = psutil.Process()
    workers = [each for each in own.children(recursive=True) if "spawn_main" in " ".join(each.cmdline())]
    return {"megabytes": own.memory_info().rss // 2**20, "files": own.num_fds(), "workers": len(workers)}


if __name__ == "__main__":
    main(*sys.argv[1:])
