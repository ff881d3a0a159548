"""What a huge volume would cost, counted from a plan for it and from constants that were measured: on paper.

    python -m tests.bench.estimate [--shape 2000,50000,50000] [--workers 64] [--seconds-per-megavoxel 0.02]

The grid, the layout and the records are the real ones, for a volume of that shape that is never made.
"""

import argparse
import math

import numpy as np

from ilcore.formats.open import from_array
from ilcore.methods.catalogue import find
from ilcore.planning.cutting import Cut, grid_for
from ilcore.results.layout import layout_for
from ilcore.results.pyramid import level_factors, shrunk
from ilcore.running.ledger import _BLOCK, CURVE, RECORD
from ilcore.tiling.grid import TileGrid

#: Prices of a common object store, dollars: a thousand PUTs, a thousand GETs, a GB a month. Of one GPU hour: a guess.
PUT, GET, GB_MONTH, GPU_HOUR = 0.005, 0.0004, 0.023, 3.0
#: Compressed size of noisy voxels and of restored tiles in scratch, of their size in memory.
NOISY, SCRATCH = 0.7, 0.8


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--shape", default="2000,50000,50000", help="z,y,x of 16-bit voxels")
    words.add_argument("--workers", type=int, default=64)
    words.add_argument("--seconds-per-megavoxel", type=float, default=0.02, help="of one worker")
    words.add_argument("--megabytes-per-second", type=float, default=100.0, help="copied by one worker, checked")
    asked = words.parse_args()
    z, y, x = (int(part) for part in asked.shape.split(","))
    # One voxel in memory, seen everywhere.
    volume = from_array(np.broadcast_to(np.zeros(1, "u2"), (z, y, x)))
    cut = grid_for(find("adapted"), Cut(volume.shape, "z"), "volume")
    grid = TileGrid(volume.shape, cut.core, cut.overlap, cut.halo, cut.align, cut.unit)
    for name, value in _counted(volume.shape, grid, asked).items():
        print(f"| {name} | {value} |")


def _counted(shape: tuple[int, ...], grid: TileGrid, asked: argparse.Namespace) -> dict[str, str]:
    layout, voxels, tiles = layout_for(shape), math.prod(shape), len(grid)
    units, blocks = math.prod(grid.unit_shape), _pieces(shape, layout.unit)
    levels = [shrunk(shape, factors) for factors in level_factors(shape, (1.0,) * 5)]
    coarse = sum(_pieces(level, layout_for(level).unit) for level in levels)
    read = math.prod(n + 2 * (o + h) for n, o, h in zip(grid.core, grid.overlap, grid.halo, strict=True))
    kept = math.prod(n + 2 * o for n, o in zip(grid.core, grid.overlap, strict=True))
    # Inner chunks of the source that an average tile and an average block meet, each by one ranged GET.
    spans = zip(grid.core, grid.overlap, grid.halo, layout.chunks[2:], strict=True)
    chunks_of_tile = math.prod((n + 2 * (o + h)) / c + 1 for n, o, h, c in spans)
    tiles_of_block = math.prod((u / n) + 1 for u, n in zip(layout.unit[2:], grid.core, strict=True))
    gets = tiles * chunks_of_tile + blocks * (tiles_of_block + 2) + units * 2 + coarse * 10
    puts = tiles + 2 * units + blocks + coarse
    seconds = voxels / 1e6 * asked.seconds_per_megavoxel * (read / math.prod(grid.core))
    moved = voxels * 2 * (read / math.prod(grid.core)) + voxels * 4 * kept / math.prod(grid.core) * 2 + voxels * 2 * 3.3
    io = moved / 1e6 / asked.megabytes_per_second
    hours = (seconds + io) / asked.workers / 3600
    ledger = tiles * (RECORD.itemsize + 8 * CURVE + 4) + blocks * _BLOCK.itemsize
    scratch = voxels * 4 * kept / math.prod(grid.core) * SCRATCH
    return {
        "volume": f"{voxels * 2 / 1e12:.1f} TB, {voxels:.2e} voxels of 16 bits",
        "tiles, units of work, write units": f"{tiles:,} / {units:,} / {blocks:,}",
        "voxels read for one restored": f"{read / math.prod(grid.core):.2f}",
        "GET and PUT requests": f"{gets:.2e} / {puts:.2e}",
        "bytes moved": f"{moved / 1e12:.0f} TB",
        "ledger": f"{ledger / 2**30:.2f} GiB in {units * 2 + 2:,} objects",
        "scratch, while it runs": f"{scratch / 1e12:.1f} TB",
        "result with pyramid": f"{voxels * 2 * NOISY * 8 / 7 / 1e12:.1f} TB",
        f"hours of {asked.workers} workers": f"{hours:.1f} ({seconds / (seconds + io):.0%} of it computing)",
        "cost of requests": f"${gets / 1000 * GET + puts / 1000 * PUT:,.0f}",
        "cost of workers": f"${hours * asked.workers * GPU_HOUR:,.0f} at ${GPU_HOUR:g} an hour",
        "cost of scratch": f"${scratch / 1e9 * GB_MONTH * hours / 730:,.0f}",
    }


def _pieces(shape: tuple[int, ...], unit: tuple[int, ...]) -> int:
    return math.prod(-(-length // step) for length, step in zip(shape, unit, strict=True))


if __name__ == "__main__":
    main()
