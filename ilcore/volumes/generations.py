"""Results in an object store, which cannot rename: each lies under a name of its own, and one object says which counts.

    TARGET/zarr.json          the root; its paths lead into the generation that readers see
    TARGET/1f3a9c2b/          a generation: levels and metadata of its own, complete before the root leads there
    TARGET/1f3a9c2b-2/        the next one, in the making; nobody is led there

Publishing is one PUT of the root. What the root leads to no more is deleted only after that. Killed between any two
steps, readers find the old or the new result, whole, and publishing again finishes the rest.
"""

import json
from collections.abc import Mapping
from itertools import count
from typing import Any

from upath import UPath

from ilcore.grammar.errors import BadVolume, DestinationError
from ilcore.volumes.destination import GENERATION, check_destination
from ilcore.volumes.open import open_volume
from ilcore.volumes.stores import Place, answered, entries, remove, write_text

ROOT = "zarr.json"
#: Letters of the fingerprint in the name of a generation.
LETTERS = 8


def new_generation(target: UPath, fingerprint: str) -> str:
    """Return a name under which nothing lies yet."""
    first = fingerprint[:LETTERS]
    taken = {place.name for place in entries(target)}
    return next(name for n in count(1) if (name := first if n == 1 else f"{first}-{n}") not in taken)


def published_generation(target: UPath) -> UPath:
    """Return where the levels lie that the root leads to: a generation, or the target itself."""
    names = _led_to(_root(target))
    # A root that was lost leads nowhere; what it led to is all that is there.
    names = {name for name in names or {place.name for place in entries(target)} if GENERATION.fullmatch(name)}
    return target / names.pop() if len(names) == 1 else target


def lead_to(generation: UPath, target: UPath) -> None:
    """Lead readers to a generation, by one PUT."""
    write_text(target / ROOT, json.dumps(_led_into(generation.name, _complete(generation)), indent=2))


def sweep(target: UPath) -> None:
    """Delete generations that were begun and given up: those that the root does not lead to."""
    kept = _led_to(_root(target))
    for place in entries(target):
        if GENERATION.fullmatch(place.name) and place.name not in kept:
            remove(place)


def publish_generation(staging: UPath, target: UPath, overwrite: bool = False) -> None:
    """Lead readers to a finished result by one PUT; the previous one is deleted after that.

    Args:
        staging: The new result, a generation under the target, complete with its own root metadata.
        target: Where readers look.
        overwrite: Whether an earlier result may be replaced.

    Raises:
        BadInput: Something is there already and must not be replaced.
        DestinationError: There is nothing complete to publish.
        StoreError: The store does not answer; both results are whole then.
    """
    with answered():
        if not finish_generation(staging, target):
            check_destination(target, None, overwrite)
            lead_to(staging, target)
            finish_generation(staging, target)


def finish_generation(staging: Place, target: UPath) -> bool:
    """Delete what the root leads to no more, if it leads to `staging`; tell whether it does."""
    if staging.name not in _led_to(_root(target)):
        return False
    for place in entries(target):
        if place.name not in (ROOT, staging.name):
            remove(place)
    return True


def _root(target: UPath) -> Mapping[str, Any]:
    try:
        found = json.loads((target / ROOT).read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _led_to(root: Mapping[str, Any]) -> set[str]:
    """Return the names right under the root that its paths begin with."""
    return {path.partition("/")[0] for path in _paths(root.get("attributes", {}))}


def _paths(attributes: Any) -> list[str]:
    """Return the paths of levels: those of OME-Zarr, and those of GeoZarr."""
    found: list[str] = []
    _each_path(attributes, lambda path: found.append(path) or path)  # type: ignore[func-returns-value]
    return found


def _led_into(generation: str, root: Mapping[str, Any]) -> dict[str, Any]:
    """Return root metadata with all paths of levels inside a generation."""
    return {**root, "attributes": _each_path(root["attributes"], lambda path: f"{generation}/{path}")}


def _each_path(attributes: Any, changed: Any) -> Any:
    """Return attributes in which the paths of levels are what `changed` makes of them."""
    if not isinstance(attributes, dict):
        return attributes
    found = dict(attributes)
    if isinstance(ome := found.get("ome"), dict):
        found["ome"] = {**ome, "multiscales": [_image(each, changed) for each in ome.get("multiscales", [])]}
    if isinstance(said := found.get("multiscales"), dict) and isinstance(said.get("layout"), list):
        found["multiscales"] = {**said, "layout": [_renamed(each, _ASSETS, changed) for each in said["layout"]]}
    return found


_ASSETS = ("asset", "derived_from")


def _image(image: Mapping[str, Any], changed: Any) -> dict[str, Any]:
    return {**image, "datasets": [_renamed(each, ("path",), changed) for each in image.get("datasets", [])]}


def _renamed(entry: Mapping[str, Any], names: tuple[str, ...], changed: Any) -> dict[str, Any]:
    return {key: changed(value) if key in names and isinstance(value, str) else value for key, value in entry.items()}


def _complete(staging: UPath) -> Mapping[str, Any]:
    """Return the root metadata of a result all of whose levels can be opened."""
    try:
        volume = open_volume(str(staging))
        for level in range(1, volume.levels):
            open_volume(str(staging), level=level)
    except BadVolume as error:
        raise DestinationError(f"a complete result was wanted at {staging}; {error}") from error
    if not volume.format.startswith("ome-zarr") or not (root := _root(staging)):
        raise DestinationError(
            f"a complete OME-Zarr with {ROOT} was wanted at {staging}, got {volume.format}; write its root first"
        )
    return root
