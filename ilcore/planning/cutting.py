"""How a volume is cut for a method: tiles large enough that little is read twice, small enough for a worker's memory.

    usual sides ─> grow until at most so many voxels are read for one written ─> within the memory of a worker

What a tile reads beyond its core is restored and thrown away, so voxels read for one written are the price of tiling.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

from ilcore.grammar.region import voxels
from ilcore.methods.entry import Entry
from ilcore.planning.depth import length_of
from ilcore.planning.options import Depth, DeviceKind
from ilcore.planning.plan import Five, GridPlan, SamplesPlan, Three
from ilcore.tiling.grid import Along, TileGrid, balanced_core

#: Voxels read for one written at most, where tiles learn and where something is only applied to them.
LEARNING_READS, APPLIED_READS = 2.7, 1.6
#: Memory that the largest tile may take on a worker; `il plan` tells what it takes.
TILE_BYTES = 12 * 2**30
#: Tiles up to which each is a unit of work of its own, and units of work that a run has at most.
_MANY, _UNITS = 64, 16_384
#: Tiles of a unit of work on a GPU, (depth, y, x), by how many voxels a tile reads at most: one tile takes there nearly
#: what dozens take together. A table, so that the same plan comes out whatever the machine that makes it can hold.
_TOGETHER: tuple[tuple[int, Three], ...] = (
    (2**15, (1, 16, 16)), (2**16, (1, 8, 16)), (2**18, (1, 8, 8)), (2**20, (1, 4, 4)), (2**22, (1, 2, 2)),
)  # fmt: skip


@dataclass(frozen=True)
class Cut:
    """A volume's shape, t c z y x, and which of its axes a method sees as depth."""

    shape: Five
    depth: Depth

    @property
    def lengths(self) -> Three:
        """Return how many voxels there are along depth, y and x."""
        return _of_axes((length_of(self.depth, self.shape), *self.shape[3:]))

    @property
    def space(self) -> int:
        """Return 3 where a method sees more than one plane at a time, else 2."""
        return 3 if self.lengths[0] > 1 else 2


