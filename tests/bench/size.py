"""Time and peak memory of a whole run, driver and workers apart.

    python -m tests.bench.size 64x512x512 FOLDER [options of il restore]

The volume is made of generated scenes with noise, uint16, seed 0.
"""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil

from tests.scenes import noisy, scene


def volume(shape: tuple[int, ...], path: Path) -> None:
    """Write a noisy volume, plane by plane so that this script stays small."""
    out = np.lib.format.open_memmap(path, "w+", np.uint16, shape)
    planes = [out] if len(shape) == 2 else list(out)
    for z, plane in enumerate(planes):
        clean = scene("cells", shape[-2:], seed=z % 8)
        plane[:] = np.clip(noisy(clean, std=0.08, seed=z) * 4000 + 500, 0, 65535).astype(np.uint16)
    out.flush()


def watched(command: list[str]) -> tuple[int, float, dict[str, float]]:
    """Run a command; return its exit code, seconds, and the largest memory of each kind of process, in MB."""
    began, peak = time.perf_counter(), dict.fromkeys(("driver", "worker", "server"), 0.0)
    run = subprocess.Popen(command)
    driver = psutil.Process(run.pid)
    while run.poll() is None:
        try:
            for process in (driver, *driver.children(recursive=True)):
                kind = "driver" if process.pid == run.pid else _kind(process)
                peak[kind] = max(peak[kind], process.memory_info().rss / 2**20)
        except psutil.Error:
            pass
        time.sleep(0.2)
    return run.returncode, time.perf_counter() - began, peak


def _kind(process: psutil.Process) -> str:
    return "server" if "prefect" in " ".join(process.cmdline()) else "worker"


def main() -> None:
    """Print one row of the README's table."""
    name, folder, options = sys.argv[1], Path(sys.argv[2]), sys.argv[3:]
    shape = tuple(int(side) for side in name.split("x"))
    folder.mkdir(parents=True, exist_ok=True)
    source, target = folder / f"{name}.npy", folder / f"{name}.ome.zarr"
    volume(shape, source)
    axes = ["--axes", "zyx"] if len(shape) == 3 else []
    il = str(Path(sys.executable).with_name("il"))
    code, seconds, peak = watched([il, "restore", str(source), str(target), "--workers", "2", *axes, *options])
    memory = " | ".join(f"{peak[kind]:.0f} MB" for kind in ("driver", "worker"))
    print(f"| {name} | exit {code} | {seconds:.0f} | {memory} |")


if __name__ == "__main__":
    main()
