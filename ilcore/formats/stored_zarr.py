"""Zarr v2 and v3 arrays, datasets and OME-Zarr images as sources."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import zarr

from ilcore.formats.chunks import chunk_mask
from ilcore.formats.ngff import Multiscale, ome_of, read_multiscale
from ilcore.formats.protocol import NAMED, FirstLook, Format, Opened, OpenOptions, check_single
from ilcore.formats.stored_mask import MASK, StoredMask
from ilcore.formats.variable import Variable, image_about, meant, other_attributes, values_of, variable_info
from ilcore.formats.zarr_images import (
    ALL,
    SERIES,
    arrays_of,
    can_be_stacked,
    data_variables,
    image_names,
    is_image,
    layout_entries,
    layout_of,
)  # fmt: skip
from ilcore.formats.zarr_node import (
    Array,
    Options,
    StackedSource,
    ZarrSource,
    dimension_names,
    join,
    open_child,
    open_node,
)  # fmt: skip
from ilcore.grammar.errors import BadVolume
from ilcore.grammar.layers import LAYERS_BESIDE
from ilcore.volumes.axes import find_axes
from ilcore.volumes.validity import StackedMask, all_of
from ilcore.volumes.volume import KINDS, SourceInfo


class Zarr:
    """Whatever folder or URL is left: Zarr arrays, datasets of xarray, OME-Zarr and GeoZarr."""

    name = "zarr"

    def recognises(self, look: FirstLook) -> bool:
        return not look.is_file

    def open(self, address: str, options: OpenOptions) -> Opened:
        node = open_node(address, options.storage)
        if not isinstance(node, zarr.Group):
            check_single(address, replace(options, level=0))
            return _open_variable(Variable(node, address), options)
        image = options.image
        return _open_group(node, address, options) if image is None else _open_image(node, address, image, options)

    def images(self, address: str, options: OpenOptions) -> tuple[str, ...]:
        node = open_node(address, options.storage)
        return image_names(node, address) if isinstance(node, zarr.Group) else ()


def _open_group(group: zarr.Group, url: str, asked: OpenOptions) -> Opened:
    attributes = group.attrs.asdict()
    described = read_multiscale(attributes, url)
    if described is not None:
        return _open_level(group, described, url, asked)
    if is_image(group):
        return _open_layout(group, "", url, asked)
    names = image_names(group, url)
    if len(names) == 1 and _is_described(group, names[0]):
        return _open_image(group, url, names[0], asked)
    raise BadVolume(_not_one(group, names, url))


def _open_image(group: zarr.Group, url: str, image: str, asked: OpenOptions) -> Opened:
    above, _, leaf = image.strip("/").rpartition("/")
    if ".." in image.split("/"):
        raise BadVolume(_unknown(group, url, image))
    parent = open_child(url, above, asked.storage) if above else group
    if isinstance(parent, zarr.Group):
        place = join(url, above)
        if leaf == ALL:
            return _open_stack(parent, place, asked)
        if layout_of(parent.attrs.asdict()) and leaf in image_names(parent, place):
            return _open_layout(parent, leaf, place, asked)
        child = open_child(place, leaf, asked.storage)
        if isinstance(child, zarr.Array):
            return _open_variable(_variable(child, parent, join(place, leaf)), asked)
        if child is not None:
            return _open_group(child, join(place, leaf), asked)
    raise BadVolume(_unknown(group, url, image))


def _variable(array: Array, group: zarr.Group, url: str) -> Variable:
    return Variable(array, url, arrays_of(group), group.attrs.asdict())


def _open_variable(variable: Variable, asked: OpenOptions) -> Opened:
    check_single(variable.url, replace(asked, image=None))
    return ZarrSource(variable.url, asked.storage), _with_chunks(variable, variable_info(variable, asked.axes), asked)


def _with_chunks(variable: Variable, facts: SourceInfo, asked: OpenOptions) -> SourceInfo:
    """Add where there are chunks at all."""
    marks = () if facts.missing is None else (facts.missing, *facts.also_missing)
    return replace(facts, mask=chunk_mask(variable.array, variable.url, asked.storage, marks))


def _open_level(group: zarr.Group, image: Multiscale, url: str, asked: OpenOptions) -> Opened:
    _check_level(asked.level, len(image.paths), url)
    place = join(url, image.paths[asked.level])
    array = _array_at(place, url, asked.storage)
    # What level 0 says of place, values and time counts for all.
    finest = _array_at(join(url, image.paths[0]), url, asked.storage) if asked.level else array
    said = {key: value for key, value in group.attrs.asdict().items() if key not in ("multiscales", SERIES)}
    about = image_about(Variable(finest, url, {}, said))
    variable = Variable(array, place, {}, said)
    facts = _with_chunks(variable, replace(_image_facts(variable, image, asked), about=about), asked)
    return ZarrSource(place, asked.storage), _with_ours(facts, group, url, image.paths[asked.level], asked)


def _with_ours(facts: SourceInfo, group: zarr.Group, url: str, path: str, asked: OpenOptions) -> SourceInfo:
    """Add what results of ours say beyond OME: kind and mask."""
    said = group.attrs.asdict().get("ilcore")
    if "image-label" in ome_of(group.attrs.asdict()):
        facts = replace(facts, kind="labels")
    if not isinstance(said, Mapping):
        return facts
    found = next((replace(facts, kind=kind) for kind in KINDS if kind == said.get("kind")), facts)
    found = replace(found, remarks=(*found.remarks, *_layers_told(said)))
    if said.get("mask") != MASK:
        return found
    place = join(url, f"{MASK}/{path}")
    if _array_at(place, url, asked.storage).shape != facts.shape:
        raise BadVolume(f"a mask of shape {facts.shape} was wanted at {place}; it has another; restore the image again")
    return replace(found, mask=all_of((found.mask, StoredMask(ZarrSource(place, asked.storage)))))


def _layers_told(said: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is said of the layers that an earlier restoration wrote beside the image."""
    held = said.get(LAYERS_BESIDE)
    for name, folder in held.items() if isinstance(held, Mapping) else ():
        yield f"the layer {name} of an earlier restoration lies beside the image in {folder}: take it from there"


