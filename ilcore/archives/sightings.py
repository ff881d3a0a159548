"""What the books know of scans beyond how they stand: since when one has been as it is, and which are seen no more."""

import json
import os
from collections.abc import Sequence
from contextlib import suppress

from ilcore.archives.discover import Scan
from ilcore.archives.scan_registry import ScanRegistry, key_of
from ilcore.stores.addresses import is_remote
from ilcore.stores.places import make_folder, read_text, write_text
from ilcore.stores.store import Place


def first_seen(books: ScanRegistry, scan: Scan, now: float) -> float:
    """Return when a scan was seen first as it is; noted for scans whose dates tell nothing."""
    folder = books.root / "sightings"
    place = folder / f"{key_of(scan.source)}.json"
    with suppress(FileNotFoundError, ValueError, KeyError, TypeError):
        told = json.loads(read_text(place))
        if told["stamp"] == scan.stamp and told["since"] <= now:
            return float(told["since"])
    make_folder(folder)
    write_text(place, json.dumps({"stamp": scan.stamp, "since": now}))
    return now


def lost(books: ScanRegistry, scans: Sequence[Scan], trouble: Sequence[str]) -> list[str]:
    """Return what is to be told of scans that the books know and that are found no more.

    A scan that was taken away is nobody's trouble. Folders that are there and empty now are: unmounting leaves them so.
    So is an archive in which nothing at all is found.

    Args:
        books: Of the archive.
        scans: What was found.
        trouble: What is told already.
    """
    found = {f"{key_of(scan.source)}.json" for scan in scans}
    gone = [source for place in books.files("scans") if place.name not in found and (source := _source(place))]
    emptied: dict[str, int] = {}
    for source in gone:
        if (folder := _emptied(source)) is not None:
            emptied[folder] = emptied.get(folder, 0) + 1
    told = [
        f"{folder} is empty, {count} scans of it are known; mount its disk, or remove the folder"
        for folder, count in sorted(emptied.items())
        if not any(each.startswith(f"{folder} ") for each in trouble)
    ]
    if not scans and not trouble and not told:
        known = f"; {len(gone)} are known, such as {gone[0]}" if gone else ""
        return [f"no scan at all was found{known}; check `find`, and whether all disks are mounted"]
    return told


def _source(place: Place) -> str:
    with suppress(OSError, ValueError, KeyError, TypeError):
        return str(json.loads(read_text(place))["source"])
    return ""


def _emptied(source: str) -> str | None:
    """Return the nearest folder above a scan that is there, if it is empty."""
    folder = os.path.dirname(source)
    while not is_remote(source) and folder != os.path.dirname(folder):
        try:
            return None if os.listdir(folder) else folder
        except (FileNotFoundError, NotADirectoryError):
            folder = os.path.dirname(folder)
        except OSError:
            # Told where it was walked into.
            return None
    return None
