"""Chunks that a Zarr array has, and those it lacks.

Zarr reads a chunk that is not there as its fill value, whether it was never written, got lost, or lies under another
key. The rule: what no chunk holds is no data. Its voxels keep the fill value, and no estimate sees them. Where chunks
lie under keys that the metadata do not name, the array is refused.
"""

import asyncio
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice, product
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.core.sync import sync

from ilcore.formats.zarr_node import Array, Options
from ilcore.grammar.errors import BadVolume
from ilcore.stores.places import answered, opened_by, patiently
from ilcore.volumes.validity import Mask
from ilcore.volumes.volume import Reopened

#: What keys of chunks look like, in any version and with any separator: the first part of the path.
_KEYS = re.compile(r"c|(c[./])?\d+([./]\d+)*")
#: So many questions to a store are on their way at once.
_AT_ONCE = 64
#: So many names under an array are looked at.
_LISTED = 1000


@dataclass(frozen=True)
class ChunkMask(Reopened, Mask):
    """Where an array has chunks; in shards, where it has shards."""

    url: str
    storage_options: Options = field(default=None, compare=False)

    @cached_property
    def _array(self) -> Array:
        return zarr.open_array(**opened_by(self.url, self.storage_options), mode="r")

    @cached_property
    def _there(self) -> dict[tuple[int, ...], bool]:
        """What was found out so far."""
        return {}

    @property
    def _steps(self) -> tuple[int, ...]:
        return tuple(self._array.shards or self._array.chunks)

    @cached_property
    def _counts(self) -> tuple[int, int]:
        ranges = [range(-(-n // step)) for n, step in zip(self._array.shape, self._steps, strict=True)]
        found = 0
        places = product(*ranges)
        while batch := list(islice(places, 64 * _AT_ONCE)):
            found += sum(self._look(batch))
        total = math.prod(map(len, ranges))
        return total - found, total

    @property
    def has_holes(self) -> bool:
        """Tell whether a chunk is not there."""
        return self._counts[0] > 0

    @property
    def remark(self) -> str | None:
        """Tell how many chunks are not there."""
        absent, count = self._counts
        if not absent:
            return None
        fill = np.asarray(self._array.metadata.fill_value).item()
        return f"{absent} of {count} chunks are not there: their voxels, read as {fill}, count as no data"

    def read(self, index: tuple[slice, ...]) -> NDArray[np.bool_]:
        steps = self._steps
        ranges = [range(one.start // step, -(-one.stop // step)) for one, step in zip(index, steps, strict=True)]
        there = np.array(self._look(list(product(*ranges))), np.bool_).reshape([len(each) for each in ranges])
        # From a value for every chunk to one for every voxel.
        places = [
            np.arange(one.start, one.stop) // step - each.start
            for one, step, each in zip(index, steps, ranges, strict=True)
        ]
        return there[np.ix_(*places)]

    def _look(self, places: list[tuple[int, ...]]) -> list[bool]:
        unknown = [place for place in places if place not in self._there]
        keys = [self._array.metadata.encode_chunk_key(place) for place in unknown]
        with answered():
            found = patiently(lambda: sync(_exist(self._array, keys)))
        self._there.update(zip(unknown, found, strict=True))
        return [self._there[place] for place in places]


async def _exist(array: Array, keys: Iterable[str]) -> list[bool]:
    limit = asyncio.Semaphore(_AT_ONCE)

    async def asked(key: str) -> bool:
        async with limit:
            return await (array.store_path / key).exists()

    return list(await asyncio.gather(*map(asked, keys)))


def check_keys(array: Array, url: str) -> None:
    """Refuse an array whose chunks lie under keys that its metadata do not name.

    Raises:
        BadVolume: Naming what lies there, and the key that was looked for.
    """
    # A web server need not list anything.
    if not array.ndim or url.startswith("http") or not array.store_path.store.supports_listing:
        return
    first, named = array.metadata.encode_chunk_key((0,) * array.ndim), _pattern(array)
    with answered():
        names = [] if sync(_exist(array, [first]))[0] else sync(_names(array))
    stray = [name for name in names if _KEYS.fullmatch(name) and not named.fullmatch(name)]
    if stray:
        raise BadVolume(
            f"chunks under keys such as {first!r} were wanted in {url}, as its metadata name them; there is "
            f"{sorted(stray)[0]!r} instead: correct dimension_separator or chunk_key_encoding, or all would be read as "
            f"{np.asarray(array.metadata.fill_value).item()}"
        )


def _pattern(array: Array) -> re.Pattern[str]:
    """Return what the first parts of the paths of chunks look like."""
    first = array.metadata.encode_chunk_key((0,) * array.ndim)
    return re.compile(re.sub(r"0", r"\\d+", re.escape(first.split("/")[0])))


async def _names(array: Array) -> list[str]:
    found: list[str] = []
    async for name in array.store_path.store.list_dir(array.store_path.path):
        found.append(name.rstrip("/"))
        if len(found) >= _LISTED:
            break
    return found


def chunk_mask(array: Array, url: str, options: Options, marks: Iterable[Any]) -> ChunkMask | None:
    """Return the mask of an array; None where its fill value is a mark, which says the same.

    Raises:
        BadVolume: As `check_keys`.
    """
    check_keys(array, url)
    fill = array.metadata.fill_value
    is_mark = any(fill == mark for mark in marks) or (isinstance(fill, float | np.floating) and not math.isfinite(fill))
    return None if is_mark else ChunkMask(url, options)