def _check_level(level: int, count: int, url: str) -> None:
    if not 0 <= level < count:
        raise BadVolume(f"a level from 0 to {count - 1} was wanted of {url}, got {level}")


def _array_at(place: str, url: str, options: Options) -> Array:
    array = open_node(place, options)
    if not isinstance(array, zarr.Array):
        raise BadVolume(f"an array was wanted at {place}, as the metadata of {url} say; got a group")
    return array


def _image_facts(variable: Variable, image: Multiscale, asked: OpenOptions) -> SourceInfo:
    array = variable.array
    found = find_axes(asked.axes, image.axes, array.shape, variable.url)
    if len(image.axes) != array.ndim:
        raise BadVolume(
            f"{len(image.axes)} axes were wanted at level {asked.level} of {variable.url}, the array has "
            f"{array.ndim}; repair one"
        )
    values = values_of(variable)
    return SourceInfo(
        shape=array.shape,
        dtype=values.dtype,
        chunks=array.chunks,
        axes=found,
        format=f"ome-zarr {image.version}",
        scale=image.scales[asked.level],
        origin=image.origins[asked.level],
        units=image.units,
        channels=image.channels,
        display=image.display,
        **meant(values),
        level=asked.level,
        levels=len(image.paths),
    )


def _open_layout(group: zarr.Group, name: str, url: str, asked: OpenOptions) -> Opened:
    """Open one level of a GeoZarr pyramid; what level 0 says of the place of the picture counts for all."""
    paths = layout_of(group.attrs.asdict())
    _check_level(asked.level, len(paths), url)
    finest = variable_info(_layer(group, name, 0, url, asked.storage), asked.axes)
    variable = _layer(group, name, asked.level, url, asked.storage)
    facts = variable_info(variable, asked.axes)
    if facts.about.affine == finest.about.affine:
        ratios = [whole / length for whole, length in zip(finest.shape, facts.shape, strict=True)]
        facts = replace(facts, scale=tuple(a * b for a, b in zip(finest.scale or (), ratios, strict=True)))
    about = replace(facts.about, affine=finest.about.affine)
    found = replace(facts, about=about, level=asked.level, levels=len(paths), format=f"geo{facts.format}")
    return ZarrSource(variable.url, asked.storage), _with_chunks(variable, found, asked)


