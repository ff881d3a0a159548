"""What every method costs, beside the denoisers of scikit-image, in one run.

    python -m tests.bench.speed [--methods NAME ...] [--rows FILE.jsonl] [--page FILE.md]       (make bench-speed)

Each row is measured in a process of its own on one thread, and kept in the file of rows as soon as it is there: the
same command goes on where it was interrupted. Rows of another version of a method, of another machine or of other
settings are measured anew.

A method that makes steps is measured for a few of them; what its whole budget takes is reckoned from their slope, and
the table says so. Methods without steps are measured whole.
"""

import argparse
import json
import math
import platform
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from skimage import data, restoration

from ilcore import fit
from ilcore.adapting.weights import SHIPPED, load_denoiser
from ilcore.benchmark.lines import Lines
from ilcore.benchmark.page import processor
from ilcore.grammar.arrays import Streams
from ilcore.grammar.problem import Noise, Problem
from ilcore.methods.catalogue import METHODS
from ilcore.methods.entry import Entry, configure
from ilcore.planning.cutting import Cut, grid_for, samples_for, voxels_read
from ilcore.planning.make import plan_restoration
from ilcore.running.carry_out import carry_out
from ilcore.tiling.grid import TileGrid
from tests.quick import DENOISERS, QUICK

SEED, STD = 0, 25 / 255
#: Side of the image that is restored whole, of the tile on which steps are made, and of the image of the whole chain.
WHOLE, TILE, CHAIN = 256, 64, 128
#: Steps of the two runs whose difference tells what a step takes; most rules look once or more on the way.
FEW, MORE = 1, 26
#: Volumes (t c z y x) for which voxels read are reckoned from the grid that a plan takes.
PLANE, STACK = (1, 1, 1, 4096, 4096), (1, 1, 64, 1024, 1024)
#: A fork has imported everything already, so that memory and time are the method's; macOS wants a fresh process.
_START = "spawn" if sys.platform == "darwin" else "fork"
FOLDER = Path(__file__).parents[2] / "docs"
#: What others have: name -> what restores an image, told the noise.
YARDSTICKS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "skimage nl_means": lambda seen: restoration.denoise_nl_means(
        seen, patch_size=7, patch_distance=11, h=0.8 * STD, sigma=STD, fast_mode=True
    ),
    "skimage wavelet": lambda seen: restoration.denoise_wavelet(seen, sigma=STD, rescale_sigma=True),
    "skimage tv": lambda seen: restoration.denoise_tv_chambolle(seen, weight=STD),
}
#: Methods of the catalogue to which others are compared: that one is somebody else's program.
BESIDE = "bm3d"


@dataclass(frozen=True, kw_only=True)
class Row:
    """What one method takes; CPU seconds of one thread, and None where a number makes no sense or was refused.

    Args:
        name: Of the method, or of a yardstick.
        key: What was measured: the recipe and its version, the settings, the machine.
        restored: For a megavoxel, tile by tile; reckoned from a few steps where there are steps.
        steps: Of the whole budget.
        learnt: To learn one model of a volume, once, whatever its size; reckoned from the same steps.
        applied: For a megavoxel, where weights learnt elsewhere are applied.
        peak_mb: Most memory of the process until the image or tile was restored.
        reads: Voxels read for a voxel of the result, in a plane and in a stack.
        planning: To plan the image of the whole chain.
        chain: For that image all but the method itself: reading, judging, writing, publishing.
        refused: Why there is nothing.
    """

    name: str
    key: str
    restored: float | None = None
    steps: int = 0
    learnt: float | None = None
    applied: float | None = None
    peak_mb: float | None = None
    reads: tuple[float, float] | None = None
    planning: float | None = None
    chain: float | None = None
    refused: str = ""


def machine() -> str:
    """Return what numbers hold for: the processor and the versions that compute."""
    versions = f"Python {platform.python_version()}, torch {version('torch')}, scikit-image {version('scikit-image')}"
    return f"{processor()}, {versions}"


def key_of(name: str) -> str:
    """Return everything that decides a row but chance."""
    what = [METHODS[name].version, repr(METHODS[name].method)] if name in METHODS else []
    what += [find_spec(BESIDE) is not None] if name == BESIDE else []
    return json.dumps([name, *what, SEED, STD, WHOLE, TILE, CHAIN, FEW, MORE, PLANE, STACK, machine()])


def seen_of(side: int) -> np.ndarray:
    """Return the photograph with noise, [y, x]; the middle of it."""
    start = (512 - side) // 2
    clean = data.camera()[start : start + side, start : start + side] / 255.0
    return (clean + STD * np.random.default_rng(SEED).normal(size=clean.shape)).astype(np.float32)


def problem_of(entry: Entry, side: int) -> Problem:
    """Return one tile; a stack of eight planes where the method needs one."""
    seen = torch.from_numpy(seen_of(side))[None, None]
    if "stack" in entry.needs:
        seen = torch.stack([seen.roll(n, -1) for n in range(8)], 2)
    return Problem(observed=seen, noise=(Noise(read_std=STD),), value_range=(-0.5, 1.5))


