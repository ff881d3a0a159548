"""The names of the images in a Zarr group: wells of plates, series of a slide, variables of a dataset."""

from collections.abc import Iterator, Mapping
from typing import Any

import zarr

from ilcore.formats.ngff import ome_of
from ilcore.formats.zarr_node import Array, children, dimension_names
from ilcore.grammar.errors import BadVolume

#: The name of all variables of a group together, as channels.
ALL = "*"
SERIES = "bioformats2raw.layout"


def image_names(group: zarr.Group, url: str) -> tuple[str, ...]:
    """Return the names of the images under a group; none where the group is one image itself, or holds none.

    Raises:
        BadVolume: Its metadata say that there are images, but not which.
    """
    try:
        return tuple(_names(group))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise BadVolume(
            f"names of wells, fields or series were wanted in the metadata of {url}; they cannot be read "
            f"({type(error).__name__}: {error}); repair them, or open one image by its own path"
        ) from error


def is_image(group: zarr.Group) -> bool:
    """Tell whether a group is one image of several levels."""
    attributes = group.attrs.asdict()
    if isinstance(ome_of(attributes).get("multiscales"), list):
        return True
    levels = layout_of(attributes)
    return bool(levels) and isinstance(group.get(levels[0]), zarr.Array)


def layout_of(attributes: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the paths of the levels that GeoZarr's multiscales name, the finest first; none where it does not."""
    return tuple(str(entry["asset"]) for entry in layout_entries(attributes))


def layout_entries(attributes: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return what GeoZarr's multiscales say of each level, the finest first."""
    said = attributes.get("multiscales")
    levels = said.get("layout") if isinstance(said, Mapping) else None
    return [each for each in levels or () if isinstance(each, Mapping) and each.get("asset")]


def arrays_of(group: zarr.Group) -> dict[str, Array]:
    """Return the arrays right under a group."""
    return {name: child for name, child in children(group).items() if isinstance(child, zarr.Array)}


def data_variables(arrays: Mapping[str, Array]) -> dict[str, Array]:
    """Return the arrays of a group that are pictures: no coordinates, no grid mapping, no text."""
    said = [array.attrs.asdict() for array in arrays.values()]
    mentioned = {
        word.rstrip(":")
        for one in said
        for key in ("coordinates", "grid_mapping", "bounds")
        for word in str(one.get(key, "")).split()
    }
    held = {
        name: array
        for name, array in arrays.items()
        if array.ndim and array.dtype.kind in "iufbc" and name not in mentioned and dimension_names(array) != (name,)
    }
    # Lines beside pictures are tables of something else.
    return {name: array for name, array in held.items() if array.ndim > 1} or held


def can_be_stacked(arrays: Mapping[str, Array]) -> bool:
    """Tell whether variables are bands of one picture: several of one shape, type and axes, without channels."""
    kinds = {(array.shape, array.dtype, dimension_names(array)) for array in arrays.values()}
    return (
        len(arrays) > 1 and len(kinds) == 1 and 2 <= next(iter(kinds))[0].__len__() <= 4 and bool(next(iter(kinds))[2])
    )


def _names(group: zarr.Group) -> Iterator[str]:
    attributes = group.attrs.asdict()
    ome, levels = ome_of(attributes), layout_of(attributes)
    if is_image(group):
        return
    if "plate" in ome:
        yield from _of_plate(group, ome["plate"])
    elif "well" in ome:
        yield from (str(image["path"]) for image in ome["well"]["images"])
    elif SERIES in ome or SERIES in attributes:
        yield from _of_series(group)
    elif levels:
        finest = group.get(levels[0])
        yield from data_variables(arrays_of(finest)) if isinstance(finest, zarr.Group) else ()
    else:
        yield from _of_tree(group)


def _of_plate(group: zarr.Group, plate: Mapping[str, Any]) -> Iterator[str]:
    for well in plate["wells"]:
        path = str(well["path"])
        held = group.get(path)
        # Wells that were not imaged need not be there.
        if isinstance(held, zarr.Group):
            yield from (f"{path}/{name}" for name in _names(held))


def _of_series(group: zarr.Group) -> Iterator[str]:
    said = group.get("OME")
    series = ome_of(said.attrs.asdict()).get("series") if isinstance(said, zarr.Group) else None
    if series:
        yield from map(str, series)
        return
    yield from sorted((name for name in children(group) if name.isdigit()), key=int)


def _of_tree(group: zarr.Group) -> Iterator[str]:
    found = children(group)
    variables = data_variables({name: child for name, child in found.items() if isinstance(child, zarr.Array)})
    yield from variables
    if can_be_stacked(variables):
        yield ALL
    for name, child in found.items():
        if isinstance(child, zarr.Group):
            yield from [name] if is_image(child) else (f"{name}/{inner}" for inner in _names(child))