def _layer(group: zarr.Group, name: str, level: int, url: str, options: Options) -> Variable:
    attributes = group.attrs.asdict()
    entry = layout_entries(attributes)[level]
    path = str(entry["asset"])
    place = join(join(url, path), name)
    above = open_child(url, path, options)
    array = open_child(url, f"{path}/{name}", options) if name else above
    if not isinstance(array, zarr.Array):
        raise BadVolume(f"an array was wanted at {place}, as the levels of {url} say; there is none; repair them")
    own = above.attrs.asdict() if isinstance(above, zarr.Group) else {}
    said = {key: value for key, value in entry.items() if key.startswith("spatial:")}
    beside = arrays_of(above) if isinstance(above, zarr.Group) else {}
    return Variable(array, place, beside, {**attributes, **own, **said})


def _open_stack(group: zarr.Group, url: str, asked: OpenOptions) -> Opened:
    """Open all variables of a group as the channels of one image."""
    held = data_variables(arrays_of(group))
    if not can_be_stacked(held):
        raise BadVolume(
            f"several named variables of one shape, type and axes were wanted as channels of {url}, got "
            f"{ {name: array.shape for name, array in held.items()} }; open one of them by its name"
        )
    told = replace(asked, axes=asked.axes.replace("c", "") if asked.axes else None)
    opened = [_open_variable(_variable(array, group, join(url, name)), told) for name, array in held.items()]
    facts = [each for _, each in opened]
    if (
        len(
            {
                (one.missing, one.also_missing, one.valid_range, one.about.value_scale, one.about.value_offset)
                for one in facts
            }
        )
        > 1
    ):
        raise BadVolume(
            f"variables of one scale factor, offset and missing value were wanted as channels of {url}, got several; "
            "open one of them by its name"
        )
    sources = tuple(source for source, _ in opened if isinstance(source, ZarrSource))
    masks = tuple(one.mask for one in facts)
    mask = None if any(one is None for one in masks) else StackedMask(tuple(one for one in masks if one is not None))
    return StackedSource(sources), replace(_stacked(facts[0], tuple(held), group.attrs.asdict()), mask=mask)


def _stacked(one: SourceInfo, names: tuple[str, ...], attributes: dict[str, Any]) -> SourceInfo:
    def first(value: Any, others: Sequence[Any] | None) -> Any:
        return None if others is None else (value, *others)

    return replace(
        one,
        axes=f"c{one.axes}",
        shape=(len(names), *one.shape),
        chunks=(1, *one.chunks),
        scale=first(1.0, one.scale),
        origin=first(0.0, one.origin),
        units=first(None, one.units),
        channels=names,
        about=replace(one.about, attributes=other_attributes(attributes)),
    )


def _is_described(group: zarr.Group, name: str) -> bool:
    """Tell whether a lone image says what it is; a bare array in a bare group may be anything."""
    held = group.get(name)
    return not isinstance(held, zarr.Array) or bool(dimension_names(held))


def _not_one(group: zarr.Group, names: Sequence[str], url: str) -> str:
    wanted = f"an array or an OME-Zarr image was wanted at {url}; it is a group"
    ome = ome_of(group.attrs.asdict())
    if len(names) > 1 or "plate" in ome or "well" in ome or SERIES in ome:
        first = next(iter(names), "0")
        return (
            f"{wanted} of several images{_few(names)}; choose one with image= (--image), for example {first}, "
            f"or open one of them, for example {join(url, first)}"
        )
    return f"{wanted} without an image description; " + (
        f"open one of its arrays: {', '.join(names)} (image=, --image)" if names else "it holds no array"
    )


def _unknown(group: zarr.Group, url: str, image: str) -> str:
    names = image_names(group, url)
    told = f"it has{_few(names)}" if names else "it has no images to choose from; leave image out"
    return f"an image of {url} was wanted, got {image!r}; {told}"


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f" {', '.join(names[:NAMED])}{more}" if names else ""


FORMAT: Format = Zarr()
