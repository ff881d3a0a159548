"""What a volume is and what its noise looks like, as plain values."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from ilcore.degradations.estimate import ChannelReport, preflight
from ilcore.formats.open import images_in, open_volume
from ilcore.grammar.errors import BadVolume
from ilcore.planning.make import looks
from ilcore.planning.second_opinion import with_second_opinion
from ilcore.planning.striping import destriped, stripes_in
from ilcore.results.masks import with_holes_told
from ilcore.volumes.georeference import bounds, short_name
from ilcore.volumes.volume import Volume

#: So many images of a container are opened to tell what they are; the others are only named.
OPENED = 64


def describe(
    source: str, *, axes: str | None, level: int, missing: float | None, image: str | None = None
) -> dict[str, Any]:
    """Return what a volume is and what its noise looks like; of a place with several images, what these are."""
    names = images_in(source) if image is None else ()
    if len(names) > 1:
        return {"volume": source, "images": [_row(source, name, at < OPENED) for at, name in enumerate(names)]}
    volume = open_volume(source, axes=axes, level=level, missing=missing, image=image)
    volume = with_holes_told(volume)
    samples = [volume.known(region)[0] for region in looks(volume, seed=0)]
    stripes = stripes_in(samples)
    samples = destriped(samples, stripes)
    first = preflight(samples, volume.dtype)
    second = with_second_opinion(first, samples)
    reports = zip(_names(volume), first.channels, second.channels, strict=True)
    channels = [_channel(name, before, report, stripes) for name, before, report in reports]
    return {**_facts(volume), **_about(volume), "noise": channels}


def _row(source: str, name: str, is_opened: bool) -> dict[str, Any]:
    """Tell of one image of several what it is, or why it cannot be read."""
    if not is_opened:
        return {"image": name}
    try:
        volume = open_volume(source, image=name)
    except BadVolume as error:
        return {"image": name, "note": str(error)}
    facts = _facts(volume)
    return {"image": name, **{key: facts[key] for key in ("axes", "shape", "dtype", "voxel", "levels")}}


def _facts(volume: Volume) -> dict[str, Any]:
    here = ["tczyx".index(axis) for axis in volume.axes]
    bytes_ = volume.dtype.itemsize
    for length in volume.shape:
        bytes_ *= length
    return {
        "volume": volume.uri,
        "image": volume.image,
        "format": volume.format,
        "axes": volume.axes,
        "shape": [volume.shape[place] for place in here],
        "dtype": volume.dtype.name,
        "size": f"{bytes_ / 2**20:.1f} MB",
        "voxel": [_voxel(volume, place) for place in here if _is_measured(volume, place)],
        "origin": _origin(volume, here),
        "channels": list(_coloured(volume)),
        "chunks": [volume.chunks[place] for place in here],
        "levels": volume.levels,
        "missing": _missing(volume),
        "kind": None if volume.kind == "image" else volume.kind,
        "not carried over": list(volume.remarks) or None,
    }


def _about(volume: Volume) -> dict[str, Any]:
    """Tell where and when; only what the source says."""
    about = volume.about
    place = None
    if about.affine is not None:
        finest = open_volume(volume.uri, axes=volume.axes, image=volume.image) if volume.level else volume
        place = [f"{number:.10g}" for number in bounds(about.affine, *finest.shape[3:])]
    has_scale = (about.value_scale, about.value_offset) != (1.0, 0.0)
    return {
        "CRS": None if about.crs is None else short_name(about.crs),
        "bounds": place,
        "value": f"{about.value_scale:g} x stored + {about.value_offset:g}" if has_scale else None,
        "acquired": about.acquired,
    }


def _is_measured(volume: Volume, place: int) -> bool:
    return "tczyx"[place] in "zyx" or volume.units[place] is not None


def _voxel(volume: Volume, place: int) -> str:
    return f"{'tczyx'[place]} {volume.scale[place]:.6g} {volume.units[place] or '(unit unknown)'}"


def _origin(volume: Volume, here: list[int]) -> list[str] | None:
    told = [f"{'tczyx'[place]} {volume.origin[place]:.10g}" for place in here if "tczyx"[place] != "c"]
    return told if any(volume.origin) else None


def _missing(volume: Volume) -> Any:
    """Tell all that means "no data": one value as it is, else in words."""
    low, high = volume.valid_range
    told = [f"{mark:.10g}" for mark in volume.validity.marks]
    told += [] if low is None and high is None else [f"outside {low} to {high}"]
    told += [] if volume.mask is None else ["a mask"]
    return volume.missing if len(told) == 1 and volume.missing is not None else told or None


def _coloured(volume: Volume) -> Iterator[str]:
    """Name the channels with their colours."""
    said = json.loads(volume.display).get("channels", []) if volume.display else []
    colours = (
        [each.get("color") for each in said] if len(said) == len(volume.channels) else [None] * len(_names(volume))
    )
    for name, colour in zip(_names(volume), colours, strict=True):
        yield f"{name} (#{colour})" if colour else name


def _names(volume: Volume) -> list[str]:
    return [*volume.channels] or [str(number) for number in range(volume.shape[1])]


def _channel(name: str, first: ChannelReport, report: ChannelReport, stripes: str | None) -> Mapping[str, Any]:
    """Tell of the noise as a plan has it, and what each witness says of it."""
    return {
        "channel": name,
        "noise": report.verdict,
        "confidence": round(report.confidence, 2),
        "level": float(f"{report.level:.4g}"),
        "gain": float(f"{report.noise.gain:.4g}"),
        "read noise": float(f"{report.noise.read_std:.4g}"),
        "saturated": f"{report.saturated_share:.2%}",
        "empty": f"{report.empty_share:.2%}",
        "missing": f"{report.missing_share:.2%}",
        "witnesses": _witnesses(first, report, stripes),
        "notes": "; ".join(report.notes),
    }


def _witnesses(first: ChannelReport, report: ChannelReport, stripes: str | None) -> str:
    """Say what speaks for the noise estimate, and what against it."""
    said = [f"each {stripes} has an offset of its own (stripes), not counted here"] if stripes else []
    if report.level < first.level:
        said.append(f"a blind denoiser takes away {report.level:.3g} of {first.level:.3g}")
    elif first.is_floor:
        said.append("a flat floor: white noise for sure")
    elif first.verdict in ("white", "unknown") and first.level > 0:
        said.append("a blind denoiser takes away about as much")
    else:
        said.append("none: it knows white noise only" if first.level > 0 else "none: no noise")
    return "; ".join(said)
