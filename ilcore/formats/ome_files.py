"""The files of an OME-TIFF: companions that hold its metadata, the others of its set; which Image is which series."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from xml.etree import ElementTree

import numpy as np
import tifffile

from ilcore.grammar.errors import BadVolume
from ilcore.stores.leads import check_led, check_regular

#: A companion beyond this is none: it is read into memory whole.
MOST_XML = 128 * 2**20


def open_file(path: str) -> tifffile.TiffFile:
    """Open a TIFF file, with the metadata of its companion where it has one.

    Raises:
        BadVolume: Its companion is not there, or it names a file elsewhere.
    """
    file = tifffile.TiffFile(path)
    try:
        companion = _companion(file)
        if companion is not None:
            file.close()
            file = tifffile.TiffFile(path, omexml=companion)
        _check_names(file)
    except BaseException:
        file.close()
        raise
    return file


def images_of(file: tifffile.TiffFile) -> list[ElementTree.Element]:
    """Return the descriptions of the images; none where the file is no OME-TIFF."""
    root = _root(file)
    return [] if root is None else [each for each in root.iter() if is_element(each, "Image")]


def image_of(file: tifffile.TiffFile, series: int) -> ElementTree.Element | None:
    """Return the description of a series: that which names the page where its voxels begin, wherever it stands."""
    page = next((each for each in file.series[series].pages if each is not None), None)
    images = images_of(file)
    if page is None or not images:
        return None
    index = int(np.ravel(page.index)[0])  # of a page of a pyramid there are two
    place = os.path.realpath(page.parent.filehandle.path)
    found = [each for each in images if any(planes.hold(place, index) for planes in _planes(file, each))]
    return found[0] if found else None


def is_element(element: ElementTree.Element, name: str) -> bool:
    """Tell whether an element has a name, in whatever namespace."""
    return str(element.tag).rpartition("}")[2] == name


@dataclass(frozen=True)
class _Planes:
    """Pages of a file; without a count all from the first on."""

    path: str
    first: int
    count: int | None

    def hold(self, path: str, index: int) -> bool:
        return path == self.path and self.first <= index < self.first + (
            index + 1 if self.count is None else self.count
        )


def _planes(file: tifffile.TiffFile, image: ElementTree.Element) -> Iterator[_Planes]:
    root = _root(file)
    own, uuid = os.path.realpath(file.filehandle.path), None if root is None else root.get("UUID")
    for data in (each for each in image.iter() if is_element(each, "TiffData")):
        said = data.get("PlaneCount", data.get("NumPlanes", "1" if "IFD" in data.attrib else None))
        named = next((each for each in data if is_element(each, "UUID")), None)
        path = own
        if named is not None and named.get("FileName") and named.text != uuid:
            path = os.path.realpath(os.path.join(os.path.dirname(own), named.get("FileName", "")))
        yield _Planes(path, int(data.get("IFD", 0)), None if said is None else int(said))


def _companion(file: tifffile.TiffFile) -> str | None:
    """Return the metadata of another file, where a file says that they are there."""
    root = _root(file)
    only = None if root is None else next((each for each in root if is_element(each, "BinaryOnly")), None)
    if only is None:
        return None
    name = only.get("MetadataFile", "")
    path = os.path.join(file.filehandle.dirname, name)
    check_led(path, file.filehandle.path)
    check_regular(path)
    if not name or not os.path.isfile(path) or os.path.getsize(path) > MOST_XML:
        raise BadVolume(
            f"the metadata of {file.filehandle.path} were wanted from its companion {name!r}, where it says that they "
            "are; there is no such file beside it; put it there"
        )
    return _xml_in(path)


def _xml_in(path: str) -> str:
    """Return the metadata in a companion: a text, or the first file of the set."""
    with open(path, "rb") as held:
        if held.read(2) in (b"II", b"MM"):
            with tifffile.TiffFile(path) as file:
                return file.ome_metadata or ""
        held.seek(0)
        return held.read().decode("utf-8-sig").strip()


def _check_names(file: tifffile.TiffFile) -> None:
    """Refuse a set whose files lie elsewhere, before any of them is opened."""
    for image in images_of(file):
        for each in image.iter():
            if is_element(each, "UUID") and each.get("FileName"):
                path = os.path.join(file.filehandle.dirname, each.get("FileName", ""))
                check_led(path, file.filehandle.path)
                check_regular(path)


def _root(file: tifffile.TiffFile) -> ElementTree.Element | None:
    said = file.ome_metadata if file.is_ome or getattr(file, "_omexml", None) else None
    return ElementTree.fromstring(said) if said else None
