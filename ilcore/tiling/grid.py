"""The tile grid: who owns which voxels, who keeps which, who reads which.

    along one axis, core 8, overlap 2, halo 3:

    core        |       0       |       1       |       2   |          every voxel in exactly one core
    keep        |.................|.            |           |  tile 0   core + overlap, clipped at the edge
                |             .|.................|.         |  tile 1
    read        |....................|          |           |  tile 0   keep + halo, clipped at the edge
                |          .|.......................|       |  tile 1

Neighbours blend over the 2 * overlap voxels around their common border. A tile reads more than it keeps, so that
what it keeps never saw the artificial edge of the tile.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import product
from typing import TypeAlias

from ilcore.grammar.errors import TilingError
from ilcore.grammar.region import Five, Region, clip, five, grow, region_of

#: One whole number for each of z, y, x.
Three: TypeAlias = tuple[int, int, int]
#: A place in the grid: t, z, y, x. Channels are never split.
Index: TypeAlias = tuple[int, int, int, int]


@dataclass(frozen=True)
class Tile:
    """One tile: its place in the grid and its three boxes, one inside the other."""

    index: Index
    core: Region
    keep: Region
    read: Region


@dataclass(frozen=True)
class Unit:
    """The tiles that are restored together: one batch, one chunk of the ledger."""

    index: Index
    tiles: tuple[Tile, ...]


@dataclass(frozen=True)
class Along:
    """How one axis is cut: voxels that a tile owns, keeps and reads beyond them, and the step of all three."""

    core: int = 1
    overlap: int = 0
    halo: int = 0
    align: int = 1


@dataclass(frozen=True)
class TileGrid:
    """A regular cut of a volume into tiles.

    Args:
        shape5: Size of the volume, t c z y x.
        core: Voxels (z, y, x) that a tile owns.
        overlap: Voxels kept beyond the core on each side, blended with the neighbour; at most half a core.
        halo: Voxels read beyond those on each side, thrown away after restoring.
        align: Cores, kept and read regions start at multiples of this (a network's downsampling, a colour mosaic).
        unit: Tiles (z, y, x) in one unit of work.
        time: How time is cut; each frame alone by default, several where frames are context for each other.

    Raises:
        TilingError: The numbers make no grid; the message lists every complaint.
    """

    shape5: Five
    core: Three
    overlap: Three = (0, 0, 0)
    halo: Three = (0, 0, 0)
    align: Three = (1, 1, 1)
    unit: Three = (1, 1, 1)
    time: Along = Along()

    def __post_init__(self) -> None:
        complaints = list(_complaints(self))
        if complaints:
            raise TilingError(f"a tile grid needs sound numbers, got {self}: " + "; ".join(complaints))
        object.__setattr__(self, "shape5", five(self.shape5))
        for name in ("core", "overlap", "halo", "align", "unit"):
            z, y, x = getattr(self, name)
            object.__setattr__(self, name, (int(z), int(y), int(x)))

    @property
    def grid_shape(self) -> Index:
        """How many tiles there are along t, z, y, x."""
        t, z, y, x = (math.ceil(length / along.core) for length, along in zip(self._lengths, self.cuts, strict=True))
        return (t, z, y, x)

    @property
    def unit_shape(self) -> Index:
        """How many units of work there are along t, z, y, x."""
        t, *space = self.grid_shape
        z, y, x = (math.ceil(tiles / unit) for tiles, unit in zip(space, self.unit, strict=True))
        return (t, z, y, x)

    @property
    def keep_shape(self) -> Five:
        """The largest kept region: the chunk of a scratch array in which one tile is one chunk."""
        t, *space = (
            min(length, along.core + 2 * along.overlap) for length, along in zip(self._lengths, self.cuts, strict=True)
        )
        return five([t, self.shape5[1], *space])

    @property
    def cuts(self) -> tuple[Along, Along, Along, Along]:
        """How t, z, y and x are cut."""
        z, y, x = (Along(*numbers) for numbers in zip(self.core, self.overlap, self.halo, self.align, strict=True))
        return (self.time, z, y, x)

    @property
    def _lengths(self) -> Index:
        t, _, z, y, x = self.shape5
        return (t, z, y, x)

    def __len__(self) -> int:
        return math.prod(self.grid_shape)

    def tile(self, index: Sequence[int]) -> Tile:
        """Return the tile at a place in the grid.

        Raises:
            TilingError: There is no such place.
        """
        place, cuts = _place(index, self.grid_shape), self.cuts
        spans = [(at * along.core, (at + 1) * along.core) for at, along in zip(place, cuts, strict=True)]
        core = clip(region_of([spans[0], (0, self.shape5[1]), *spans[1:]]), self.shape5)
        t, *space = (along.overlap for along in cuts)
        keep = clip(grow(core, five([t, 0, *space])), self.shape5)
        return Tile(place, core, keep, self._read(keep))

    def _read(self, keep: Region) -> Region:
        """Widen by the halo, then outwards to multiples of `align`, then cut at the edge."""
        spans = [
            ((start - along.halo) // along.align * along.align, -((-stop - along.halo) // along.align) * along.align)
            for (start, stop), along in zip((keep[0], *keep[2:]), self.cuts, strict=True)
        ]
        return clip(region_of([spans[0], keep[1], *spans[1:]]), self.shape5)

    def tiles(self) -> Iterator[Tile]:
        """Go through all tiles, x fastest."""
        return (self.tile(index) for index in product(*map(range, self.grid_shape)))

    def unit_of(self, index: Sequence[int]) -> Unit:
        """Return the unit of work at a place in the grid of units.

        Raises:
            TilingError: There is no such place.
        """
        t, *space = _place(index, self.unit_shape)
        spans = [
            range(at * unit, min((at + 1) * unit, tiles))
            for at, unit, tiles in zip(space, self.unit, self.grid_shape[1:], strict=True)
        ]
        tiles = tuple(self.tile((t, *place)) for place in product(*spans))
        return Unit((t, space[0], space[1], space[2]), tiles)

    def units(self) -> Iterator[Unit]:
        """Go through all units of work, x fastest; every tile is in exactly one."""
        return (self.unit_of(index) for index in product(*map(range, self.unit_shape)))

    def touching(self, region: Region) -> tuple[Tile, ...]:
        """Return the tiles whose kept voxels meet a region: the ones needed to assemble it."""
        inner = clip(region, self.shape5)
        if inner[1][0] >= inner[1][1]:
            return ()
        ranges = [
            _meeting(span, along, tiles)
            for span, along, tiles in zip((inner[0], *inner[2:]), self.cuts, self.grid_shape, strict=True)
        ]
        return tuple(self.tile(index) for index in product(*ranges))

    def scaled(self, factors: Sequence[Fraction | int]) -> "TileGrid":
        """Return the grid of a result that is finer by factors along z, y and x.

        Tile by tile, its core, kept and read regions are those of this grid, scaled; tiles and units are the same.

        Raises:
            TilingError: A length times its factor p/q is no whole number; all lengths must be multiples of q.
        """
        ratios = [Fraction(factor) for factor in factors]
        if len(ratios) != 3 or min(ratios) <= 0:
            raise TilingError(f"three factors above 0 were wanted, z y x, got {', '.join(map(str, factors))}")
        t, c, *space = self.shape5
        return replace(
            self,
            shape5=five([t, c, *_scaled("shape", space, ratios)]),
            core=_scaled("core", self.core, ratios),
            overlap=_scaled("overlap", self.overlap, ratios),
            halo=_scaled("halo", self.halo, ratios),
            align=_scaled("align", self.align, ratios),
        )


def balanced_core(length: int, core: int, align: int = 1) -> int:
    """Return the core that cuts a length into as many tiles as `core` would, but into nearly equal ones.

    A volume of 65 voxels and cores of 64 would leave a tile of one voxel, which is too little to learn from.

    Args:
        length: Size of the volume along the axis, at least 1.
        core: Largest core wanted, at least 1.
        align: The result is a multiple of this, and at least this.
    """
    wanted = max(1, core // align) * align
    tiles = math.ceil(length / wanted)
    return math.ceil(math.ceil(length / tiles) / align) * align


def _complaints(grid: TileGrid) -> Iterator[str]:
    if len(grid.shape5) != 5 or any(length < 1 for length in grid.shape5):
        yield "shape5 must hold five lengths >= 1, t c z y x"
        return
    for name, least in (("core", 1), ("overlap", 0), ("halo", 0), ("align", 1), ("unit", 1)):
        values = getattr(grid, name)
        if len(values) != 3 or any(int(value) != value or value < least for value in values):
            yield f"{name} must hold three whole numbers >= {least}, z y x"
            return
    if min(grid.time.core, grid.time.align) < 1 or min(grid.time.overlap, grid.time.halo) < 0:
        yield "time must have core and align >= 1, overlap and halo >= 0"
        return
    for axis, along in zip("tzyx", grid.cuts, strict=True):
        core, overlap, align = along.core, along.overlap, along.align
        if core % align or overlap % align:
            yield f"core and overlap must be multiples of align={align} along {axis}, got {core} and {overlap}"
        if overlap > core // 2:
            yield f"overlap must be at most half of core={core} along {axis}, got {overlap}"


def _scaled(name: str, lengths: Sequence[int], ratios: Sequence[Fraction]) -> Three:
    products = [length * ratio for length, ratio in zip(lengths, ratios, strict=True)]
    if any(product.denominator > 1 for product in products):
        steps, told = (", ".join(map(str, each)) for each in ([ratio.denominator for ratio in ratios], ratios))
        raise TilingError(
            f"{name} must hold multiples of {steps} (z, y, x) for factors of {told}, got {tuple(lengths)}; "
            "cut the volume and its tiles so"
        )
    z, y, x = map(int, products)
    return z, y, x


def _place(index: Sequence[int], shape: Index) -> Index:
    if len(index) != 4 or not all(0 <= at < length for at, length in zip(index, shape, strict=True)):
        raise TilingError(f"a place in a grid of {shape} (t, z, y, x) was wanted, got {tuple(index)}")
    t, z, y, x = (int(at) for at in index)
    return (t, z, y, x)


def _meeting(span: tuple[int, int], along: Along, tiles: int) -> range:
    start, stop = span
    if start >= stop:
        return range(0)
    first = max(0, (start - along.overlap) // along.core)
    return range(first, min(tiles, math.ceil((stop + along.overlap) / along.core)))
