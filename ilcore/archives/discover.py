"""Find the scans of an archive, and tell cheaply whether one has changed."""

import csv
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urljoin

from ilcore.archives import stamping
from ilcore.archives.finding import find
from ilcore.archives.policy import Archive, SourcePolicy
from ilcore.archives.roots import check_roots
from ilcore.archives.stamping import Identity, identity_of, is_ahead, is_still, stamp_of
from ilcore.grammar.errors import BadInput, BadVolume
from ilcore.grammar.plain_text import plain
from ilcore.stores.addresses import is_remote, normalised
from ilcore.stores.places import answered, place_of

#: Folders that are one volume, by how their names end.
_VOLUMES = (".zarr",)


_TROUBLE = (OSError, ValueError, csv.Error, BadInput, BadVolume)
#: More sentences than these help nobody.
_MOST = 50


@dataclass(frozen=True)
class Scan:
    """One scan of an archive.

    Args:
        source: Path or URL.
        target: Where its result goes.
        instrument: Name of scans that are alike.
        policy: Number of the source policy.
        stamp: Changes when the scan does.
        changed: Its date, seconds since 1970; 0 where nobody knows.
        size: In bytes.
        touched: When it was last written to or put there, which its date need not say.
    """

    source: str
    target: str
    instrument: str
    policy: int
    stamp: str
    changed: float
    size: int
    touched: float = 0.0


def discover(archive: Archive) -> tuple[list[Scan], list[str]]:
    """Return all scans, each once, and what could not be listed.

    A scan that several policies find, under whatever names, belongs to the first. A place that cannot be listed is
    told, and hides no other. So is a scan that was put there a moment ago under a date of the future.
    """
    book = _Book(archive)
    for number, policy in enumerate(archive.sources):
        try:
            found = sorted(book.found(policy))
        except _TROUBLE as error:
            book.tell(f"{policy.find}: {error}")
            continue
        for source, words in found:
            book.add(source, dict(words), number)
    return _watched(archive, book.scans.values(), book.trouble), _few(book.trouble)


class _Book:
    """What was found so far."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self.scans: dict[str, Scan] = {}
        self.trouble: list[str] = []
        self._targets: dict[str, str] = {}
        self._files: set[Identity] = set()

    def tell(self, trouble: str) -> None:
        """Take a sentence down, once."""
        if (told := plain(trouble)) not in self.trouble:
            self.trouble.append(told)

    def found(self, policy: SourcePolicy) -> set[tuple[str, tuple[tuple[str, str], ...]]]:
        """Return what a policy names, each with the words that a list has for it."""
        if policy.find.endswith(".csv"):
            return set(_of_list(policy.find))
        if policy.find.endswith(".json"):
            return set(_of_stac(policy.find, policy.asset))
        found = find(policy.find)
        for each in found.trouble:
            self.tell(each)
        # What lies inside of a volume is a part of it.
        return {(place, ()) for place in found.places if not _is_inside(place)}

    def add(self, source: str, words: dict[str, str], number: int) -> None:
        """Take a scan down, or what is wrong with it."""
        if source in self.scans or _is_result(source):
            return
        try:
            scan = _scan(source, words, number, self._archive.sources[number])
            check_roots(self._archive.roots, scan.source, scan.target)
            file: Identity = (source,) if is_remote(source) else identity_of(source)
        except _TROUBLE as error:
            self.tell(f"{source}: {error}")
            return
        if file in self._files:
            return
        if (other := self._targets.setdefault(scan.target, source)) != source:
            self.tell(f"{source} and {other} would both become {scan.target}; neither must")
            return
        self._files.add(file)
        self.scans[source] = scan


def _few(trouble: list[str]) -> list[str]:
    return trouble if len(trouble) <= _MOST else [*trouble[:_MOST], f"and {len(trouble) - _MOST} more of this kind"]


def _watched(archive: Archive, scans: Iterable[Scan], trouble: list[str]) -> list[Scan]:
    """Return the scans that can be judged by their date, and tell those that cannot.

    A file that was touched a moment ago under an older date is watched for a moment. One that bears a date of the
    future as well has none that tells its age: it waits until it has lain there for as long as scans of its policy.
    """
    now, kept, doubtful = time.time(), list[Scan](), list[Scan]()
    for scan in scans:
        since = now - 60 * archive.sources[scan.policy].settle_minutes
        if is_ahead(scan.changed) and since < scan.touched <= now:
            trouble.append(plain(
                f"{scan.source} bears a date of the future ({time.strftime('%Y-%m-%d', time.gmtime(scan.changed))}) "
                "and was put there a moment ago: it may still be written, and waits; set the clock it was dated by"
            ))  # fmt: skip
        elif scan.changed <= since < scan.touched and not is_remote(scan.source) and os.path.isfile(scan.source):
            doubtful.append(scan)
        else:
            kept.append(scan)
    if doubtful:
        time.sleep(stamping.WATCHED)
    return kept + [_judged(scan) for scan in doubtful]


def _judged(scan: Scan) -> Scan:
    try:
        return replace(scan, touched=scan.changed if is_still(scan.source, scan.size, scan.touched) else time.time())
    except OSError:
        # Gone, or going.
        return replace(scan, touched=time.time())


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
    try:
        for item in content.get("features", [content]):
            chosen = _asset(item["assets"], asset)
            words = (("collection", str(item.get("collection", ""))), ("item", str(item["id"])))
            yield _beside(path, str(chosen["href"])), words
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise BadInput(
            f"a STAC item or item collection was wanted, with `features`, each with `id` and `assets`; got no {error}"
        ) from error


def _asset(assets: Mapping[str, Any], name: str | None) -> Mapping[str, Any]:
    if name is not None:
        return dict(assets[name])
    each = list(assets.values())
    return dict(([asset for asset in each if "data" in asset.get("roles", ())] or each)[0])


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
    stamp = stamp_of(normalised(source))
    return Scan(
        source=source, target=words.get("target") or _placed(policy.target, known),
        instrument=_filled(policy.instrument, known), policy=number, stamp=stamp.mark, changed=stamp.changed,
        size=stamp.size, touched=stamp.touched,
    )  # fmt: skip


def _placed(pattern: str, known: Mapping[str, str]) -> str:
    """Return a target; no word of a list or of a name leads out of the place that the pattern means."""
    wrong = {name: word for name, word in known.items() if ".." in PurePosixPath(word).parts}
    filled = _filled(pattern, known)
    if wrong and pattern.format_map({**known, **dict.fromkeys(wrong, "_")}) != filled:
        raise BadInput(f"a target must lie where its pattern says, got {filled}; take `..` out of {sorted(wrong)}")
    return filled


def _filled(pattern: str, known: Mapping[str, str]) -> str:
    try:
        return pattern.format_map(known)
    except (KeyError, IndexError, AttributeError, ValueError) as error:
        raise BadInput(f"{pattern} may hold {', '.join(f'{{{name}}}' for name in known)}; got {error}") from error
