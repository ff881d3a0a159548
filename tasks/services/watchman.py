"""Looks at the archives on schedule once a minute, and tells people of nights that never began or that died.

It lives beside the status page and asks the books alone: a Prefect server that is down, or a worker that takes nothing,
is what it is there for.
"""

import json
import sys
import threading
import time
from pathlib import Path

from ilcore.archives.books import Books
from ilcore.archives.standing import died_words, standing_of
from tasks.services.telling import addresses, tell

#: Seconds between two looks.
EVERY = 60.0
#: In the platform's folder: the addresses, which are secret, and what was told already.
NOTIFY, TOLD = "notify", "told.json"


def archives_in(folder: Path) -> dict[str, str]:
    """Return name and books of every archive on schedule here."""
    try:
        return dict(json.loads((folder / "archives.json").read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}


def start_watch(folder: Path) -> None:
    """Watch from now on, in a thread of its own."""
    threading.Thread(target=_watch, args=(folder,), name="watchman", daemon=True).start()


def _watch(folder: Path) -> None:
    # Prefect takes seconds to import, and the page is to answer meanwhile.
    try:
        from tasks.services.stale import lift_limits

        # What an earlier version put on schedule may wait for a slot that nobody gives back.
        lift_limits()
    except Exception as error:
        sys.stderr.write(f"warning: limits of earlier versions may stand on the server: {type(error).__name__}\n")
    while True:
        for name, books in archives_in(folder).items():
            try:
                look(folder, name, books)
            except Exception as error:
                sys.stderr.write(f"warning: {name} could not be looked at: {type(error).__name__}: {error}\n")
        time.sleep(EVERY)


def look(folder: Path, name: str, books: str) -> list[str]:
    """Tell people what is new of an archive, once, and return it."""
    standing = standing_of(Books.of(books))
    words = [*standing.missed, *([died_words(standing.died)] if standing.died else ())]
    known = _told(folder)
    new = [each for each in words if each not in known.get(name, [])]
    if new:
        sys.stderr.write("".join(f"{name}: {each}\n" for each in new))
        people = _addresses(folder)
        # Where nobody could be reached, the next look tries again.
        if tell(f"ilcore: {name} wants a look", new, people) or not people:
            _keep(folder, {**known, name: words})
    return new


def _addresses(folder: Path) -> list[str]:
    """Return whom `il schedule` was told to tell, else whom the environment names."""
    try:
        return addresses((folder / NOTIFY).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return addresses()


def _told(folder: Path) -> dict[str, list[str]]:
    try:
        return dict(json.loads((folder / TOLD).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}


def _keep(folder: Path, told: dict[str, list[str]]) -> None:
    half = folder / f"{TOLD}.half"
    half.write_text(json.dumps(told, indent=1), encoding="utf-8")
    half.replace(folder / TOLD)
