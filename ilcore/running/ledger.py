"""What has been done, tile by tile: a Zarr group at tile resolution.

    tiles    [t, z, y, x, bytes]   one record a tile; one chunk a work unit, so each chunk has one writer
    curve    [t, z, y, x, point, step and loss]
    seam     [t, z, y, x]          known only after assembling
    blocks   [write unit, bytes]   one record a write unit of the result, written by the driver alone

All that is known of a unit's tiles is one chunk, which a store writes whole or not at all: that write is the commit.
`status` 0, which is also what an absent chunk holds, means that the tile is still to be done.
"""

import logging
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import Crc32cCodec

from ilcore.qa.bounds import COLUMNS
from ilcore.results.write import store_errors
from ilcore.stores.places import Place, opened_by, remove
from ilcore.tiling.grid import Index, Tile, TileGrid, Unit

_logger = logging.getLogger(__name__)

#: Meaning of the numbers in `status`.
STATUS = ("open", "restored", "fell back", "empty", "failed")
#: Meaning of the numbers in `used`: what a tile's values come from.
USED = ("none", "tile", "volume", "pretrained", "classical", "raw")
#: Meaning of the numbers in `reason`: why its fit ended.
REASONS = ("none", "applied", "budget", "held-out", "diverged", "empty", "memory", "error", "rule")
WORDS: Mapping[str, tuple[str, ...]] = {"status": STATUS, "used": USED, "reason": REASONS}
#: Points kept of a loss curve.
CURVE = 32
#: Write units of the result in one chunk of their records, and how many the driver gathers before it writes.
BLOCKS, GATHERED = 4096, 256

_WHOLE = {"status": "u1", "used": "u1", "reason": "u1", "steps": "<i4", "digest": "<u8"}
_MEASURES = (
    "residual_level", "residual_structure", "residual_lag", "contrast_loss", "shift", "flux_change", "clipped", "risk",
    "risk_before", "noise_std", "trusted_share", "seconds", "residual_tails", "spread", *COLUMNS,
    "faint_points", "faint_lines", "object_flux", "radiometry", "band_ratio", "bleeding", "flicker", "ghosts",
    "shown_points", "shown_taken", "shown_kept",
)  # fmt: skip
RECORD = np.dtype([*_WHOLE.items(), *((name, "<f4") for name in _MEASURES)])
_BLOCK = np.dtype([("assembled", "u1"), ("clipped_values", "<i8"), ("block_digest", "<u8")])


@dataclass(frozen=True)
class BlockReport:
    """A write unit of the result that is complete: how many values were clipped, and the digest of its voxels."""

    number: int
    clipped: int
    digest: int