def measured(name: str) -> Row:
    """Measure one row, in this process."""
    torch.set_num_threads(1)
    row = Row(name=name, key=key_of(name))
    if name == BESIDE and find_spec(BESIDE) is None:
        return replace(row, refused="not installed")
    try:
        return _of_method(row) if name in METHODS else _of_yardstick(row)
    except Exception as error:  # A method that is refused here is a row that says so.
        return replace(row, refused=f"{type(error).__name__}: {error}".splitlines()[0])


def _of_yardstick(row: Row) -> Row:
    seen = seen_of(WHOLE)
    YARDSTICKS[row.name](seen[:64, :64])
    taken = cpu_of(lambda: YARDSTICKS[row.name](seen))
    return replace(row, restored=taken / (seen.size / 1e6), peak_mb=peak_mb())


def _of_method(row: Row) -> Row:
    entry = METHODS[row.name]
    row = _of_steps(row, entry) if entry.method.budget else _of_whole(row, entry)
    return _of_chain(replace(row, peak_mb=peak_mb(), reads=reads_of(entry)), entry)


def _of_whole(row: Row, entry: Entry) -> Row:
    problem = problem_of(entry, WHOLE)
    fit.restore(entry.method, problem_of(entry, 64), _streams())
    taken = cpu_of(lambda: fit.restore(entry.method, problem, _streams()))
    return replace(row, restored=taken / (problem.observed.numel() / 1e6))


def _of_steps(row: Row, entry: Entry) -> Row:
    problem, start = problem_of(entry, TILE), load_denoiser(SHIPPED)[1] if "weights" in entry.needs else None

    def restored(steps: int) -> float:
        method = configure(entry, {"steps": steps}).method
        return cpu_of(lambda: fit.restore(method, problem, _streams(), start=start))

    restored(1)
    short, long = restored(FEW), restored(MORE)
    # `Sequential` has a budget for each of its methods.
    step, budget = (long - short) / (MORE - FEW), _shares(entry)
    whole = max(short - FEW * step, 0) + budget * step
    megavoxels = problem.observed.numel() / 1e6
    row = replace(row, restored=whole / megavoxels, steps=entry.method.budget)
    if entry.usual_scope == "volume":
        row = replace(row, learnt=budget * step * _sampled(entry) / problem.observed.numel())
    if not entry.can_apply:
        return row
    method = configure(entry, {"steps": 1}).method
    weights = start or fit.restore(method, problem, _streams()).weights
    assert weights is not None
    return replace(row, applied=cpu_of(lambda: fit.predict(method, problem, weights, _streams())) / megavoxels)


def _shares(entry: Entry) -> float:
    """Return the steps of the whole budget in those of a run that was told how many each method makes."""
    return entry.method.budget / configure(entry, {"steps": 1}).method.budget


def _sampled(entry: Entry) -> int:
    """Return the voxels of one step when a model of a volume is learnt."""
    cut = Cut(STACK, "z") if "stack" in entry.needs else Cut(PLANE, "none")
    samples = samples_for(entry, cut)
    return samples.batch * math.prod(samples.extent)


def _of_chain(row: Row, entry: Entry) -> Row:
    """Carry out a whole run, and tell apart the method, as small as in the tests, from what is around it."""
    problem = problem_of(entry, CHAIN)
    overrides = QUICK[row.name] | ({"steps": 1} if entry.method.budget else {})
    with tempfile.TemporaryDirectory(prefix="il-speed-") as folder:
        source, target = f"{folder}/seen.npy", f"{folder}/out.ome.zarr"
        np.save(source, problem.observed[0, 0].numpy())
        told = {"method": row.name, "overrides": overrides, "noise_std": STD, "seed": SEED}
        began = time.process_time()
        plan = plan_restoration(source, target, axes="zyx"[-problem.observed.ndim + 2 :], **told)
        planning = time.process_time() - began
        with inside_methods() as spent:
            taken = cpu_of(lambda: carry_out(plan))
    return replace(row, planning=planning, chain=taken - sum(spent.values()))


@contextmanager
def inside_methods() -> Iterator[dict[str, float]]:
    """Count the CPU seconds in which methods learn, restore and predict."""
    spent, depth = dict.fromkeys(("learn", "restore", "predict"), 0.0), [0]

    def counted(name: str, work: Callable[..., object]) -> Callable[..., object]:
        def run(*given: object, **named: object) -> object:
            began, depth[0] = time.process_time(), depth[0] + 1
            try:
                return work(*given, **named)
            finally:
                depth[0] -= 1
                # What a method does inside another is counted once.
                spent[name] += time.process_time() - began if depth[0] == 0 else 0

        return run

    with mock.patch.multiple(fit, **{name: counted(name, getattr(fit, name)) for name in spent}):
        yield spent


def reads_of(entry: Entry) -> tuple[float, float]:
    """Return the voxels read for one of the result: in a large plane and in a large stack."""
    found = []
    for shape in (PLANE, STACK):
        grid = grid_for(entry, Cut(shape, "z" if shape[2] > 1 else "none"), entry.usual_scope)
        five = TileGrid(shape, grid.core, grid.overlap, grid.halo, grid.align)
        found.append(voxels_read(five) / np.prod(shape))
    return float(found[0]), float(found[1])


