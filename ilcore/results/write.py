"""Writing arrays: one writer a unit, every written region read back."""

import errno
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any, Literal

import numpy as np
import zarr
from numcodecs import Blosc
from numpy.typing import DTypeLike, NDArray
from zarr.codecs import BloscCodec, Crc32cCodec

from ilcore.formats.zarr_node import dimension_names
from ilcore.grammar.errors import BadInput, CorruptData, DestinationError
from ilcore.grammar.region import Five, Region, aligned, five, inside, region_of, size, words
from ilcore.results.layout import Layout, layout_for
from ilcore.stores.places import Place, opened_by, trouble
from ilcore.volumes.axes import canonical, from_five, pick, read_axes, source_index, spread, to_five
from ilcore.volumes.volume import Reopened

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR}


@dataclass(frozen=True)
class WriteTarget(Reopened):
    """An array that regions are written to, by many processes if each keeps to whole units.

    Args:
        path: Where the array lies: a path, or a URL.
        axes: The axes it has, in the order t c z y x.
        shape: Size, t c z y x.
        dtype: Name of the type.
        unit: What must be written at a time: the shard, else the chunk.
        chunks: What can be read at a time.
    """

    path: str
    axes: str
    shape: Five
    dtype: str
    unit: Five
    chunks: Five

    @cached_property
    def array(self) -> "zarr.Array[Any]":
        """The open array."""
        # A chunk that is not there may have got lost, and Zarr v2 may leave open what it holds: none is left out.
        return zarr.open_array(**opened_by(self.path), mode="r+").with_config({"write_empty_chunks": True})

    @property
    def zarr_format(self) -> int:
        """Which version of Zarr the array is stored as."""
        return int(self.array.metadata.zarr_format)

    @property
    def fill(self) -> float | None:
        """What regions hold that nobody wrote; None where that is left open."""
        fill: float | None = self.array.metadata.fill_value  # type: ignore[assignment]  # of a type of numbers
        return fill

    @property
    def count(self) -> int:
        """How many write units there are."""
        return math.prod(self._counts)

    @property
    def _counts(self) -> tuple[int, ...]:
        return tuple(-(-length // step) for length, step in zip(self.shape, self.unit, strict=True))

    def block(self, number: int) -> Region:
        """Return the region of a write unit, counted with x fastest."""
        starts = [int(at) * step for at, step in zip(np.unravel_index(number, self._counts), self.unit, strict=True)]
        spans = zip(starts, self.unit, self.shape, strict=True)
        return region_of([(start, min(start + step, length)) for start, step, length in spans])

    def blocks_of(self, region: Region) -> list[int]:
        """Return the numbers of the write units that a region meets."""
        ranges = [range(a // step, -(-b // step)) for (a, b), step in zip(region, self.unit, strict=True)]
        return [int(np.ravel_multi_index(place, self._counts)) for place in product(*ranges)]

    def write(self, region: Region, block: NDArray[Any]) -> None:
        """Write one region, read it back and compare.

        Args:
            region: Whole units; only at the edge of the volume may the last one be short.
            block: The voxels, [t, c, z, y, x], of the type of the array.

        Raises:
            BadInput: The region is not made of whole units, or the block has another shape or type.
            CorruptData: What was read back is not what was written.
            DestinationError: The store is full or cannot be written to.
        """
        self._check(region, block)
        index = source_index(region, self.axes)
        with store_errors(self.path):
            self.array[index] = from_five(block, self.axes)
        if not np.array_equal(self._read_back(region), block, equal_nan=block.dtype.kind == "f"):
            raise CorruptData(
                f"the voxels just written to {self.path} at {words(region)} were wanted back; got others; "
                "check the disk and write them again"
            )

    def read(self, region: Region) -> NDArray[Any]:
        """Read one region.

        Shape:
            [t, c, z, y, x].

        Raises:
            BadInput: The region reaches out of the array.
        """
        if not inside(region, self.shape):
            raise BadInput(f"a region inside {self.shape} (t c z y x) was wanted, got {words(region)}")
        block: NDArray[Any] = np.asarray(self.array[source_index(region, self.axes)])
        return to_five(block, self.axes)

    def _read_back(self, region: Region) -> NDArray[Any]:
        try:
            return self.read(region)
        except (ValueError, RuntimeError) as error:
            raise CorruptData(
                f"the voxels just written to {self.path} at {words(region)} were wanted back; they cannot be decoded "
                f"({error}); check the disk and write them again"
            ) from error

    def _check(self, region: Region, block: NDArray[Any]) -> None:
        if not inside(region, self.shape) or not aligned(region, self.unit, self.shape):
            raise BadInput(
                f"whole write units of {self.unit} (t c z y x) inside {self.shape} were wanted, got {words(region)}; "
                "a writer of less than a unit would destroy the work of another"
            )
        if block.shape != size(region) or block.dtype != np.dtype(self.dtype):
            raise BadInput(
                f"a block of {size(region)} {self.dtype} was wanted for {words(region)}, "
                f"got {block.shape} {block.dtype}; cast and cut it first"
            )


def create_array(
    path: str,
    *,
    shape: Five,
    dtype: DTypeLike,
    axes: str = "tczyx",
    layout: Layout | None = None,
    fill: float | None = 0,
    overwrite: bool = False,
    zarr_format: Literal[2, 3] = 3,
) -> WriteTarget:
    """Make an empty array: bit-shuffled Zstandard chunks; in Zarr v3 with checksums, and in shards if there are many.

    Args:
        path: Where; folders above are made.
        shape: Size, t c z y x; axes that are left out must have length 1.
        dtype: Type of a voxel.
        axes: The axes to store; they are stored in the order t c z y x.
        layout: Chunks and shards; by default those of a result of this size.
        fill: What regions hold that nobody wrote; None leaves it open, in Zarr v2.
        overwrite: Replace an array that is there.
        zarr_format: 3, or 2, which knows neither shards nor a checksum that all readers understand.

    Raises:
        BadInput: An axis that is longer than 1 was left out.
        DestinationError: An array is there already, or the place cannot be written to.
    """
    # Of no length: what is written has no axis to leave out.
    kept = canonical(read_axes(axes, [0] * len(axes), path))
    if any(length != 1 for axis, length in zip("tczyx", shape, strict=True) if axis not in kept):
        raise BadInput(f"all axes longer than 1 of {shape} (t c z y x) were wanted, got axes {axes!r}; name them all")
    with store_errors(path):
        zarr.create_array(
            **opened_by(path),
            shape=pick(shape, kept),
            dtype=np.dtype(dtype).newbyteorder("="),
            fill_value=fill,
            overwrite=overwrite,
            **_stored(layout or layout_for(shape), kept, zarr_format),
        )
    return open_target(path)


def _stored(layout: Layout, kept: str, zarr_format: Literal[2, 3]) -> dict[str, Any]:
    """Return how the two versions of Zarr are told names of axes, chunks and compression."""
    chunks = {"zarr_format": zarr_format, "chunks": pick(layout.chunks, kept)}
    if zarr_format == 2:
        return {
            **chunks,
            "compressors": Blosc(cname="zstd", clevel=3, shuffle=Blosc.BITSHUFFLE),
            "chunk_key_encoding": {"name": "v2", "separator": "/"},
            "attributes": {"_ARRAY_DIMENSIONS": list(kept)},
        }
    return {
        **chunks,
        "shards": pick(layout.shards, kept) if layout.shards else None,
        "compressors": (BloscCodec(cname="zstd", clevel=3, shuffle="bitshuffle"), Crc32cCodec()),
        "dimension_names": tuple(kept),
    }


def has_array(place: Place) -> bool:
    """Tell whether an array was made here, all of its metadata."""
    return (place / "zarr.json").exists() or all((place / name).exists() for name in (".zarray", ".zattrs"))


def open_target(path: str) -> WriteTarget:
    """Return an array made by `create_array` for writing on.

    Raises:
        DestinationError: There is no such array.
    """
    with store_errors(path):
        array = zarr.open_array(**opened_by(path), mode="r+")
    axes = read_axes(dimension_names(array), array.shape, path)
    shape, chunks = five(spread(array.shape, axes, 1)), five(spread(array.chunks, axes, 1))
    unit = five(spread(array.shards or array.chunks, axes, 1))
    return WriteTarget(path, axes, shape, array.dtype.name, unit, chunks)


@contextmanager
def store_errors(path: str) -> Iterator[None]:
    """Say in one sentence that a place cannot be written to.

    Raises:
        DestinationError: It is full, read-only, no folder, or holds something else.
    """
    try:
        with warnings.catch_warnings():
            # Files beside the array that are not Zarr's own concern nobody.
            warnings.filterwarnings("ignore", message="Object at .* is not recognized")
            yield
    except (zarr.errors.ContainsArrayError, zarr.errors.ContainsGroupError, zarr.errors.NodeNotFoundError) as error:
        raise DestinationError(f"a place for an array was wanted at {path}; {error}") from error
    except Exception as error:
        if (told := trouble(error)) is not None:
            raise told from error
        if not isinstance(error, OSError):
            raise
        if isinstance(error, FileNotFoundError | FileExistsError | NotADirectoryError) or error.errno in FULL:
            raise DestinationError(
                f"a place to write to was wanted at {path}; got {error}; free some space or choose another"
            ) from error
        raise
