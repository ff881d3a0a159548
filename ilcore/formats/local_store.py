"""A Zarr store on a disk whose links lead nowhere else, and which waits for no pipe."""

import os
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from zarr.storage import LocalStore, WrapperStore

from ilcore.grammar.errors import BadVolume
from ilcore.stores.leads import check_led, check_regular
from ilcore.volumes.volume import LARGEST_CHUNK_BYTES

if TYPE_CHECKING:
    from zarr.abc.store import ByteRequest
    from zarr.core.buffer import Buffer, BufferPrototype

#: Far above what consolidated metadata of a plate with ten thousand images take, in bytes.
MOST_METADATA = 128 * 2**20
METADATA = ("zarr.json", ".zarray", ".zgroup", ".zattrs", ".zmetadata")


class HeldStore(WrapperStore[LocalStore]):
    """A folder of which only what lies in some folders is read.

    Args:
        store: The folder.
        within: The folders.
    """

    def __init__(self, store: LocalStore, within: Sequence[str]) -> None:
        super().__init__(store)
        self._within = tuple(within)

    def _with_store(self, store: LocalStore) -> "HeldStore":
        return type(self)(store, self._within)

    async def get(
        self, key: str, prototype: "BufferPrototype", byte_range: "ByteRequest | None" = None
    ) -> "Buffer | None":
        path = os.path.join(self._store.root, key)
        check_regular(path)
        check_led(path, f"{key} in {self._store.root}", self._within)
        if byte_range is None:
            _check_size(path)
        return await self._store.get(key, prototype, byte_range)


def _check_size(path: str) -> None:
    """Refuse what would be read into memory whole, and several times."""
    most = MOST_METADATA if os.path.basename(path) in METADATA else LARGEST_CHUNK_BYTES
    with suppress(OSError):
        size = os.stat(path).st_size
        if size > most:
            raise BadVolume(
                f"Zarr metadata of at most {MOST_METADATA // 2**20} MiB and chunks of at most "
                f"{LARGEST_CHUNK_BYTES // 2**30} GiB were wanted, {path} has {size / 2**20:,.0f} MiB; repair it"
            )


def held_store(path: str, within: Sequence[str]) -> HeldStore:
    """Return the store of a folder, to be read only."""
    return HeldStore(LocalStore(path.removeprefix("file://"), read_only=True), within)
