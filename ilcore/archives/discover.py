"""Find the scans of an archive, and tell cheaply whether one has changed."""

import csv
import glob
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urljoin

from fsspec.core import url_to_fs

from ilcore.archives.policy import Archive, SourcePolicy
from ilcore.archives.roots import check_roots
from ilcore.grammar.errors import BadInput
from ilcore.volumes.addresses import is_remote
from ilcore.volumes.stores import answered, place_of, storage_options

#: Folders that are one volume, by how their names end.
_VOLUMES = (".zarr",)


_TROUBLE = (OSError, ValueError, KeyError, BadInput)


@dataclass(frozen=True)
class Scan:
    """One scan of an archive.

    Args:
        source: Path or URL.
        target: Where its result goes.
        instrument: Name of scans that are alike.
        policy: Number of the source policy.
        stamp: Changes when the scan does.
        changed: When it last did, seconds since 1970; 0 where nobody knows.
        size: In bytes.
    """

    source: str
    target: str
    instrument: str
    policy: int
    stamp: str
    changed: float
    size: int


def discover(archive: Archive) -> tuple[list[Scan], list[str]]:
    """Return all scans, each once, and what could not be listed.

    A scan that several policies find belongs to the first. A place that cannot be listed is told, and hides no other.
    """
    scans: dict[str, Scan] = {}
    targets: dict[str, str] = {}
    trouble: list[str] = []
    for number, policy in enumerate(archive.sources):
        try:
            found = sorted(_found(policy))
        except _TROUBLE as error:
            trouble.append(f"{policy.find}: {error}")
            continue
        for source, words in found:
            if source in scans or _is_result(source):
                continue
            try:
                scan = _scan(source, dict(words), number, policy)
                check_roots(archive.roots, scan.source, scan.target)
            except _TROUBLE as error:
                trouble.append(f"{source}: {error}")
                continue
            if targets.setdefault(scan.target, source) != source:
                trouble.append(f"{source} and {targets[scan.target]} would both become {scan.target}; neither must")
                continue
            scans[source] = scan
    return list(scans.values()), trouble


def _found(policy: SourcePolicy) -> set[tuple[str, tuple[tuple[str, str], ...]]]:
    if policy.find.endswith(".csv"):
        return set(_of_list(policy.find))
    if policy.find.endswith(".json"):
        return set(_of_stac(policy.find, policy.asset))
    return {(place, ()) for place in _of_glob(policy.find)}


def _of_glob(pattern: str) -> Iterator[str]:
    if is_remote(pattern):
        files, path = url_to_fs(pattern, **storage_options(pattern))
        with answered():
            found = [files.unstrip_protocol(place) for place in files.glob(path)]
    else:
        found = [os.path.normpath(place) for place in glob.glob(pattern, recursive=True)]
    # What lies inside of a volume is a part of it.
    return (place for place in found if not _is_inside(place))


def _is_inside(place: str) -> bool:
    return any(str(parent).endswith(_VOLUMES) for parent in PurePosixPath(place).parents)


def _is_result(place: str) -> bool:
    """Tell whether a place is what `il` writes beside results: workspaces are no scans."""
    return any(part.endswith(".il") for part in PurePosixPath(place).parts)


def _of_list(path: str) -> Iterator[tuple[str, tuple[tuple[str, str], ...]]]:
    rows = csv.DictReader(_text(path).splitlines())
    if "source" not in (rows.fieldnames or ()):
        raise BadInput(f"a list wants a column `source`, got {rows.fieldnames}")
    for row in rows:
        words = {name: value for name, value in row.items() if name and value and name != "source"}
        yield _beside(path, str(row["source"])), tuple(sorted(words.items()))


def _of_stac(path: str, asset: str | None) -> Iterator[tuple[str, tuple[tuple[str, str], ...]]]:
    content = json.loads(_text(path))
    items = content.get("features", [content] if content.get("type") == "Feature" else None)
    if items is None:
        raise BadInput("a STAC item or item collection was wanted, with `features`")
    for item in items:
        chosen = _asset(item["assets"], asset)
        words = (("collection", str(item.get("collection", ""))), ("item", str(item["id"])))
        yield _beside(path, str(chosen["href"])), words


def _asset(assets: Mapping[str, Any], name: str | None) -> Mapping[str, Any]:
    if name is not None:
        return dict(assets[name])
    return dict(
        next((each for each in assets.values() if "data" in each.get("roles", ())), next(iter(assets.values())))
    )


def _text(path: str) -> str:
    with answered():
        return str(place_of(path).read_text(encoding="utf-8"))


def _beside(path: str, name: str) -> str:
    if is_remote(name):
        return name
    return urljoin(path, name) if is_remote(path) else os.path.normpath(Path(path).parent / name)


def _scan(source: str, words: dict[str, str], number: int, policy: SourcePolicy) -> Scan:
    path = PurePosixPath(source.rpartition("://")[2])
    stem = path.name.removesuffix(".zarr").removesuffix(".ome") if path.name.endswith(".zarr") else path.stem
    known = {"name": path.name, "stem": stem, "parent": path.parent.name, "path": str(path.parent).lstrip("/"), **words}
    stamp, changed, size = _stamp(source)
    return Scan(
        source=source, target=words.get("target") or _filled(policy.target, known),
        instrument=policy.instrument.format_map(known), policy=number, stamp=stamp, changed=changed, size=size,
    )  # fmt: skip


def _filled(pattern: str, known: Mapping[str, str]) -> str:
    """Return a target; no word of a list or of a name leads out of the place that the pattern means."""
    wrong = {name: word for name, word in known.items() if ".." in PurePosixPath(word).parts}
    filled = pattern.format_map(known)
    if wrong and pattern.format_map({**known, **dict.fromkeys(wrong, "_")}) != filled:
        raise BadInput(f"a target must lie where its pattern says, got {filled}; take `..` out of {sorted(wrong)}")
    return filled


def _stamp(source: str) -> tuple[str, float, int]:
    """Return what changes when a scan does, when that was, and its size; content is not read."""
    lines, changed, size = [], 0.0, 0
    for name, mark, when, length in _files(source):
        lines.append(f"{name} {mark} {length}")
        changed, size = max(changed, when), size + length
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()[:32], changed, size


def _files(source: str) -> Iterator[tuple[str, str, float, int]]:
    if is_remote(source):
        yield from _objects(source)
    elif os.path.isdir(source):
        for folder, _, names in os.walk(source):
            for name in names:
                at = os.stat(os.path.join(folder, name))
                yield os.path.relpath(os.path.join(folder, name), source), str(at.st_mtime_ns), at.st_mtime, at.st_size
    else:
        at = os.stat(source)
        yield "", str(at.st_mtime_ns), at.st_mtime, at.st_size


def _objects(source: str) -> Iterator[tuple[str, str, float, int]]:
    files, path = url_to_fs(source, **storage_options(source))
    with answered():
        found = files.find(path, detail=True) or {path: files.info(path)}
    for name, about in found.items():
        mark = about.get("ETag") or about.get("LastModified") or about.get("mtime") or ""
        when = about.get("LastModified")
        yield name, str(mark), when.timestamp() if hasattr(when, "timestamp") else 0.0, int(about.get("size") or 0)
