"""What has been done, tile by tile: a Zarr group at tile resolution.

Every array has the shape of the tile grid (t, z, y, x) and one chunk per work unit, so each chunk has one writer.
`status` is written last and is the commit: 0, its fill value, means that the unit is still to be done.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import Crc32cCodec

from ilcore.grammar.errors import CorruptData
from ilcore.tiling.grid import Tile, TileGrid, Unit
from ilcore.volumes.write import store_errors

#: Meaning of the numbers in `status`.
STATUS = ("open", "restored", "fell back", "empty", "failed")
#: Meaning of the numbers in `used`: what a tile's values come from.
USED = ("none", "tile", "volume", "pretrained", "classical", "raw")
#: Meaning of the numbers in `reason`: why its fit ended.
REASONS = ("none", "applied", "budget", "held-out", "diverged", "empty", "memory", "error", "rule")
#: Points kept of a loss curve.
CURVE = 32

_WHOLE = {"status": "u1", "used": "u1", "reason": "u1", "steps": "i4", "digest": "u8"}
_MEASURES = (
    "residual_level", "residual_structure", "residual_lag", "contrast_loss", "shift", "flux_change", "clipped", "risk",
    "risk_before", "noise_std", "trusted_share", "seconds", "seam",
)  # fmt: skip


@dataclass(frozen=True)
class Ledger:
    """The ledger of one run; picklable, opened where it is used."""

    path: Path
    grid: TileGrid

    def create(self, blocks: int) -> None:
        """Make an empty ledger, or leave the one that is there.

        Args:
            blocks: Write units of the result, for the record of assembling.
        """
        if (self.path / "zarr.json").exists():
            return
        names = {"status": STATUS, "used": USED, "reason": REASONS}
        attributes = {name: list(words) for name, words in names.items()} | {"unit": list(self.grid.unit)}
        chunk = (1, *(min(u, n) for u, n in zip(self.grid.unit, self.grid.grid_shape[1:], strict=True)))
        partial = self.path.with_name(self.path.name + ".partial")
        group = zarr.create_group(partial, overwrite=True, attributes=attributes)
        for name, kind in _WHOLE.items():
            _array(group, name, self.grid.grid_shape, chunk, kind, 0)
        for name in _MEASURES:
            _array(group, name, self.grid.grid_shape, chunk, "f4", np.nan)
        _array(group, "curve", (*self.grid.grid_shape, CURVE, 2), (*chunk, CURVE, 2), "f4", np.nan)
        _array(group, "assembled", (blocks,), (1,), "u1", 0)
        _array(group, "clipped_values", (blocks,), (1,), "i8", 0)
        partial.rename(self.path)

    @cached_property
    def _group(self) -> "zarr.Group":
        return zarr.open_group(self.path, mode="r+")

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "grid": self.grid}

    def _named(self, name: str) -> Any:
        return self._group[name]

    def read(self, name: str) -> NDArray[Any]:
        """Return one whole map.

        Raises:
            CorruptData: When a chunk fails its checksum.
        """
        try:
            return np.asarray(self._named(name)[...])
        except (ValueError, RuntimeError) as error:
            raise CorruptData(
                f"map {name} of {self.path} must be readable; got {error}; run again with --overwrite"
            ) from error

    def digest_of(self, tile: Tile) -> int:
        """Return the digest of what a tile's worker wrote to scratch."""
        return int(self._named("digest")[tile.index])

    def is_raw(self, tile: Tile) -> bool:
        """Tell whether a tile was left as it is in the source."""
        return USED[int(self._named("used")[tile.index])] == "raw"

    def open_units(self) -> Iterator[Unit]:
        """Go through the units of which some tile is still to be done."""
        status = self.read("status")
        for unit in self.grid.units():
            if any(status[tile.index] == 0 for tile in unit.tiles):
                yield unit

    def commit(self, unit: Unit, rows: Sequence[Mapping[str, Any]]) -> None:
        """Store the rows of a unit's tiles, status last.

        Args:
            unit: The unit.
            rows: One mapping per tile, in the order of the unit's tiles; absent measures stay NaN.
        """
        first, last = unit.tiles[0].index, unit.tiles[-1].index
        place = tuple(slice(a, b + 1) for a, b in zip(first, last, strict=True))
        shape = tuple(b - a + 1 for a, b in zip(first, last, strict=True))
        with store_errors(str(self.path)):
            for name in (*_MEASURES, "curve", *(n for n in _WHOLE if n != "status"), "status"):
                values = np.stack([_value(row, name) for row in rows])
                self._named(name)[place] = values.reshape(shape + values.shape[1:])

    def set_seams(self, unit: Unit, seams: Sequence[float]) -> None:
        """Store the seam scores of a unit, which are known only after assembling."""
        with store_errors(str(self.path)):
            for tile, seam in zip(unit.tiles, seams, strict=True):
                self._named("seam")[tile.index] = seam

    def open_blocks(self) -> list[int]:
        """Return the write units that are not assembled yet."""
        return [int(n) for n in np.flatnonzero(self.read("assembled") == 0)]

    def commit_block(self, number: int, clipped: int) -> None:
        """Store that a write unit of the result is complete."""
        with store_errors(str(self.path)):
            self._named("clipped_values")[number] = clipped
            self._named("assembled")[number] = 1

    def rows(self) -> Iterator[dict[str, Any]]:
        """Go through all tiles as plain rows, for tables."""
        maps = {name: self.read(name) for name in (*_WHOLE, *_MEASURES)}
        words = {"status": STATUS, "used": USED, "reason": REASONS}
        for tile in self.grid.tiles():
            row: dict[str, Any] = {"tile": list(tile.index), "core": [list(span) for span in tile.core]}
            for name, values in maps.items():
                value = values[tile.index].item()
                row[name] = words[name][value] if name in words else _plain(value)
            yield row


def _array(group: "zarr.Group", name: str, shape: Sequence[int], chunk: Sequence[int], kind: str, fill: float) -> None:
    # An all-fill chunk must exist too: a map is read as a whole and its absence would mean nothing.
    group.create_array(
        name, shape=tuple(shape), chunks=tuple(chunk), dtype=kind, fill_value=fill, compressors=(Crc32cCodec(),),
        config={"write_empty_chunks": True},
    )  # fmt: skip


def _value(row: Mapping[str, Any], name: str) -> NDArray[Any]:
    if name == "curve":
        return _thinned(row.get("curve", ()))
    words = {"status": STATUS, "used": USED, "reason": REASONS}
    value = row.get(name)
    if name in words:
        return np.asarray(words[name].index(str(value)), "u1")
    if name in _WHOLE:
        return np.asarray(value or 0, _WHOLE[name])
    return np.asarray(np.nan if value is None else value, "f4")


def _thinned(points: Sequence[tuple[int, float]]) -> NDArray[np.float32]:
    curve = np.full((CURVE, 2), np.nan, np.float32)
    if points:
        chosen = np.unique(np.linspace(0, len(points) - 1, min(CURVE, len(points))).astype(int))
        curve[: len(chosen)] = np.asarray(points, np.float32)[chosen]
    return curve


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not np.isfinite(value) else value
