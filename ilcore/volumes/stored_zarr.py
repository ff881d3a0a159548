"""Zarr v2 and v3 arrays and OME-Zarr groups as sources."""

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, cast

import numpy as np
import zarr
from numpy.typing import NDArray

from ilcore.grammar.errors import BadVolume
from ilcore.volumes.axes import guess_axes, read_axes
from ilcore.volumes.ngff import Multiscale, read_multiscale
from ilcore.volumes.volume import Facts, Reopened


@dataclass(frozen=True)
class ZarrSource(Reopened):
    """A Zarr array by its URL: opened on the first read, in whatever process that happens.

    The URL travels, never a file system object: a synchronous one cannot be used from Zarr's own event loop.
    """

    url: str
    storage_options: Mapping[str, Any] | None = field(default=None, compare=False)

    @cached_property
    def array(self) -> "zarr.Array[Any]":
        """The open array."""
        return zarr.open_array(store=self.url, mode="r", storage_options=_plain(self.storage_options))

    def read(self, index: tuple[slice, ...]) -> NDArray[Any]:
        return np.asarray(self.array[index])


def open_zarr(
    url: str, axes: str | None, level: int, storage_options: Mapping[str, Any] | None
) -> tuple[ZarrSource, Facts]:
    """Open a Zarr array, or one level of an OME-Zarr group.

    Raises:
        BadVolume: There is no Zarr, it cannot be understood, or it is a group without an image.
    """
    node = _open(url, storage_options)
    if isinstance(node, zarr.Array):
        if level:
            raise BadVolume(f"level {level} was wanted of {url}, which is a single array; leave level at 0")
        return ZarrSource(url, storage_options), _plain_facts(node, axes, url)
    image = read_multiscale(node.attrs.asdict(), url)
    if image is None:
        raise BadVolume(_no_image(node, url))
    if not 0 <= level < len(image.paths):
        raise BadVolume(f"a level from 0 to {len(image.paths) - 1} was wanted of {url}, got {level}")
    place = f"{url.rstrip('/')}/{image.paths[level]}"
    array = _open(place, storage_options)
    if not isinstance(array, zarr.Array):
        raise BadVolume(f"an array was wanted at {place}, as the metadata of {url} say; got a group")
    return ZarrSource(place, storage_options), _image_facts(array, image, axes, level, url)


def _open(url: str, storage_options: Mapping[str, Any] | None) -> "zarr.Array[Any] | zarr.Group":
    try:
        return zarr.open(store=url, mode="r", storage_options=_plain(storage_options))
    except FileNotFoundError as error:
        raise BadVolume(f"a Zarr array or OME-Zarr group was wanted at {url}; there is none; check the path") from error
    except (ValueError, KeyError, TypeError, AttributeError, NotImplementedError) as error:
        raise BadVolume(
            f"readable Zarr metadata were wanted at {url}; got {type(error).__name__}: {error}; "
            "repair the metadata, or rewrite the array with a type and codecs that Zarr v2 or v3 define"
        ) from error


def _plain(options: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return dict(options) if options else None


def _plain_facts(array: "zarr.Array[Any]", axes: str | None, url: str) -> Facts:
    names = _names(array)
    if array.ndim == 0:
        raise BadVolume(f"a volume with at least y and x was wanted, {url} is a single number (0-d)")
    found = read_axes(axes or names, array.ndim, url) if axes or names else guess_axes(array.shape, url)
    return Facts(axes=found, format=f"zarr v{array.metadata.zarr_format}", missing=_nodata(array), **_common(array))


def _image_facts(array: "zarr.Array[Any]", image: Multiscale, axes: str | None, level: int, url: str) -> Facts:
    found = read_axes(axes or image.axes, array.ndim, url)
    if len(image.axes) != array.ndim:
        raise BadVolume(
            f"{len(image.axes)} axes were wanted at level {level} of {url}, the array has {array.ndim}; repair one"
        )
    return Facts(
        axes=found,
        format=f"ome-zarr {image.version}",
        scale=image.scales[level],
        origin=image.origins[level],
        units=image.units,
        channels=image.channels,
        display=image.display,
        missing=_nodata(array),
        level=level,
        levels=len(image.paths),
        **_common(array),
    )


def _common(array: "zarr.Array[Any]") -> dict[str, Any]:
    return {"shape": array.shape, "dtype": array.dtype, "chunks": array.chunks}


def _names(array: "zarr.Array[Any]") -> tuple[str, ...]:
    """Names of the axes: of Zarr v3 itself, or as xarray writes them into v2."""
    names = getattr(array.metadata, "dimension_names", None) or array.attrs.get("_ARRAY_DIMENSIONS") or ()
    return () if any(name is None for name in cast(tuple[Any, ...], names)) else tuple(map(str, cast(Any, names)))


def _nodata(array: "zarr.Array[Any]") -> float | None:
    """The CF convention's mark for missing values; Zarr's own fill value only says what an absent chunk holds."""
    value = array.attrs.get("_FillValue")
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _no_image(group: zarr.Group, url: str) -> str:
    wanted = f"an array or an OME-Zarr image was wanted at {url}; it is a group"
    attributes = group.attrs.asdict()
    ome = attributes.get("ome", attributes)
    if isinstance(ome, Mapping) and ("bioformats2raw.layout" in ome or "plate" in ome or "well" in ome):
        return f"{wanted} of several images; open one of them, for example {url.rstrip('/')}/0"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # files that are not Zarr's own are no concern of a message
        inside = sorted(group.array_keys())
    return f"{wanted} without an image description; " + (
        f"open one of its arrays: {', '.join(inside)}" if inside else "it holds no array"
    )
