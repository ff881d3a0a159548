"""The metadata of OME-Zarr, 0.4 to 0.6, as we read them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from ilcore.grammar.errors import BadVolume
from ilcore.volumes.display import usable_display


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


#: A scale and a translation.
Placing: TypeAlias = tuple[tuple[float, ...], tuple[float, ...]]


def ome_of(attributes: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the OME part of a group's attributes: under its own key since 0.5; empty where there is none."""
    found = attributes.get("ome", attributes)
    return found if isinstance(found, Mapping) else {}


def read_multiscale(attributes: Mapping[str, Any], uri: str) -> Multiscale | None:
    """Return the first image that a group describes, or None where it describes none.

    Raises:
        BadVolume: The description is there but cannot be understood.
    """
    ome = ome_of(attributes)
    images = ome.get("multiscales")
    # GeoZarr keeps a mapping under the same name.
    if not images or isinstance(images, Mapping):
        return None
    try:
        return _parse(ome, images[0], "0.5" if "ome" in attributes else "0.4", uri)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, StopIteration) as error:
        raise BadVolume(
            f"OME-Zarr metadata of version 0.4, 0.5 or 0.6 were wanted in {uri}; they cannot be read "
            f"({type(error).__name__}: {error}); repair them, or open one level as a plain array"
        ) from error


def _parse(ome: Mapping[str, Any], image: Mapping[str, Any], fallback: str, uri: str) -> Multiscale:
    axes, shown = _axes(image), usable_display(ome.get("omero"))
    levels = image["datasets"]
    # Since 0.6 what follows the levels leads on to other coordinate systems; before, it is part of where voxels lie.
    after = () if image.get("coordinateSystems") else image.get("coordinateTransformations") or ()
    whole = _transform(after, len(axes), uri)
    own = [_transform(level.get("coordinateTransformations") or (), len(axes), uri) for level in levels]
    return Multiscale(
        version=str(ome.get("version") or image.get("version") or fallback),
        axes=tuple(str(axis["name"]) for axis in axes),
        units=tuple(axis.get("unit") for axis in axes),
        paths=tuple(str(level["path"]) for level in levels),
        scales=tuple(_product(scale, whole[0]) for scale, _ in own),
        origins=tuple(
            tuple(a * s + b for a, s, b in zip(origin, whole[0], whole[1], strict=True)) for _, origin in own
        ),
        channels=_channels(shown),
        display=json.dumps(shown, sort_keys=True) if shown else None,
    )


def _axes(image: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the axes: since 0.6 those of the coordinate system that the levels lead to."""
    systems = image.get("coordinateSystems")
    if not systems:
        # Versions before 0.4 name axes without a type, or not at all.
        return [{"name": axis} if isinstance(axis, str) else axis for axis in image.get("axes") or "tczyx"]
    steps = image["datasets"][0].get("coordinateTransformations") or [{}]
    output = steps[-1].get("output", systems[0]["name"])
    name = output["name"] if isinstance(output, Mapping) else output
    return list(next(system for system in systems if system["name"] == name)["axes"])


def _transform(steps: Sequence[Mapping[str, Any]], count: int, uri: str) -> Placing:
    """Return scale and translation; a scale that follows a translation stretches it.

    Raises:
        BadVolume: Another kind of transformation, which is no voxel size and place.
    """
    scale, origin = (1.0,) * count, (0.0,) * count
    for step in steps:
        own, place = _step(step, count, uri)
        scale = _product(scale, own)
        origin = tuple(a * s + b for a, s, b in zip(origin, own, place, strict=True))
    return scale, origin


def _step(step: Mapping[str, Any], count: int, uri: str) -> Placing:
    kind = step["type"]
    if kind == "scale":
        return tuple(map(float, step["scale"])), (0.0,) * count
    if kind == "translation":
        return (1.0,) * count, tuple(map(float, step["translation"]))
    if kind == "sequence":
        return _transform(step["transformations"], count, uri)
    if kind == "identity":
        return (1.0,) * count, (0.0,) * count
    raise BadVolume(
        f"levels placed by scale, translation, identity or a sequence of them were wanted in {uri}, got {kind!r}; "
        "resample the image onto its axes, or open one level as a plain array"
    )


def _product(one: Sequence[float], other: Sequence[float]) -> tuple[float, ...]:
    return tuple(float(a) * float(b) for a, b in zip(one, other, strict=True))


def _channels(omero: Mapping[str, Any] | None) -> tuple[str, ...]:
    said = (omero or {}).get("channels", ())
    return tuple(str(each.get("label") or f"channel {at}") for at, each in enumerate(said))
