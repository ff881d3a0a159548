"""A region of one level as a volume of its own, which lies where it lies in the whole."""

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from numpy.typing import NDArray

from ilcore.formats.coordinates import cut_coordinates
from ilcore.formats.open import open_volume
from ilcore.grammar.errors import BadInput
from ilcore.grammar.region import AXES, Region, five, inside, region_of, size, whole, words
from ilcore.volumes.ground_control import cut_points
from ilcore.volumes.marks import Mark
from ilcore.volumes.scan_metadata import About
from ilcore.volumes.validity import MovedMask
from ilcore.volumes.volume import Floats, Source, Volume

_SPAN = re.compile(r"([tczyx])=(\d*):(\d*)")
#: The span that leaves an axis whole.
ALL = (0, None)


@dataclass(frozen=True)
class PartSource:
    """A source of which everything before `starts` is out of reach."""

    source: Source
    starts: tuple[int, ...]

    def read(self, index: tuple[slice, ...]) -> NDArray[Any]:
        """Return the voxels of an index that is counted from the start of the part."""
        moved = [slice(part.start + by, part.stop + by) for part, by in zip(index, self.starts, strict=True)]
        return self.source.read(tuple(moved))


def open_part(
    uri: str | os.PathLike[str],
    *,
    axes: str | None = None,
    level: int = 0,
    missing: Mark | None = None,
    image: str | None = None,
    roi: str | None = None,
    roots: Sequence[str] = (),
) -> Volume:
    """Open a region of one level as a volume of its own: voxel size, place and georeference are those of the part.

    Args:
        uri: As in `open_volume`, like `axes`, `level`, `missing`, `image` and `roots`.
        roi: Region in voxels of that level, such as "y=0:512,x=256:768"; axes that are not named are kept whole.

    Raises:
        BadVolume: As `open_volume`.
        BadInput: The region cannot be understood, is empty, or reaches out of the volume.
    """
    volume = open_volume(uri, axes=axes, level=level, missing=missing, image=image, roots=roots)
    if roi is None and level == 0:
        return volume
    region = whole(volume.shape) if roi is None else read_roi(roi, volume)
    finest = open_volume(uri, axes=axes, image=image, roots=roots).scale if level else volume.scale
    return part_of(volume, region, finest)


def part_of(volume: Volume, region: Region, finest: Floats) -> Volume:
    """Return a region of a level of a volume as a volume of its own.

    Args:
        volume: One level of an image.
        region: Which part of it.
        finest: Size of a voxel of level 0, to which the georeference belongs.
    """
    starts = five([start for start, _ in region])
    origin = [first + start * step for first, start, step in zip(volume.origin, starts, volume.scale, strict=True)]
    channels = slice(*region[1])
    inner = tuple(starts[AXES.index(axis)] for axis in volume.axes)
    return replace(
        volume,
        shape=size(region),
        chunks=five([min(pair) for pair in zip(volume.chunks, size(region), strict=True)]),
        origin=(origin[0], origin[1], origin[2], origin[3], origin[4]),
        channels=volume.channels[channels],
        display=_display_of(volume.display, channels, volume.shape[1]),
        about=_about(volume, region, volume.scale[4] / finest[4]),
        source=PartSource(volume.source, inner),
        mask=None if volume.mask is None else MovedMask(volume.mask, inner),
    )


def _about(volume: Volume, region: Region, factor: float) -> About:
    cut = volume.about.cut(region[3][0] * factor, region[4][0] * factor, factor)
    said = cut_points(cut.attributes, region[3][0] * factor, region[4][0] * factor, factor)
    return replace(cut, attributes=cut_coordinates(said, dict(zip(AXES, region, strict=True))))


def _display_of(display: str | None, channels: slice, count: int) -> str | None:
    said = json.loads(display) if display else {}
    if len(said.get("channels", ())) != count:
        return display
    return json.dumps({**said, "channels": said["channels"][channels]}, sort_keys=True)


def read_roi(text: str, volume: Volume) -> Region:
    """Return the region that words such as "z=4:8,y=:512,x=256:" name.

    Raises:
        BadInput: They cannot be understood, or the region is empty or reaches out of the volume.
    """
    region = list(whole(volume.shape))
    for axis, (start, stop) in _spans(text).items():
        at = AXES.index(axis)
        region[at] = (start, volume.shape[at] if stop is None else stop)
    asked = region_of(region)
    if not inside(asked, volume.shape) or 0 in size(asked):
        raise BadInput(
            f"a region of at least one voxel inside {words(whole(volume.shape))} was wanted, got {words(asked)}; "
            "`il info` tells the shape"
        )
    return asked


def plain_roi(text: str | None) -> str | None:
    """Return the words for a region in one order and one spelling; None where they name all there is.

    Raises:
        BadInput: They cannot be understood.
    """
    spans = sorted(_spans(text or "").items(), key=lambda item: AXES.index(item[0]))
    told = [f"{axis}={start}:{'' if stop is None else stop}" for axis, (start, stop) in spans if (start, stop) != ALL]
    return ",".join(told) or None


def _spans(text: str) -> dict[str, tuple[int, int | None]]:
    spans = {}
    for word in filter(None, re.split(r"[,\s]+", text)):
        found = _SPAN.fullmatch(word)
        if found is None:
            raise BadInput(f"a region like y=0:512,x=256:768 (axes t c z y x) was wanted, got {word!r} in {text!r}")
        axis, start, stop = found.groups()
        spans[axis] = (int(start or 0), int(stop) if stop else None)
    return spans
