"""Results in an object store, which cannot rename: each lies under a name of its own, and one object says which counts.

    TARGET/zarr.json          the root; its paths lead into the generation that readers see
    TARGET/1f3a9c2b/          a generation: levels and metadata of its own, complete before the root leads there
    TARGET/1f3a9c2b-2/        the next one, in the making; nobody is led there

Publishing is one PUT of the root. What the root leads to no more is deleted only after that. Killed between any two
steps, readers find the old or the new result, whole, and publishing again finishes the rest.
"""

import json
from collections.abc import Callable, Mapping
from functools import partial
from itertools import count
from typing import Any

from ilcore.formats.open import open_volume
from ilcore.grammar.errors import BadVolume, DestinationError
from ilcore.grammar.layers import LAYERS_BESIDE
from ilcore.results.destination import GENERATION, check_destination
from ilcore.stores.places import answered, entries, read_text, remove, write_text
from ilcore.stores.store import Place

#: Root metadata of Zarr v3, and of v2.
ROOT, GROUP, ATTRIBUTES = "zarr.json", ".zgroup", ".zattrs"
#: Letters of the fingerprint in the name of a generation.
LETTERS = 8


def new_generation(target: Place, fingerprint: str) -> str:
    """Return a name under which nothing lies yet."""
    first = fingerprint[:LETTERS]
    taken = {place.name for place in entries(target)}
    return next(name for n in count(1) if (name := first if n == 1 else f"{first}-{n}") not in taken)


def published_generation(target: Place) -> Place:
    """Return where the levels lie that the root leads to: a generation, or the target itself."""
    names = _led_to(target)
    # A root that was lost leads nowhere; what it led to is all that is there.
    names = {name for name in names or {place.name for place in entries(target)} if GENERATION.fullmatch(name)}
    return target / names.pop() if len(names) == 1 else target


def lead_to(generation: Place, target: Place) -> None:
    """Lead readers to a generation; the last write decides.

    Raises:
        DestinationError: It is not complete.
    """
    _check_complete(generation)
    if (root := _read(generation / ROOT)) is not None:
        attributes = _each_path(root["attributes"], partial(_inside, generation.name))
        write_text(target / ROOT, json.dumps({**root, "attributes": attributes}, indent=2))
        return
    write_text(target / GROUP, read_text(generation / GROUP))
    attributes = _each_path(_read(generation / ATTRIBUTES) or {}, partial(_inside, generation.name))
    write_text(target / ATTRIBUTES, json.dumps(attributes, indent=2))
    # A reader that finds both formats takes the newer one, which is the previous result here.
    remove(target / ROOT)


def orphans(target: Place) -> list[Place]:
    """Return the generations that the root does not lead to; none where it cannot be read, as it may lead to any."""
    kept, there = _led_to(target), entries(target)
    if not kept and {ROOT, ATTRIBUTES} & {place.name for place in there}:
        return []
    return [place for place in there if GENERATION.fullmatch(place.name) and place.name not in kept]


def publish_generation(staging: Place, target: Place, overwrite: bool = False) -> None:
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


def finish_generation(staging: Place, target: Place) -> bool:
    """Delete what the root leads to no more, if it leads to `staging`; tell whether it does."""
    if staging.name not in _led_to(target):
        return False
    there = entries(target)
    kept = (ROOT,) if ROOT in {place.name for place in there} else (GROUP, ATTRIBUTES)
    for place in there:
        if place.name not in (*kept, staging.name):
            remove(place)
    return True


def _read(place: Place) -> dict[str, Any] | None:
    """Return what a file of metadata says; None where there is none, nothing where it is damaged."""
    try:
        found = json.loads(read_text(place))
    except FileNotFoundError:
        return None
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _led_to(target: Place) -> set[str]:
    """Return the names right under the root that the paths of its levels begin with."""
    root, found = _read(target / ROOT), set[str]()
    attributes = (_read(target / ATTRIBUTES) or {}) if root is None else root.get("attributes", {})

    def note(path: str) -> str:
        found.add(path.partition("/")[0])
        return path

    _each_path(attributes, note)
    return found


def _inside(generation: str, path: str) -> str:
    return f"{generation}/{path}"


def _each_path(attributes: Any, changed: Callable[[str], str]) -> Any:
    """Return attributes in which the paths of levels are changed, of OME-Zarr, of GeoZarr, and those of layers."""
    if not isinstance(attributes, dict):
        return attributes
    found = dict(attributes)
    if "ome" in found:
        found["ome"] = _each_path(found["ome"], changed)
    ours = found.get("ilcore")
    if isinstance(ours, dict) and isinstance(ours.get(LAYERS_BESIDE), dict):
        held = {name: changed(str(folder)) for name, folder in ours[LAYERS_BESIDE].items()}
        found["ilcore"] = {**ours, LAYERS_BESIDE: held}
    said = found.get("multiscales")
    if isinstance(said, list):
        found["multiscales"] = [
            {**image, "datasets": [_renamed(each, ("path",), changed) for each in image.get("datasets", [])]}
            for image in said
        ]
    elif isinstance(said, dict) and isinstance(said.get("layout"), list):
        layout = [_renamed(each, ("asset", "derived_from"), changed) for each in said["layout"]]
        found["multiscales"] = {**said, "layout": layout}
    return found


def _renamed(entry: Mapping[str, Any], names: tuple[str, ...], changed: Callable[[str], str]) -> dict[str, Any]:
    return {key: changed(value) if key in names and isinstance(value, str) else value for key, value in entry.items()}


def _check_complete(staging: Place) -> None:
    """Refuse what is no result all of whose levels can be opened."""
    try:
        volume = open_volume(str(staging))
        for level in range(1, volume.levels):
            open_volume(str(staging), level=level)
    except BadVolume as error:
        raise DestinationError(f"a complete result was wanted at {staging}; {error}") from error
    if not volume.format.startswith("ome-zarr"):
        raise DestinationError(
            f"a complete OME-Zarr was wanted at {staging}, got {volume.format}; write its root metadata first"
        )