def grid_for(
    entry: Entry,
    cut: Cut,
    scope: str,
    core: Three | None = None,
    kind: DeviceKind = "cpu",
    rim: Three = (0, 0, 0),
) -> GridPlan:
    """Return the grid for a method on a volume.

    Args:
        entry: The method.
        cut: The volume.
        scope: tile (learn on each) or volume (one model, applied to each).
        core: Core of a tile, (depth, y, x), where the user wants it so; chosen if left out.
        kind: Of the devices that tiles are put together for, to units of work.
        rim: Voxels that an operator sees beyond its own.
    """
    need = _Need.of(entry, cut, scope, rim)
    cores = need.balanced(core) if core else need.best()
    overlap = need.overlap(cores)
    tiles = math.prod(-(-n // side) for n, side in zip(cut.lengths, cores, strict=True))
    unit = _unit(tiles * cut.shape[0] * cut.shape[2] // cut.lengths[0], need.read(cores), kind)
    if cut.depth == "z":
        return GridPlan(core=cores, overlap=overlap, halo=need.halo, align=need.align, unit=unit)
    # What the method sees as depth is time, or nothing: along z every plane is a tile.
    flat = {
        name: (number, *values[1:])
        for name, number, values in (
            ("core", 1, cores), ("overlap", 0, overlap), ("halo", 0, need.halo), ("align", 1, need.align)
        )
    }  # fmt: skip
    along = Along(cores[0], overlap[0], need.halo[0], need.align[0])
    return GridPlan(**flat, unit=unit, time=along if cut.depth == "t" else Along())


def learns_on_tiles(entry: Entry, scope: str) -> bool:
    """Tell whether weights move on every tile."""
    return entry.method.budget > 0 and (scope == "tile" or entry.tile_steps > 0)


def tile_bytes(entry: Entry, scope: str, count: int, channels: int) -> int:
    """Return about how much memory a tile of `count` voxels takes while it is restored, the network's own included."""
    learning, applied = entry.kilobytes
    return count * channels * (learning if learns_on_tiles(entry, scope) else applied) * 1000


@dataclass(frozen=True)
class _Need:
    """What a method needs of a grid: context, alignment, and how much may be read and held."""

    entry: Entry
    cut: Cut
    scope: str
    halo: Three
    align: Three

    @classmethod
    def of(cls, entry: Entry, cut: Cut, scope: str, rim: Three = (0, 0, 0)) -> "_Need":
        halo = _of_axes(a + b for a, b in zip(_three(entry.halo(cut.space), 0), rim, strict=True))
        return cls(entry, cut, scope, halo, _three(entry.align(cut.space), 1))

    @property
    def learns(self) -> bool:
        return learns_on_tiles(self.entry, self.scope)

    @cached_property
    def usual(self) -> Three:
        """The sides that a tile would have if reading were free."""
        flat = self.halo[0] == 0
        side = 128 if self.learns or (self.cut.space == 3 and not flat) else 256
        return (8 if flat else 16, side, side)

    def balanced(self, wanted: Three) -> Three:
        """Return cores of about these sides, aligned, and as even as the volume allows."""
        return _of_axes(
            # A length that one tile may see whole is not cut in two because it is not aligned.
            -(-length // step) * step if side >= length else balanced_core(length, max(side, step), step)
            for length, side, step in zip(self.cut.lengths, wanted, self.align, strict=True)
        )

    def overlap(self, cores: Three) -> Three:
        return _of_axes(
            min(reach, side // 2) // step * step
            for reach, side, step in zip((0 if self.halo[0] == 0 else 2, 8, 8), cores, self.align, strict=True)
        )

    def best(self) -> Three:
        """Return the smallest cores from the usual ones on that read little enough, smaller ones where memory ends.

        Where nothing within the memory reads little enough, what reads least.
        """
        reads = LEARNING_READS if self.learns else APPLIED_READS
        found = list(self._candidates())
        fitting = [one for one in found if one.bytes <= TILE_BYTES] or [min(found, key=lambda one: one.bytes)]
        frugal = [one for one in fitting if one.reads <= reads]
        if not frugal:
            return min(fitting, key=lambda one: (one.reads, one.bytes)).cores
        usual = [one for one in frugal if self._is_usual(one.cores)]
        return min(usual or frugal, key=lambda one: (one.bytes, one.reads)).cores

    def _is_usual(self, cores: Three) -> bool:
        least = self.balanced(self.usual)
        return all(side >= usual for side, usual in zip(cores, least, strict=True))

    def _candidates(self) -> Iterator["_Found"]:
        """Yield cores that cut each axis into a few more or fewer tiles than the usual sides would; y and x alike."""
        depths = sorted({self.balanced((side, 1, 1))[0] for side in _sides(self.cut.lengths[0], 8)})
        planes = sorted({self.balanced((1, side, side))[1:] for side in _sides(max(self.cut.lengths[1:]), 48)})
        for depth, plane in product(depths, planes):
            yield self._found((depth, *plane))

    def read(self, cores: Three) -> int:
        """Return how many voxels the largest tile reads, of one channel."""
        grid = self._grid(cores)
        return max(voxels(grid.tile([n // 2 for n in grid.grid_shape]).read), voxels(grid.tile((0, 0, 0, 0)).read))

    def _grid(self, cores: Three) -> TileGrid:
        return TileGrid((1, 1, *self.cut.lengths), cores, self.overlap(cores), self.halo, self.align)

    def _found(self, cores: Three) -> "_Found":
        grid = self._grid(cores)
        held = tile_bytes(self.entry, self.scope, self.read(cores), self.cut.shape[1])
        return _Found(cores, voxels_read(grid) / math.prod(self.cut.lengths), held)


@dataclass(frozen=True)
class _Found:
    """Cores, with what they cost."""

    cores: Three
    reads: float
    bytes: int


def _sides(length: int, least: int) -> Iterator[int]:
    """Yield sides from `least` on, an eighth larger each time, and the whole length where it is not long."""
    side = least
    while side < min(length, 1024):
        yield side
        side += max(1, side // 8)
    if length <= 1024:
        yield length


def voxels_read(grid: TileGrid) -> int:
    """Return how many voxels all tiles read: a product over axes, however many tiles there are."""
    total = grid.shape5[1]
    for number, axis in enumerate((0, 2, 3, 4)):
        places = [[0] * 4 for _ in range(grid.grid_shape[number])]
        for at, place in enumerate(places):
            place[number] = at
        spans = [grid.tile(place).read[axis] for place in places]
        total *= sum(stop - start for start, stop in spans)
    return total


def samples_for(entry: Entry, cut: Cut) -> SamplesPlan:
    """Return the tiles from which a model of the whole volume is learnt."""
    flat = _three(entry.halo(cut.space), 0)[0] == 0
    wanted = (1 if flat else 8, 96, 96)
    extent = _of_axes(min(n, m) for n, m in zip(cut.lengths, wanted, strict=True))
    return SamplesPlan(count=24 if flat else 12, extent=extent, batch=4)


def _unit(tiles: int, voxels_of_one: int, kind: DeviceKind) -> Three:
    """Return the tiles of one unit of work.

    On a CPU one by one, until there are so many that keeping books costs; on a GPU many small ones together.
    """
    least = 1 if tiles <= _MANY else 2
    _, rows, columns = next((unit for most, unit in _TOGETHER if kind == "gpu" and voxels_of_one <= most), (1, 1, 1))
    rows, columns = max(rows, least), max(columns, least)
    while tiles / (rows * columns) > _UNITS:
        rows, columns = 2 * rows, 2 * columns
    return (1, rows, columns)


def _three(values: Sequence[int], filler: int) -> Three:
    return _of_axes((*(filler,) * (3 - len(values)), *values))


def _of_axes(values: Any) -> Three:
    z, y, x = (int(value) for value in values)
    return (z, y, x)
