"""Masks and missing pages of TIFF files: planes of yes and no inside, `.msk` files beside, pages only announced."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias
from xml.etree import ElementTree

import numpy as np
import tifffile

from ilcore.formats.beside_masks import PlaneMask
from ilcore.grammar.errors import BadVolume
from ilcore.stores.leads import check_led, check_regular
from ilcore.volumes.validity import Mask
from ilcore.volumes.volume import Facts, Source

#: Opens a series of a file, on one of its levels.
Opener: TypeAlias = Callable[[str, int, int], Source]


def mask_beside(file: tifffile.TiffFile, path: str, series: int, facts: Facts, opened: Opener) -> Mask | None:
    """Return the mask of a picture, which GDAL keeps as a further page, or in a file `.msk` beside.

    Raises:
        BadVolume: There is one, of another size than the picture.
    """
    inside = [at for at, each in enumerate(file.series) if each.keyframe.is_mask]
    beside = Path(f"{path}.msk")
    if file.series[series].keyframe.is_mask or not (inside or beside.is_file()):
        return None
    if inside:
        # A page of several pictures is followed by its own mask.
        at = next((each for each in inside if each > series), inside[-1])
        return _plane(file, path, at, facts, opened)
    check_led(str(beside), path)
    check_regular(str(beside))
    with tifffile.TiffFile(beside) as other:
        return _plane(other, str(beside), 0, facts, opened)


def _plane(file: tifffile.TiffFile, path: str, series: int, facts: Facts, opened: Opener) -> PlaneMask:
    image = dict(zip(facts.axes, facts.shape, strict=True))
    wanted = {axis: image[axis] for axis in "yx"}
    for level, one in enumerate(file.series[series].levels):
        own = one.axes.lower().replace("s", "c").replace("i", "c").replace("q", "c")
        lengths = dict(zip(own, one.shape, strict=True))
        bands = lengths.get("c", 1)
        is_fitting = set(own) <= set("cyx") and bands in (
            1,
            dict(zip(facts.axes, facts.shape, strict=True)).get("c", 1),
        )
        if is_fitting and {axis: lengths[axis] for axis in wanted} == wanted:
            return PlaneMask(opened(path, level, series), own, facts.axes, bands)
    held = [tuple(each.shape) for each in file.series[series].levels]
    raise BadVolume(
        f"a mask of {wanted} was wanted in {path}, it has {held}; "
        "write the mask again, for this level too, or remove it"
    )


def written_shape(image: Any, file: tifffile.TiffFile, path: str, axes: str) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Return the shape of what is really there, without frames at the end that were announced and never written.

    Raises:
        BadVolume: Pages are missing, and so are files that hold them.
    """
    shape = tuple(image.shape)
    if image.kind != "ome":
        return shape, ()
    there = np.array([page is not None for page in image.pages])
    if there.all():
        return shape, ()
    _check_files(file, path)
    outer = next((at for at, length in enumerate(shape) if length > 1), 0)
    if axes[outer] not in "tzc" or not there.any():
        return shape, ()
    by_frame = there.reshape(shape[outer], -1).any(axis=1)
    kept = int(np.flatnonzero(by_frame)[-1]) + 1
    if kept == shape[outer]:
        return shape, ()
    told = f"{shape[outer]} steps along {axes[outer]} are announced, {kept} are in the file: only these are read"
    return (*shape[:outer], kept, *shape[outer + 1 :]), (told,)


def _check_files(file: tifffile.TiffFile, path: str) -> None:
    gone = sorted({name for name in _named(file.ome_metadata or "") if not Path(path).with_name(name).is_file()})
    if gone:
        few = ", ".join(gone[:6])
        raise BadVolume(
            f"all files of a set were wanted beside {path}; {len(gone)} are not there: {few}; bring them, or take the "
            "image apart from the set"
        )


def _named(text: str) -> Iterator[str]:
    """Yield the names of the files that hold pages; only names, never paths."""
    for each in ElementTree.fromstring(text).iter() if text else ():
        name = each.get("FileName") if each.tag.rpartition("}")[2] == "UUID" else None
        if name:
            yield Path(name).name
