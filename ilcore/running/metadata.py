"""The metadata of a published result, kept beside it word for word: what changes in them is found, and put back."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from ilcore.running.damage import ROOT
from ilcore.running.workspace import Workspace
from ilcore.stores.places import Place, entries, write_text

#: Files that say what a folder is, in Zarr v3 and v2.
NAMES = ("zarr.json", ".zgroup", ".zattrs", ".zarray", ".zmetadata")
#: Before the names of files right where readers look, where the levels lie in a folder below.
_ABOVE = "root:"


def keep_metadata(workspace: Workspace) -> None:
    """Keep a copy of all metadata of the result that was published just now."""
    files = dict(_files(workspace.published, ""))
    if workspace.published != workspace.target:
        files |= dict(_own(workspace.target, _ABOVE))
    write_text(workspace.metadata, json.dumps({"files": files, "sha256": _digest(files)}, indent=1))


def kept_metadata(workspace: Workspace) -> Mapping[str, str] | None:
    """Return the copy, by the names of the files; None where there is none, or it is damaged itself."""
    try:
        told = json.loads(workspace.metadata.read_text())
        files = {str(name): str(text) for name, text in told["files"].items()}
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return files if told.get("sha256") == _digest(files) else None


def changed_metadata(workspace: Workspace) -> dict[str, str]:
    """Return what differs from the copy that is kept, by the path of the level, or ROOT."""
    found: dict[str, str] = {}
    for name, text in (kept_metadata(workspace) or {}).items():
        if why := _difference(text, _text(_place(workspace, name))):
            place = name.removeprefix(_ABOVE).rpartition("/")[0] or ROOT
            found[place] = f"{name.removeprefix(_ABOVE)} is not what was written: {why}"
    return found


def put_back_metadata(workspace: Workspace) -> int:
    """Write again what differs from the copy that is kept, and return how many files that were."""
    count = 0
    for name, text in (kept_metadata(workspace) or {}).items():
        if _difference(text, _text(place := _place(workspace, name))):
            write_text(place, text)
            count += 1
    return count


def difference(wanted: Any, held: Any, where: str = "") -> str:
    """Return in words where two pieces of metadata differ first; empty where they do not."""
    if isinstance(wanted, dict) and isinstance(held, dict):
        for key in (*wanted, *(key for key in held if key not in wanted)):
            place = f"{where}.{key}" if where else str(key)
            if key not in held:
                return f"{place} is gone"
            if key not in wanted:
                return f"{place} was added"
            if told := difference(wanted[key], held[key], place):
                return told
        return ""
    if isinstance(wanted, list) and isinstance(held, list) and len(wanted) == len(held):
        return next((told for n, pair in enumerate(zip(wanted, held, strict=True))
                     if (told := difference(*pair, f"{where}[{n}]"))), "")  # fmt: skip
    # NaN stands in such files by itself.
    return "" if json.dumps(wanted) == json.dumps(held) else f"{where} is {_short(held)}, was {_short(wanted)}"


def _difference(wanted: str, held: str | None) -> str:
    if held is None:
        return "the file is missing"
    try:
        return difference(json.loads(wanted), json.loads(held))
    except ValueError:
        return "the file is cut or garbled"


def _short(value: Any) -> str:
    told = json.dumps(value)
    return told if len(told) <= 60 else f"{told[:57]}..."


def _files(folder: Place, prefix: str) -> Iterator[tuple[str, str]]:
    """Go through the metadata files of a group and of what it holds; what an array holds are chunks."""
    own = dict(_own(folder, prefix))
    yield from own.items()
    if f"{prefix}.zgroup" in own or json.loads(own.get(f"{prefix}zarr.json", "{}")).get("node_type") == "group":
        for place in entries(folder):
            if place.name not in NAMES and place.is_dir():
                yield from _files(place, f"{prefix}{place.name}/")


def _own(folder: Place, prefix: str) -> Iterator[tuple[str, str]]:
    for name in NAMES:
        if (text := _text(folder / name)) is not None:
            yield f"{prefix}{name}", text


def _place(workspace: Workspace, name: str) -> Place:
    if name.startswith(_ABOVE):
        return workspace.target / name.removeprefix(_ABOVE)
    return workspace.published / name


def _text(place: Place) -> str | None:
    try:
        return str(place.read_text())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except UnicodeDecodeError:
        return ""


def _digest(files: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()
