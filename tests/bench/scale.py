"""A million tiles planned, taken up again and summed up: seconds and memory of the driver.

    python -m tests.bench.scale [--tiles 1000] [--done 0.5]

A plane of 8 x 8-voxel tiles, `--tiles` along y and along x, of a method that costs nothing. Units are committed
straight to the ledger, as workers would, so that only planning, books and verdict are measured. Each stage runs in a
process of its own, so that its peak memory is its own.
"""

import argparse
import multiprocessing
import resource
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from ilcore.planning.make import plan_restoration
from ilcore.planning.plan import RestorationPlan, read_plan
from ilcore.results.write import create_array
from ilcore.running import stages
from ilcore.running.ledger import Ledger
from ilcore.running.workspace import Workspace

CORE = 8
ROW = {
    "status": "restored", "used": "tile", "reason": "applied", "digest": 1, "residual_level": 1.0, "residual_lag": 0.0,
    "residual_structure": 1.0, "contrast_loss": 0.0, "shift": 0.0, "flux_change": 0.0, "noise_std": 0.1, "seconds": 0.1,
}  # fmt: skip


def plan(folder: Path, tiles: int) -> None:
    """Make a noisy source, and plan for it."""
    side = tiles * CORE
    source = create_array(str(folder / "source.zarr"), shape=(1, 1, 1, side, side), dtype="u2", axes="yx")
    rng = np.random.default_rng(0)
    step = source.unit[3]
    for top in range(0, side, step):
        for left in range(0, side, step):
            spans = ((0, 1), (0, 1), (0, 1), (top, min(top + step, side)), (left, min(left + step, side)))
            size = tuple(stop - start for start, stop in spans)
            source.write(spans, rng.poisson(100, size).astype("u2"))
    began = time.perf_counter()
    made = plan_restoration(
        str(folder / "source.zarr"), str(folder / "out.ome.zarr"), method="nlm", tile=(1, CORE, CORE)
    )
    print(f"| plan, source digest included | {time.perf_counter() - began:.1f} | {_peak():.0f} |")
    (folder / "plan.yaml").write_text(made.to_yaml())


def prepare(folder: Path, tiles: int) -> None:
    """Make the workspace, or take it up."""
    made = read_plan(folder / "plan.yaml")
    workspace = Workspace.of(made.target)
    with workspace.locked():
        began = time.perf_counter()
        standing = stages.prepare(made, workspace)
        todo = Ledger(workspace.ledger, made.tile_grid).open_places()
    print(
        f"| prepare: {len(made.tile_grid)} tiles, {standing.units} units, {len(todo)} open | "
        f"{time.perf_counter() - began:.1f} | {_peak():.0f} |"
    )


def commit(folder: Path, tiles: int, share: float = 0.5) -> None:
    """Commit a share of the units, as workers do."""
    made = read_plan(folder / "plan.yaml")
    ledger = Ledger(Workspace.of(made.target).ledger, made.tile_grid)
    places = ledger.open_places()
    some = places[: round(share * len(places))]
    began = time.perf_counter()
    for place in some:
        unit = made.tile_grid.unit_of(place)
        ledger.commit(unit, [ROW] * len(unit.tiles))
    seconds = time.perf_counter() - began
    print(f"| commit {len(some)} units: {1000 * seconds / len(some):.2f} ms each | {seconds:.1f} | {_peak():.0f} |")


def verdict(folder: Path, tiles: int) -> None:
    """Judge all tiles, as at the end of a run."""
    made: RestorationPlan = read_plan(folder / "plan.yaml")
    began = time.perf_counter()
    report = stages.verdict_of(made, Workspace.of(made.target))
    print(f"| verdict ({report.verdict}) | {time.perf_counter() - began:.1f} | {_peak():.0f} |")


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiles", type=int, default=1000)
    asked = parser.parse_args()
    alone = multiprocessing.get_context("spawn")
    print("| stage | seconds | peak MB |\n| --- | --- | --- |", flush=True)
    with TemporaryDirectory() as folder:
        for stage in (plan, prepare, commit, prepare, commit, prepare, verdict):
            process = alone.Process(target=stage, args=(Path(folder), asked.tiles))
            process.start()
            process.join()
            if process.exitcode:
                raise SystemExit(process.exitcode)


if __name__ == "__main__":
    main()
