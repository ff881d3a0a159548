"""What runs leave behind and nobody needs: found, told, removed. What can be gone on with, and every source, stays.

published   scratch, half-written files; in a store, generations that the root does not lead to
refused     scratch, whose tiles are all assembled; the refused result itself once it is old enough
no plan     once old enough, what lies in a workspace without plan and copy: nobody can go on with it
else        nothing: the run is at work, or can be gone on with
"""

import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from upath import UPath

from ilcore.archives.books import Books
from ilcore.archives.policy import Archive
from ilcore.grammar.errors import BadInput, BadPlan, Busy, ILError
from ilcore.keeping.verify import is_over
from ilcore.results.generations import orphans
from ilcore.running.ledger import Ledger
from ilcore.running.record import has_record, read_record
from ilcore.running.workspace import Workspace
from ilcore.stores.places import Place, entries, is_there, remove, write_text

#: How folders of runs end, and what of them means nothing without a plan.
_ENDING = ".il"
_OF_A_RUN = ("ledger.zarr", "scratch.zarr", "staging.ome.zarr", "generation", "weights", "devices.json", "overwrite")
#: Of what was removed, the books keep so many lines.
_REMEMBERED = 1000
_DAY = 86400.0


@dataclass(frozen=True)
class Piece:
    """Something that a run left: where, how large, and why it is removed or kept."""

    place: str
    size: int
    why: str
    is_needed: bool = False


def workspaces_in(folder: str) -> list[Workspace]:
    """Return the workspaces of all runs whose results lie, or were to lie, in a folder, or of the one result it is.

    Raises:
        BadInput: There is no such folder.
    """
    root = os.path.abspath(folder).removesuffix(_ENDING)
    if os.path.isdir(root + _ENDING):
        return [Workspace.of(root)]
    if not os.path.isdir(root):
        raise BadInput(f"an archive's YAML file or a folder with results was wanted, got {folder}; there is none")
    found = []
    for at, names, _ in os.walk(root):
        own = [name for name in names if name.endswith(_ENDING) and not os.path.islink(os.path.join(at, name))]
        found += [Workspace.of(os.path.join(at, name).removesuffix(_ENDING)) for name in own]
        names[:] = sorted(name for name in names if not name.endswith((_ENDING, ".zarr")))
    return sorted(found, key=lambda each: str(each.root))


def workspaces_of(books: Books) -> list[Workspace]:
    """Return the workspaces of all runs that the books of an archive know."""
    targets = sorted({entry.target for entry in books.all()})
    return [workspace for workspace in map(Workspace.of, targets) if workspace.root.exists()]


def clean(workspace: Workspace, refused_days: float | None, *, dry_run: bool = False) -> list[Piece]:
    """Remove what the run of a workspace left and nobody needs, and return it, with what is kept for a run.

    Args:
        workspace: Of the run; whoever is at work there is left alone.
        refused_days: Age from which on a refused result is removed; None keeps it.
        dry_run: Only tell.
    """
    try:
        with workspace.locked():
            found = list(_pieces(workspace, refused_days))
            for piece in found if not dry_run else ():
                if not piece.is_needed:
                    remove(_place(workspace, piece.place))
            return found
    except Busy as error:
        return [Piece(str(workspace.root), 0, str(error), is_needed=True)]


def clean_archive(archive: Archive, *, dry_run: bool = False) -> list[Piece]:
    """Remove what the runs of an archive left and nobody needs, and note it in the books."""
    books, found = Books.of(archive.books), list[Piece]()
    for workspace in workspaces_of(books):
        try:
            found += clean(workspace, archive.keep.refused_days, dry_run=dry_run)
        except (ILError, OSError) as error:
            found.append(Piece(str(workspace.root), 0, f"cannot be looked at: {error}", is_needed=True))
    gone = [piece for piece in found if not piece.is_needed]
    if gone and not dry_run:
        _note(books, gone)
    return found


