"""What the XML of an OME-TIFF says: channels, their colours, when it was taken."""

import json
from typing import Any
from xml.etree import ElementTree

import tifffile

from ilcore.formats.ome_files import image_of, images_of, is_element
from ilcore.volumes.times import iso

#: Marks what a result says beyond OME.
NAMESPACE = "ilcore"


def beyond_ome(file: tifffile.TiffFile) -> dict[str, Any]:
    """Return what a file of ours says that OME has no place for; empty for the files of others."""
    if len(images_of(file)) != 1:
        return {}
    for each in ElementTree.fromstring(str(file.ome_metadata)).iter():
        if is_element(each, "MapAnnotation") and each.get("Namespace") == NAMESPACE:
            return {
                str(pair.get("K")): json.loads(pair.text or "null") for pair in each.iter() if is_element(pair, "M")
            }
    return {}


def pixels_of(file: tifffile.TiffFile, series: int = 0) -> ElementTree.Element | None:
    """Return the element that describes the voxels of a series; None where the file is no OME-TIFF."""
    return _of_series(file, series, "Pixels")


def channel_names(file: tifffile.TiffFile, series: int = 0) -> tuple[str, ...]:
    """Return the names of the channels, none where they are not told."""
    named = [each.get("Name") for each in _channels(file, series)]
    return tuple(name or f"channel {at}" for at, name in enumerate(named))


def display(file: tifffile.TiffFile, series: int = 0) -> str | None:
    """Return the colours of the channels as JSON in the form of OME-Zarr; None where they are not told."""
    found = [
        {"label": each.get("Name") or f"channel {at}"} | _colour(each.get("Color"))
        for at, each in enumerate(_channels(file, series))
    ]
    return json.dumps({"channels": found}, sort_keys=True) if any("color" in each for each in found) else None


def unmatched(file: tifffile.TiffFile, series: int = 0) -> str | None:
    """Return in words that a file describes images, but none that names the pages of a series."""
    images = images_of(file)
    if not images or image_of(file, series) is not None:
        return None
    return f"none of the {len(images)} images of the OME-XML names the pages of this one: nothing is taken from it"


def acquired(file: tifffile.TiffFile, series: int = 0) -> str | None:
    """Return when the image was taken, ISO 8601."""
    date = _of_series(file, series, "AcquisitionDate")
    return iso(date.text) if date is not None else None


def _of_series(file: tifffile.TiffFile, series: int, name: str) -> ElementTree.Element | None:
    image = image_of(file, series)
    return None if image is None else next((each for each in image.iter() if is_element(each, name)), None)


def _channels(file: tifffile.TiffFile, series: int) -> list[ElementTree.Element]:
    pixels = pixels_of(file, series)
    return [] if pixels is None else [each for each in pixels.iter() if is_element(each, "Channel")]


def _colour(said: str | None) -> dict[str, str]:
    """OME writes red, green, blue and opacity as one signed number; OME-Zarr the first three in hexadecimal."""
    try:
        return {} if said is None else {"color": f"{(int(said) & 0xFFFFFFFF) >> 8:06X}"}
    except ValueError:
        return {}
