"""What a step of every method asks of a GPU, counted without one.

    python -m tests.bench.launches [--tiles 1,8] [--page docs/benchmarks-gpu.md] [METHOD ...]

Methods are carried out as on a GPU, on a device that exists in name only (`tests.claimed_device`). Networks are as deep
as the catalogue's and narrow: how many operators there are does not depend on the width.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from ilcore.benchmark.counting import Counts, counted
from ilcore.benchmark.page import grid, write_between
from ilcore.benchmark.speed import PAGE, tiles_in
from ilcore.benchmark.speed_page import TITLE
from ilcore.benchmark.speed_rows import FEW, SpeedRow, SpeedWishes, Work
from ilcore.methods.catalogue import METHODS, find
from ilcore.methods.entry import Entry, configure, knobs
from tests.claimed_device import claimed_device

SIDE, WIDTH = 32, 8
#: Of methods whose readout looks many times: fewer, since the difference of two runs leaves them out.
PASSES = 2


def narrow(entry: Entry) -> Entry:
    """Return a method with a network as deep and less wide; one that starts from given weights stays as it is."""
    if "weights" in entry.needs:
        return entry
    small = {"network.width": WIDTH, "network.inner.width": WIDTH, "views.passes": PASSES}
    return configure(entry, {name: value for name, value in small.items() if name in knobs(entry)})


def counts(name: str, tiles: int, steps: int) -> Counts:
    """Return what was counted while tiles made so many steps, or were restored where there are none."""
    with claimed_device() as device:
        work = Work.of(SpeedRow(name=name, tiles=tiles, side=SIDE), 0, device)
        work = replace(work, entry=narrow(work.entry))
        with counted(device) as found:
            work.restored(steps if work.entry.method.budget else None)
    return found


def counts_of_step(name: str, tiles: int) -> tuple[float, float, float]:
    """Return launches, host reads and bytes drawn on the host, a step or of the whole."""
    steps = SpeedWishes.steps
    if not find(name).method.budget:
        steps, found = 1, counts(name, tiles, 0)
    else:
        found = counts(name, tiles, FEW + steps) - counts(name, tiles, FEW)
    return found.launches / steps, found.host_reads / steps, found.host_drawn_bytes / steps


def line(name: str, tiles: Sequence[int]) -> list[str]:
    """Return one line of the table."""
    unit = "step" if METHODS[name].method.budget else "whole"
    try:
        found = [counts_of_step(name, count) for count in tiles]
    except Exception as error:  # A method that fails is a line that says so.
        return [f"`{name}`", f"{type(error).__name__}: {error}".splitlines()[0][:120], *["-"] * (3 * len(tiles))]
    return [f"`{name}`", unit, *(_number(one[kind]) for kind in range(3) for one in found)]


def text(lines: Sequence[Sequence[str]], tiles: Sequence[int], command: str) -> str:
    """Return everything that belongs between the markers."""
    heads = [f"{what}, {n}" for what in ("launches", "host reads", "bytes drawn on the host") for n in tiles]
    return f"""## Counted for a GPU

{datetime.now(UTC).date().isoformat()}, without a GPU: methods are carried out as on one, on a device that exists in
name only, so that what a real one would be asked is counted and nothing is timed. Networks as deep as the catalogue's,
{WIDTH} wide; tiles of {SIDE} x {SIDE}; runs of {FEW} and {FEW + SpeedWishes.steps} steps, their difference over the
steps between. *Launches* are operators that compute on the device, *host reads* the times the host waited for its
values; the number is that of tiles restored together. Methods without steps: the whole. A real GPU has fewer launches:
there torch's optimisers move all weights at once, here one after the other.

    {command}

{grid(["method", "of a", *heads], lines)}"""


def _number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if value < 10 else f"{value:.0f}"


def main() -> None:
    """Count, and write the page line by line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("methods", nargs="*", metavar="METHOD", help="all")
    parser.add_argument("--tiles", default="1,8")
    parser.add_argument("--page", type=Path, default=Path(PAGE))
    given = parser.parse_args()
    tiles, lines = tiles_in(given.tiles), []
    command = f"python -m tests.bench.launches --tiles {given.tiles} {' '.join(given.methods)}".rstrip()
    for name in given.methods or METHODS:
        lines.append(line(name, tiles))
        print(*lines[-1], flush=True)
        write_between(given.page, text(lines, tiles, command), title=TITLE, part="for a GPU")


if __name__ == "__main__":
    main()