def _note(books: Books, gone: list[Piece]) -> None:
    place, when = books.root / "cleaned.json", datetime.now(UTC).isoformat(timespec="seconds")
    try:
        before = list(json.loads(place.read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        before = []
    rows = [*before, *({"when": when, **asdict(piece)} for piece in gone)]
    write_text(place, json.dumps(rows[-_REMEMBERED:], indent=1))


def _pieces(workspace: Workspace, refused_days: float | None) -> Iterator[Piece]:
    if not (workspace.plan.exists() or workspace.plan_copy.exists()):
        yield from _without_plan(workspace, refused_days)
        return
    try:
        has_ended = is_over(workspace)
        plan = workspace.plan_of_run()
    except BadPlan as error:
        yield Piece(str(workspace.root), size_of(workspace.root), f"its plan cannot be read: {error}", is_needed=True)
        return
    if has_ended:
        yield from _there(workspace, ("scratch.zarr", "overwrite"), "its result is published")
        yield from _halves(workspace)
    elif _is_refused(workspace):
        yield from _of_refused(workspace, Ledger(workspace.ledger, plan.tile_grid), refused_days)
    else:
        for piece in _there(workspace, ("scratch.zarr", "staging.ome.zarr"), "il resume goes on with it"):
            yield replace(piece, is_needed=True)


def _without_plan(workspace: Workspace, days: float | None) -> Iterator[Piece]:
    is_old = days is not None and _days(workspace.root) > days and not workspace.record.exists()
    for piece in _there(workspace, _OF_A_RUN, f"no {workspace.plan.name} says what it belongs to"):
        yield replace(piece, is_needed=not is_old)


def _of_refused(workspace: Workspace, ledger: Ledger, days: float | None) -> Iterator[Piece]:
    age = _days(workspace.record)
    is_old = days is not None and age > days
    if is_old or not (ledger.open_blocks() or ledger.open_places()):
        yield from _there(workspace, ("scratch.zarr",), "the run is over: the QA gate refused its result")
    for piece in _there(workspace, ("staging.ome.zarr",), f"refused {age:.0f} days ago"):
        yield replace(piece, is_needed=not is_old)


def _days(place: Place) -> float:
    """Return how old a file is, or the youngest change of what lies in a folder; 0 where a store does not say."""
    return max(0.0, time.time() - float(place.stat().st_mtime or time.time())) / _DAY


def _is_refused(workspace: Workspace) -> bool:
    return has_record(workspace) and read_record(workspace)["verdict"] == "fail"


def _there(workspace: Workspace, names: tuple[str, ...], why: str) -> Iterator[Piece]:
    for name in names:
        # In a store the result in the making lies elsewhere.
        place = workspace.staging if name == "staging.ome.zarr" else workspace.root / name
        if is_there(place):
            yield Piece(str(place), size_of(place), why)


def _halves(workspace: Workspace) -> Iterator[Piece]:
    """Yield what killed writers left under no name of its own, and results in a store that no reader is led to."""
    for place in entries(workspace.root):
        if place.name.endswith(".partial"):
            yield Piece(str(place), size_of(place), "half written by a run that was killed")
    if isinstance(workspace.target, UPath):
        for place in orphans(workspace.target):
            yield Piece(str(place), size_of(place), "an older result, to which no reader is led")


def _place(workspace: Workspace, name: str) -> Place:
    """Return a place by its name; only what belongs to a workspace, or to a result in a store, is ever named here."""
    held = [*entries(workspace.root), workspace.staging]
    held += entries(workspace.target) if isinstance(workspace.target, UPath) else ()
    return next(place for place in held if str(place) == name)


def size_of(place: Place) -> int:
    """Return the bytes of a file, or of all files below a folder."""
    if not isinstance(place, Path):
        return int(place.fs.du(place.path))
    if not place.is_dir():
        return place.lstat().st_size
    sizes = 0
    for at, _, names in os.walk(place):
        sizes += sum(os.lstat(os.path.join(at, name)).st_size for name in names)
    return sizes
