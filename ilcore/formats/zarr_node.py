"""Zarr arrays and groups by URL: opened, listed, and read as sources."""

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias, cast

import numpy as np
import zarr
from numpy.typing import NDArray

from ilcore.formats.decompression_limits import guarded
from ilcore.formats.local_store import held_store
from ilcore.grammar.errors import BadVolume
from ilcore.stores.addresses import is_remote, joined
from ilcore.stores.leads import allowed, check_name
from ilcore.stores.places import answered, opened_by, patiently
from ilcore.volumes.volume import Reopened

Options: TypeAlias = Mapping[str, Any] | None
Array: TypeAlias = zarr.Array[Any]

#: What a description that is damaged makes Zarr raise.
_DAMAGE = (
    ValueError, KeyError, TypeError, AttributeError, NotImplementedError, IndexError, OverflowError, RecursionError,
    AssertionError,
)  # fmt: skip


@dataclass(frozen=True)
class ZarrSource(Reopened):
    """A Zarr array by its URL: opened on the first read, in whatever process that happens.

    The URL travels, never a file system object: a synchronous one cannot be used from Zarr's own event loop.
    """

    url: str
    storage_options: Options = field(default=None, compare=False)
    within: tuple[str, ...] = field(default_factory=allowed, compare=False)

    @cached_property
    def array(self) -> Array:
        """The open array."""
        return guarded(zarr.open_array(**_reached(self.url, self.storage_options, self.within), mode="r"))

    def read(self, index: tuple[slice, ...]) -> NDArray[Any]:
        if self.url.startswith("http"):
            return patiently(lambda: np.asarray(self.array[index]))
        return np.asarray(self.array[index])


@dataclass(frozen=True)
class StackedSource:
    """Sources of one shape as the channels of one, which come first."""

    parts: tuple[ZarrSource, ...]

    def read(self, index: tuple[slice, ...]) -> NDArray[Any]:
        return np.stack([part.read(index[1:]) for part in self.parts[index[0]]])


def open_node(url: str, options: Options) -> "Array | zarr.Group":
    """Open an array or a group; only metadata are read.

    Raises:
        BadVolume: There is none, or its metadata cannot be read.
    """
    try:
        with answered():
            node = patiently(lambda: zarr.open(**_reached(url, options, allowed()), mode="r"), is_patient=False)
        return guarded(node) if isinstance(node, zarr.Array) else node
    except FileNotFoundError as error:
        raise BadVolume(f"a Zarr array or OME-Zarr group was wanted at {url}; there is none; check the path") from error
    except _DAMAGE as error:
        raise BadVolume(
            f"readable Zarr metadata were wanted at {url}; got {type(error).__name__}: {error}; "
            "repair the metadata, or rewrite the array with a type and codecs that Zarr v2 or v3 define"
        ) from error


def _reached(url: str, options: Options, within: Sequence[str]) -> dict[str, Any]:
    """Return what Zarr wants to open a place: what lies on a disk is held to where it may lead."""
    if is_remote(url):
        return opened_by(url, options)
    path = url.removeprefix("file://")
    return {"store": held_store(path, within or (os.path.realpath(path),))}


def open_child(url: str, name: str, options: Options) -> "Array | zarr.Group | None":
    """Open what lies under a group; None where there is nothing of that name.

    Raises:
        BadVolume: Its metadata cannot be read.
    """
    try:
        return open_node(join(url, name), options)
    except BadVolume as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return None
        raise


def join(url: str, name: str) -> str:
    """Return the URL of what lies under a group.

    Raises:
        BadVolume: The name leads elsewhere.
    """
    check_name(name, url)
    return joined(url, name) if name else url


def children(group: zarr.Group) -> "dict[str, Array | zarr.Group]":
    """Return the arrays and groups that lie right under a group, by name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # files that are not Zarr's own are no concern of ours
        return dict(sorted(group.members()))


def dimension_names(array: Array) -> tuple[str, ...]:
    """Return the names of the axes: of Zarr v3 itself, or as xarray writes them into v2; empty where one is unnamed."""
    names = getattr(array.metadata, "dimension_names", None) or array.attrs.get("_ARRAY_DIMENSIONS") or ()
    return () if any(name is None for name in cast(tuple[Any, ...], names)) else tuple(map(str, cast(Any, names)))
