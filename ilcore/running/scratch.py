"""Restored tiles on their way to the result: core and overlap of one tile are one chunk, its layers with it.

    [t, channel, z, y, x]   the channels of the image, then those of each layer, in the order of the plan

One chunk has one writer and one digest: a tile and what is said of it are there together or not at all.
"""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from threading import Lock
from typing import Any

import numpy as np
import zarr
from cachetools import LRUCache
from numpy.typing import NDArray
from zarr.codecs import BloscCodec, Crc32cCodec

from ilcore.grammar.errors import CorruptData
from ilcore.grammar.region import Five, size
from ilcore.planning.plan import RestorationPlan
from ilcore.results.write import store_errors
from ilcore.stores.places import opened_by, store_of
from ilcore.stores.store import Place
from ilcore.tiling.grid import Tile, TileGrid

#: What a process read last: the rim of a tile is wanted by several blocks of the result. 32 MB.
_READ: LRUCache[tuple[str, tuple[int, ...], int], NDArray[Any]] = LRUCache(2**25, getsizeof=lambda each: each.nbytes)
_ONE = Lock()


@dataclass(frozen=True)
class Scratch:
    """Scratch of one run; picklable. Values are in units of the source; NaN stands where the source is kept.

    Args:
        path: Where.
        grid: The tiles, on the grid of the result.
        kind: Type of a value.
        parts: How often the channels of the image are there: once, and once for each layer.
    """

    path: Place
    grid: TileGrid
    kind: str
    parts: int = 1

    @classmethod
    def of(cls, path: Place, plan: RestorationPlan, grid: TileGrid) -> "Scratch":
        """Return the scratch of a plan: 32-bit floats, 64-bit where the source holds more than they can."""
        dtype = np.dtype(plan.source.dtype)
        kind = "f8" if dtype.itemsize > (4 if dtype.kind == "f" else 2) else "f4"
        return cls(path, grid, kind, 1 + len(plan.layers))

    @property
    def _chunk(self) -> Five:
        t, c, z, y, x = self.grid.keep_shape
        return (t, c * self.parts, z, y, x)

    def part(self, content: NDArray[Any], number: int) -> NDArray[Any]:
        """Return the channels of the image, number 0, or of a layer, in what was read of a tile."""
        count = self.grid.shape5[1]
        return content[:, number * count : (number + 1) * count]

    def create(self) -> None:
        """Make the array, or leave the one that is there."""
        if (self.path / "zarr.json").exists():
            return
        t, z, y, x = self.grid.grid_shape
        chunk = self._chunk
        shape = (t * chunk[0], chunk[1], z * chunk[2], y * chunk[3], x * chunk[4])
        with store_errors(str(self.path)):
            zarr.create_array(
                **opened_by(self.path), shape=shape, chunks=chunk, dtype=self.kind, fill_value=np.nan, zarr_format=3,
                compressors=(BloscCodec(cname="lz4", clevel=5, shuffle="bitshuffle"), Crc32cCodec()),
                config={"write_empty_chunks": True},
            )  # fmt: skip

    def remove(self) -> None:
        """Remove the array, if it is there."""
        store_of(self.path).discard(self.path)
        self.__dict__.pop("_array", None)

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "grid": self.grid, "kind": self.kind, "parts": self.parts}

    @cached_property
    def _array(self) -> Any:
        return zarr.open_array(**opened_by(self.path), mode="r+")

    def write(self, tile: Tile, values: NDArray[Any]) -> int:
        """Write one tile's kept region, [t, channel, z, y, x], layers and all, as one chunk; return its digest."""
        content = values.astype(self.kind)
        padded = np.full(self._chunk, np.nan, self.kind)
        padded[tuple(slice(0, n) for n in content.shape)] = content
        with store_errors(str(self.path)):
            self._array[self._place(tile)] = padded
        return digest_of(content)

    def read(self, tile: Tile, digest: int) -> NDArray[Any]:
        """Return one tile's kept region, [t, channel, z, y, x], layers and all, as it lies there.

        Raises:
            CorruptData: When it is not what was written.
        """
        try:
            padded = np.asarray(self._array[self._place(tile)])
        except (ValueError, RuntimeError) as error:
            raise CorruptData(
                f"tile {tile.index} must be readable from {self.path}; got {error}; `il resume` restores it again"
            ) from error
        t, c, *space = size(tile.keep)
        content = padded[tuple(slice(0, n) for n in (t, c * self.parts, *space))]
        if digest_of(content) != digest:
            raise CorruptData(
                f"tile {tile.index} must be what its worker wrote, got other bytes in {self.path}; "
                "`il resume` restores it again"
            )
        return content

    def piece(self, tile: Tile, digest: int) -> NDArray[Any]:
        """Return what `read` does, from memory where this process read it a moment ago; not to be written to."""
        known = (str(self.path), tile.index, digest)
        with _ONE:
            content = _READ.get(known)
        if content is None:
            # A copy: at the volume's edge it is a small part of a whole chunk, which would be kept with it.
            content = self.read(tile, digest).copy()
            content.flags.writeable = False
            if content.nbytes <= _READ.maxsize:
                with _ONE:
                    _READ[known] = content
        return content

    def _place(self, tile: Tile) -> tuple[slice, ...]:
        chunk = self._chunk
        at = (tile.index[0], 0, *tile.index[1:])
        return tuple(slice(n * length, (n + 1) * length) for n, length in zip(at, chunk, strict=True))


class DryScratch(Scratch):
    """Scratch that keeps nothing: it tells the digest of what would be written."""

    def write(self, tile: Tile, values: NDArray[Any]) -> int:
        return digest_of(values.astype(self.kind))


def digest_of(values: NDArray[Any]) -> int:
    """Return 64 bits of the sha256 of an array's bytes."""
    return int.from_bytes(hashlib.sha256(np.ascontiguousarray(values).tobytes()).digest()[:8], "big")