def cpu_of(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def peak_mb() -> float:
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (2**20 if sys.platform == "darwin" else 2**10)


def _streams() -> Streams:
    return Streams.of(SEED, "speed", [(0,)])


def apart(name: str) -> Row:
    """Measure one row in a process of its own."""
    with ProcessPoolExecutor(1, get_context(_START)) as processes:
        try:
            return processes.submit(measured, name).result()
        except BrokenProcessPool:
            return Row(name=name, key=key_of(name), refused="its process died")


def row_of(line: dict[str, object]) -> Row:
    """Return a row as a file holds it."""
    reads = line.pop("reads", None)
    return Row(**line, reads=tuple(reads) if reads else None)


def rows_of(names: list[str], lines: Lines, work: Callable[[str], Row] = apart) -> dict[str, Row]:
    """Return the rows of methods, by name; those that the file lacks are measured and added to it."""
    held = {line["key"]: row_of(line) for line in lines.read()}
    found = {}
    for name in names:
        row = held.get(key_of(name))
        if row is None:
            row = work(name)
            lines.add(asdict(row))
            print(f"{name}: {row.refused or f'{row.restored:.3g} CPU s a megavoxel'}", flush=True)
        found[name] = row
    return found


def page(found: dict[str, Row], command: str) -> str:
    """Return the page in Markdown."""
    rates = {name: found[name].restored for name in (*YARDSTICKS, BESIDE) if name in found}
    head = ["method", "CPU s a megavoxel", "steps", "applied", "one model", "peak MB", "kB a voxel", "read, plane"]
    head += ["read, stack", "plan", "chain", *(f"x {name}" for name in rates)]
    lines = ["| " + " | ".join(head) + " |", "| --- " * len(head) + "|"]
    for name, row in found.items():
        rate = row.refused if row.refused else _number(row.restored)
        memory = (
            " to ".join(str(each) for each in sorted(set(METHODS[name].kilobytes) - {0})) if name in METHODS else "-"
        )
        cells = [
            f"`{name}`",
            rate,
            str(row.steps or "-"),
            *map(_number, (row.applied, row.learnt, row.peak_mb)),
            memory,
        ]
        cells += map(_number, (*(row.reads or (None, None)), row.planning, row.chain))
        cells += [_number(row.restored / rate if row.restored and rate else None) for rate in rates.values()]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([_head(command), *lines, ""])


def _head(command: str) -> str:
    plane, stack = (" x ".join(str(side) for side in shape if side > 1) for shape in (PLANE, STACK))
    return f"""# What methods cost

Written by `make bench-speed`; do not edit. CPU seconds of one thread, each row in a process of its own, all on one
machine: seconds are that machine's, ratios hold better. It was shared with other work, so that a number may be a
third too high.

    {command}

Machine: {machine()}. Data: scikit-image's photograph *camera*, its middle, with white noise of 25 of 255, seed {SEED};
for methods that need a stack, eight planes of it, shifted.

- **CPU s a megavoxel**, tile by tile. Without steps: measured whole, on {WHOLE} x {WHOLE}. With steps: **reckoned, not
  run to the end**: a tile of {TILE} x {TILE} was given {FEW} and {MORE} steps, and what a step takes is multiplied by
  the whole budget (*steps*), with what its rule looked at in between. Rules that stop earlier make it less.
- **applied**: CPU s a megavoxel where weights learnt elsewhere are only applied.
- **one model**: CPU s to learn the model of a volume, once, whatever its size, where that is the usual way; reckoned
  from the same steps and the voxels of one step.
- **peak MB**: of the process with that image or tile; Python, torch and the rest alone take some 250.
  **kB a voxel**: what a tile takes, by the catalogue, applied and learning; `python -m tests.bench.memory` measures it.
- **read**: voxels read for one of the result, by the tiles that a plan takes for {plane} and for {stack}.
- **plan**, **chain**: CPU s for {CHAIN} x {CHAIN} from a file to a published OME-Zarr: planning, and all of the run
  that is not the method itself (reading, judging, writing, publishing).
- **x NAME**: how many times what NAME takes. `bm3d` is an optional extra, for non-commercial use only; where it is not
  installed, there are no ratios to it.
"""


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def main() -> None:
    """Measure what is missing and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="*", choices=[*YARDSTICKS, *METHODS], metavar="NAME")
    parser.add_argument("--rows", type=Path, default=FOLDER / "benchmarks-speed.jsonl")
    parser.add_argument("--page", type=Path, default=FOLDER / "benchmarks-speed.md")
    given = parser.parse_args()
    torch.set_num_threads(1)
    names = [*YARDSTICKS, *(given.methods or DENOISERS)]
    found = rows_of(list(dict.fromkeys(names)), Lines(given.rows))
    command = "python -m tests.bench.speed" + (f" --methods {' '.join(given.methods)}" if given.methods else "")
    given.page.write_text(page(found, command))


if __name__ == "__main__":
    main()
