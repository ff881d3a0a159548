"""The metadata of OME-Zarr, 0.4 and 0.5, as we read them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ilcore.grammar.errors import BadVolume


@dataclass(frozen=True)
class Multiscale:
    """One image of an OME-Zarr group: names of its axes, paths of its levels, and where they lie in the world."""

    version: str
    axes: tuple[str, ...]
    units: tuple[str | None, ...]
    paths: tuple[str, ...]
    scales: tuple[tuple[float, ...], ...]
    origins: tuple[tuple[float, ...], ...]
    channels: tuple[str, ...]
    display: str | None


def read_multiscale(attributes: Mapping[str, Any], uri: str) -> Multiscale | None:
    """Return the first image that a group describes, or None where it describes none.

    Raises:
        BadVolume: The description is there but cannot be understood.
    """
    ome = attributes.get("ome", attributes)
    if not isinstance(ome, Mapping) or not ome.get("multiscales"):
        return None
    try:
        return _parse(ome, ome["multiscales"][0], "0.5" if "ome" in attributes else "0.4")
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise BadVolume(
            f"OME-Zarr metadata of version 0.4 or 0.5 were wanted in {uri}; they cannot be read "
            f"({type(error).__name__}: {error}); repair them, or open one level as a plain array"
        ) from error


def _parse(ome: Mapping[str, Any], image: Mapping[str, Any], fallback: str) -> Multiscale:
    # Versions before 0.4 name axes without a type, or not at all.
    axes = [{"name": axis} if isinstance(axis, str) else axis for axis in image.get("axes", "tczyx")]
    levels = image["datasets"]
    whole = _transform(image.get("coordinateTransformations", ()), len(axes))
    own = [_transform(level.get("coordinateTransformations", ()), len(axes)) for level in levels]
    return Multiscale(
        version=str(ome.get("version") or image.get("version") or fallback),
        axes=tuple(str(axis["name"]) for axis in axes),
        units=tuple(axis.get("unit") for axis in axes),
        paths=tuple(str(level["path"]) for level in levels),
        scales=tuple(_product(scale, whole[0]) for scale, _ in own),
        origins=tuple(
            tuple(a * s + b for a, s, b in zip(origin, whole[0], whole[1], strict=True)) for _, origin in own
        ),
        channels=_channels(ome.get("omero")),
        display=json.dumps(ome["omero"], sort_keys=True) if isinstance(ome.get("omero"), Mapping) else None,
    )


def _transform(steps: Sequence[Mapping[str, Any]], count: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return scale and translation; a scale that follows a translation stretches it."""
    scale, origin = (1.0,) * count, (0.0,) * count
    for step in steps:
        if step["type"] == "scale":
            scale, origin = _product(scale, step["scale"]), _product(origin, step["scale"])
        elif step["type"] == "translation":
            origin = tuple(a + float(b) for a, b in zip(origin, step["translation"], strict=True))
    return scale, origin


def _product(one: Sequence[float], other: Sequence[float]) -> tuple[float, ...]:
    return tuple(float(a) * float(b) for a, b in zip(one, other, strict=True))


def _channels(omero: Any) -> tuple[str, ...]:
    if not isinstance(omero, Mapping):
        return ()
    return tuple(str(each.get("label") or f"channel {at}") for at, each in enumerate(omero.get("channels", ())))