@dataclass(frozen=True)
class Ledger:
    """The ledger of one run; picklable, opened where it is used."""

    path: Place
    grid: TileGrid

    def create(self, blocks: int, record: "np.dtype[Any] | None" = None) -> None:
        """Make an empty ledger, or leave the one that is there.

        Args:
            blocks: Write units of the result, for the record of assembling.
            record: Of a tile; of an earlier version where the ledger of one is to be mended.
        """
        if (self.path / "zarr.json").exists():
            return
        record = RECORD if record is None else record
        attributes = {name: list(words) for name, words in WORDS.items()} | {
            "unit": list(self.grid.unit),
            "tile_record": [list(field) for field in record.descr],
            "block_record": [list(field) for field in _BLOCK.descr],
        }
        shape = self.grid.grid_shape
        chunk = (1, *(min(u, n) for u, n in zip(self.grid.unit, shape[1:], strict=True)))
        # On a disk it gets its name when it is whole; in a store the group, which makes it a ledger, comes last.
        path = self.path.with_name(self.path.name + ".partial") if isinstance(self.path, Path) else self.path
        with store_errors(str(path)):
            remove(path)
            _array(path, "tiles", (*shape, record.itemsize), (*chunk, record.itemsize), "u1", 0)
            _array(path, "curve", (*shape, CURVE, 2), (*chunk, CURVE, 2), "f4", np.nan)
            _array(path, "seam", shape, chunk, "f4", np.nan)
            _array(path, "blocks", (blocks, _BLOCK.itemsize), (min(blocks, BLOCKS), _BLOCK.itemsize), "u1", 0)
            zarr.create_group(**opened_by(path), attributes=attributes)
            if isinstance(path, Path):
                path.rename(str(self.path))

    @cached_property
    def _group(self) -> "zarr.Group":
        return zarr.open_group(**opened_by(self.path), mode="r+")

    @cached_property
    def _tile(self) -> "np.dtype[Any]":
        """Return the record of a tile as this ledger was made with: one of an earlier version has fewer columns."""
        told: Any = self._group.attrs["tile_record"]
        return np.dtype([(str(name), str(kind)) for name, kind in told])

    def _records(self, held: NDArray[np.uint8]) -> NDArray[Any]:
        """Return stored records with all columns of today; what the ledger has no column for is NaN."""
        found = np.ascontiguousarray(held).view(self._tile)[..., 0]
        if self._tile == RECORD:
            return found
        records = np.zeros(found.shape, RECORD)
        for name in RECORD.names or ():
            records[name] = found[name] if name in (self._tile.names or ()) else np.nan
        return records

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "grid": self.grid}

    def _named(self, name: str) -> Any:
        return self._group[name]

    def _read(self, name: str, place: Any = ...) -> NDArray[Any]:
        try:
            return np.asarray(self._named(name)[place])
        except (ValueError, RuntimeError):
            return self._read_by_chunk(name, place)

    def _read_by_chunk(self, name: str, place: Any) -> NDArray[Any]:
        """Return what can be read; a chunk that cannot holds nothing, so that what it told of is still to be done."""
        array = self._named(name)
        asked = place if isinstance(place, tuple) else () if place is ... else (place,)
        slices = [*asked, *(slice(None),) * (len(array.shape) - len(asked))]
        spans = [each.indices(n)[:2] for each, n in zip(slices, array.shape, strict=True)]
        found = np.full([stop - start for start, stop in spans], array.metadata.fill_value, array.dtype)
        counts = [range(a // n, -(-b // n)) for (a, b), n in zip(spans, array.chunks, strict=True)]
        for chunk in product(*counts):
            ends = [
                (max(a, at * n), min(b, (at + 1) * n)) for at, n, (a, b) in zip(chunk, array.chunks, spans, strict=True)
            ]
            here = tuple(slice(start - a, stop - a) for (start, stop), (a, _) in zip(ends, spans, strict=True))
            try:
                found[here] = array[tuple(slice(*span) for span in ends)]
            except (ValueError, RuntimeError) as error:
                _logger.warning("chunk %s of %s in %s cannot be read (%s): what it told of is to be done again",
                                chunk, name, self.path, error)  # fmt: skip
        return found

    def chunk_counts(self, name: str) -> tuple[int, ...]:
        """Return how many chunks an array (tiles, blocks, curve, seam) has along each of its axes."""
        array = self._named(name)
        return tuple(-(-n // m) for n, m in zip(array.shape, array.chunks, strict=True))

    def damaged(self, name: str) -> list[tuple[int, ...]]:
        """Return the places of the chunks of an array that cannot be read."""
        array, found = self._named(name), list[tuple[int, ...]]()
        with suppress(ValueError, RuntimeError):
            # As a rule all of it can be read, and that in one go.
            np.asarray(array[...])
            return found
        for chunk in np.ndindex(self.chunk_counts(name)):
            try:
                array[tuple(slice(at * n, (at + 1) * n) for at, n in zip(chunk, array.chunks, strict=True))]
            except (ValueError, RuntimeError):
                found.append(chunk)
        return found

    def empty(self, name: str, number: int) -> None:
        """Let a chunk of an array, counted in the order of C, hold nothing."""
        array, chunk = self._named(name), np.unravel_index(number, self.chunk_counts(name))
        place = tuple(slice(int(at) * n, (int(at) + 1) * n) for at, n in zip(chunk, array.chunks, strict=True))
        with store_errors(str(self.path)):
            array[place] = array.metadata.fill_value

    def read(self, name: str) -> NDArray[Any]:
        """Return one whole map; what a damaged chunk told of counts as not done."""
        if name in ("curve", "seam"):
            return self._read(name)
        if name in (_BLOCK.names or ()):
            return self._blocks()[name].copy()
        return self.table()[name] if name in _MEASURES else self._records(self._read("tiles"))[name].copy()

    def table(self) -> dict[str, NDArray[Any]]:
        """Return all maps that have one number a tile, each [t, z, y, x]; measures of open tiles are NaN."""
        return {**_columns(self._records(self._read("tiles"))), "seam": self._read("seam")}

    def digest_of(self, tile: Tile) -> int:
        """Return the digest of what a tile's worker wrote to scratch."""
        return int(self.standing_of([tile])[0][0])

    def is_raw(self, tile: Tile) -> bool:
        """Tell whether a tile was left as it is in the source."""
        return bool(self.standing_of([tile])[0][1])

    def standing_of(self, tiles: Sequence[Tile]) -> list[tuple[int, bool]]:
        """Return, for each tile, the digest of what its worker wrote, and whether it was left as it is.

        The tiles should lie together: all between the first and the last are read in one go.
        """
        places = np.array([tile.index for tile in tiles])
        low = places.min(axis=0)
        box = tuple(slice(int(a), int(b) + 1) for a, b in zip(low, places.max(axis=0), strict=True))
        records = self._records(self._read("tiles", box))
        chosen = [records[tuple(place - low)] for place in places]
        return [(int(record["digest"]), USED[int(record["used"])] == "raw") for record in chosen]

    def open_places(self, status: NDArray[Any] | None = None) -> list[Index]:
        """Return the places of the units of which some tile is still to be done, in the order of the grid.

        Args:
            status: The map of that name, where it was read already.
        """
        is_open = np.argwhere((self.read("status") if status is None else status) == 0)
        places = is_open // np.array([1, *self.grid.unit])
        return [tuple(place) for place in np.unique(places, axis=0).tolist()]

    def open_units(self) -> Iterator[Unit]:
        """Go through the units of which some tile is still to be done."""
        return (self.grid.unit_of(place) for place in self.open_places())

    def commit(self, unit: Unit, rows: Sequence[Mapping[str, Any]]) -> None:
        """Store the rows of a unit's tiles; the last write is the commit.

        Args:
            unit: The unit.
            rows: One mapping per tile, in the order of the unit's tiles; absent measures stay NaN.
        """
        records = np.array([_record(row) for row in rows], RECORD)[list(self._tile.names or ())].astype(self._tile)
        curves = np.stack([_thinned(row.get("curve", ())) for row in rows])
        place, shape = _place(unit)
        with store_errors(str(self.path)):
            if np.isfinite(curves).any():
                self._named("curve")[place] = curves.reshape(*shape, CURVE, 2)
            self._named("tiles")[place] = records.view("u1").reshape(*shape, self._tile.itemsize)

    def reopen(self, unit: Unit) -> None:
        """Forget that a unit was done."""
        place, shape = _place(unit)
        with store_errors(str(self.path)):
            self._named("tiles")[place] = np.zeros((*shape, self._tile.itemsize), "u1")

    def set_seams(self, unit: Unit, seams: Sequence[float]) -> None:
        """Store the seam scores of a unit, which are known only after assembling."""
        place, shape = _place(unit)
        with store_errors(str(self.path)):
            self._named("seam")[place] = np.asarray(seams, "f4").reshape(shape)

    def open_blocks(self) -> list[int]:
        """Return the write units that are not assembled yet."""
        return [int(n) for n in np.flatnonzero(self._blocks()["assembled"] == 0)]

    def _blocks(self) -> NDArray[Any]:
        return np.ascontiguousarray(self._read("blocks")).view(_BLOCK)[:, 0]

    @contextmanager
    def book(self) -> "Iterator[Book]":
        """Gather reports of write units and store them now and then, and in the end. One process at a time."""
        book = Book(self)
        try:
            yield book
        finally:
            book.write()

    def commit_blocks(self, reports: Sequence[BlockReport]) -> None:
        """Store that write units of the result are complete."""
        self._set_blocks({report.number: (1, report.clipped, report.digest) for report in reports})

    def reopen_blocks(self, numbers: Iterable[int]) -> None:
        """Forget that write units were complete, but not what was in them."""
        known = self._blocks()
        self._set_blocks({n: (0, int(known[n]["clipped_values"]), int(known[n]["block_digest"])) for n in numbers})

    def _set_blocks(self, records: Mapping[int, tuple[int, int, int]]) -> None:
        with store_errors(str(self.path)):
            for chunk in sorted({number // BLOCKS for number in records}):
                place = slice(chunk * BLOCKS, (chunk + 1) * BLOCKS)
                held = np.ascontiguousarray(self._read("blocks", place)).view(_BLOCK)[:, 0]
                for number in (n for n in records if n // BLOCKS == chunk):
                    held[number - place.start] = records[number]
                self._named("blocks")[place] = held.view("u1").reshape(len(held), _BLOCK.itemsize)

    def rows(self, places: Iterable[Index] | None = None) -> Iterator[dict[str, Any]]:
        """Go through tiles as plain rows, for tables.

        Args:
            places: Which tiles; all by default, in the order of the grid.
        """
        maps = self.table()
        for place in np.ndindex(*self.grid.grid_shape) if places is None else places:
            index: Index = (place[0], place[1], place[2], place[3])
            row: dict[str, Any] = {"tile": list(index), "core": [list(span) for span in self.grid.tile(index).core]}
            for name, values in maps.items():
                value = values[index].item()
                row[name] = WORDS[name][value] if name in WORDS else _plain(value)
            yield row


@dataclass
class Book:
    """Write units reported since the last write."""

    ledger: Ledger
    held: list[BlockReport] = field(default_factory=list)

    def add(self, report: BlockReport) -> None:
        """Take one report down."""
        self.held.append(report)
        if len(self.held) >= GATHERED:
            self.write()

    def write(self) -> None:
        """Store what was taken down."""
        if self.held:
            self.ledger.commit_blocks(self.held)
            self.held.clear()


def _array(path: Place, name: str, shape: Sequence[int], chunk: Sequence[int], kind: str, fill: float) -> None:
    zarr.create_array(
        **opened_by(path / name), shape=tuple(shape), chunks=tuple(chunk), dtype=kind, fill_value=fill,
        compressors=(Crc32cCodec(),),
    )  # fmt: skip


def _place(unit: Unit) -> tuple[tuple[slice, ...], tuple[int, ...]]:
    """Return where a unit's tiles lie in a map, and their arrangement."""
    first, last = unit.tiles[0].index, unit.tiles[-1].index
    place = tuple(slice(a, b + 1) for a, b in zip(first, last, strict=True))
    return place, tuple(b - a + 1 for a, b in zip(first, last, strict=True))


def _columns(records: NDArray[Any]) -> dict[str, NDArray[Any]]:
    is_open = records["status"] == 0
    found = {name: records[name].copy() for name in RECORD.names or ()}
    for name in _MEASURES:
        found[name][is_open] = np.nan
    return found


def _record(row: Mapping[str, Any]) -> tuple[Any, ...]:
    words = [WORDS[name].index(str(row.get(name))) for name in WORDS]
    measures = [math.nan if row.get(name) is None else row[name] for name in _MEASURES]
    return (*words, row.get("steps") or 0, row.get("digest") or 0, *measures)


def _thinned(points: Sequence[tuple[int, float]]) -> NDArray[np.float32]:
    curve = np.full((CURVE, 2), np.nan, np.float32)
    if points:
        chosen = np.unique(np.linspace(0, len(points) - 1, min(CURVE, len(points))).astype(int))
        curve[: len(chosen)] = np.asarray(points, np.float32)[chosen]
    return curve


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
