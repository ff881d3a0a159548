"""What a scan in a night costs beyond its work: many tiny scans, one night.

python -m tests.bench.tiny [--scans 200] [--folder FOLDER]
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil

from tasks.environment import settings


def archive_in(folder: Path, scans: int) -> Path:
    """Write an archive of scans of 64 x 64 pixels, each with noise of its own, and return its file."""
    (folder / "scans").mkdir(parents=True)
    for number in range(scans):
        values = np.random.default_rng(number).normal(1000, 30, (64, 64)).clip(0, 65535)
        np.save(folder / "scans" / f"s{number:04}.npy", values.astype("u2"))
    content = {
        "name": "tiny", "books": "books",
        "sources": [{
            "find": "scans/*.npy", "target": "out/{stem}.ome.zarr", "settle_minutes": 0,
            "restore": {"method": "nlm", "axes": "yx"},
        }],
        "night": {"workers": 1, "device": "cpu"},
    }  # fmt: skip
    path = folder / "archive.yaml"
    path.write_text(json.dumps(content))
    return path


def cpu_seconds() -> float:
    """Return what this process and all that it started have used."""
    own = psutil.Process()
    used = [each.cpu_times() for each in (own, *own.children(recursive=True))]
    return sum(each.user + each.system for each in used)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scans", type=int, default=200)
    parser.add_argument("--folder", type=Path)
    told = parser.parse_args()
    settings.apply()
    settings.hush()
    with tempfile.TemporaryDirectory() as place:
        archive = archive_in((told.folder or Path(place)) / "tiny", told.scans)
        from flows import nightly as flow

        marks: list[tuple[float, float]] = []
        one = flow._one

        def marked(*words: object) -> None:
            marks.append((time.monotonic(), cpu_seconds()))
            one(*words)  # type: ignore[arg-type]

        flow._one = marked
        summary = flow.nightly(archive=str(archive), return_state=True).result(raise_on_failure=False)
    work = sorted(each["outcome"]["numbers"]["seconds"] for each in summary["done"][1:])
    (first, first_cpu), (last, last_cpu) = marks[1], marks[-1]
    scans = len(marks) - 2
    wall = (last - first) / scans
    print(f"{summary['counts']}; the first scan, with workers to start and modules to load, is left out")
    mean = sum(work) / len(work)
    print(f"a scan: {wall:.2f} s, of which its work {mean:.2f} s: {wall - mean:.2f} s beyond")
    print(f"a scan: {(last_cpu - first_cpu) / scans:.2f} CPU s of all processes")


if __name__ == "__main__":
    main()
