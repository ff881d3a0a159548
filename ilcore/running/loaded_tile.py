"""A tile in the hands of a worker."""

from dataclasses import dataclass

from ilcore.planning.depth import within
from ilcore.running.patches import Patch, patch_of
from ilcore.running.run import Run
from ilcore.tiling.grid import Tile


@dataclass(frozen=True)
class LoadedTile:
    """One tile as it is read, and the part of it that is kept; `made` is the same tile on the grid of the result.

    `inner` is that part in what is read, `shown` in the image that is made of it.
    """

    tile: Tile
    made: Tile
    frame: Patch
    kept: Patch
    inner: tuple[slice, ...]
    shown: tuple[slice, ...]

    @classmethod
    def of(cls, run: Run, tile: Tile) -> "LoadedTile":
        """Read a tile of a run."""
        depth, made = run.plan.depth, run.result_grid.tile(tile.index)
        frame = patch_of(run.source, tile.read, run.plan)
        inner, shown = within(tile.keep, tile.read, depth), within(made.keep, made.read, depth)
        return cls(tile, made, frame, frame.part(inner), inner, shown)
