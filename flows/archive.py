"""Commands for whole archives."""

from typing import TYPE_CHECKING, Annotated

import typer

from flows import asked
from flows import options as say
from flows.answers import answering, out, this_command

if TYPE_CHECKING:
    from tasks.executors.cluster import Resources

ArchiveFile = Annotated[str, typer.Argument(metavar="ARCHIVE", help="the archive's YAML file", show_default=False)]
#: A night after which somebody should look.
LOOK = 3


def nightly(
    archive: ArchiveFile,
    hours: Annotated[float | None, typer.Option(min=0, help="longest duration, instead of the file's own")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="only tell what would be done, and in which order")
    ] = False,
    release: Annotated[
        bool, typer.Option("--release", help="give scans that were quarantined, or failed before, all tries anew")
    ] = False,
) -> None:
    """Restore what is new, changed or unfinished in an archive. Exit code 3: some scans want somebody to look.

    Where IL_NOTIFY_URL is set, somebody is told as well.

    \b
    il nightly cryo.yaml --dry-run
    il nightly cryo.yaml --hours 6
    il nightly cryo.yaml --release
    """
    with answering("what is done is kept", again=this_command):
        asked.check_archive(archive)
        if not dry_run:
            out.print("starting Prefect and the workers ...", style="dim")
        from ilcore.archives.policy import read_archive
        from tasks.services.telling import addresses

        told = read_archive(archive)
        # An address that means nothing is said now, and not when there is something to tell.
        addresses()
        if release:
            _release(told.books, dry_run=dry_run)
        if dry_run:
            _tell_agenda(archive)
            return
        from flows.nightly import nightly as night
        from flows.running import settled
        from tasks.nights.steps import BAD

        try:
            summary = settled(night, {"archive": archive, "hours": hours})
        except Exception as error:
            _tell_people(told.name, [str(error)])
            raise
        counts = ", ".join(f"{count} {name}" for name, count in summary["counts"].items()) or "nothing to do"
        out.print(f"night       {summary['night']}: {counts}\npage        {summary['page']}", markup=False)
        for each in summary["trouble"]:
            out.print(f"in the way  {each}", markup=False)
        if summary["trouble"] or BAD & set(summary["counts"]):
            _tell_people(told.name, [counts, *summary["trouble"], f"see {summary['page']}"])
            raise typer.Exit(LOOK)


def _tell_people(name: str, lines: list[str]) -> None:
    from tasks.services.telling import tell

    tell(f"ilcore: the night of {name} wants a look", lines)


def _release(books: str, *, dry_run: bool) -> None:
    from ilcore.archives.books import Books

    opened = Books.of(books)
    found = opened.standing("quarantined") if dry_run else opened.release()
    word = "would be    released:" if dry_run else "released   "
    for entry in found:
        out.print(f"{word} {entry.source}  ({entry.why})", markup=False)
    if not found:
        out.print("released    nothing was quarantined")


def audit(
    target: Annotated[
        str, typer.Argument(help="a result, or an archive's YAML file for all of its results", show_default=False)
    ],
    tiles: Annotated[int, typer.Option(min=0, help="how many tiles, drawn at random, are restored once more")] = 4,
    seed: Annotated[int | None, typer.Option(help="of the draw; another one each time if left out")] = None,
    workers: say.Workers = 0,
    scheduler: say.Scheduler = None,
    device: say.Device = "auto",
    tracking_uri: say.Tracking = None,
) -> None:
    """Look up again everything that made a result, and restore some tiles once more. Exit code 1: something differs.

    Source digest, weights, software, books, every voxel; the record is kept in TARGET.il/audits and in MLflow.

    \b
    il audit clean.ome.zarr --tiles 16
    il audit cryo.yaml --tiles 1
    """
    with answering("the result is untouched"):
        asked.check_cluster(scheduler)
        is_archive = target.endswith((".yaml", ".yml"))
        asked.check_archive(target) if is_archive else asked.check_run(target)
        import random

        from tasks.executors.cluster import Resources

        drawn = random.SystemRandom().randrange(2**31) if seed is None else seed
        resources = Resources(workers=workers, scheduler=scheduler, device=device)
        if is_archive:
            is_sound = _audit_all(target, resources, tiles, drawn)
        else:
            is_sound = _audit_one(target, resources, tiles, drawn, tracking_uri)
    raise typer.Exit(0 if is_sound else 1)


def _audit_one(target: str, resources: "Resources", tiles: int, seed: int, tracking_uri: str | None) -> bool:
    from tasks.audit import audit_result

    found = audit_result(target, resources, tiles=tiles, seed=seed, given_uri=tracking_uri)
    for point in found.points:
        out.print(f"{point.finding:<8}  {point.name:<9} {point.told}", markup=False)
    out.print(f"seed      {seed}\nrecord    {found.record}\nMLflow    {found.noted}", markup=False)
    return found.is_sound


def _audit_all(archive: str, resources: "Resources", tiles: int, seed: int) -> bool:
    from ilcore.archives.books import Books
    from ilcore.archives.policy import read_archive
    from ilcore.grammar.errors import ILError
    from tasks.audit import audit_result

    told, unsound = read_archive(archive), 0
    done = Books.of(told.books).standing("done")
    for entry in done:
        try:
            found = audit_result(entry.target, resources, tiles=tiles, seed=seed, given_uri=told.night.tracking_uri)
            is_sound, notes = found.is_sound, [each for each in found.points if each.finding != "sound"]
            words = "; ".join(f"{each.name}: {each.told}" for each in notes)
        except ILError as error:
            is_sound, words = False, str(error)
        unsound += not is_sound
        out.print(f"{'sound' if is_sound else 'differs':<8}  {entry.target}  {words}".rstrip(), markup=False)
    out.print(f"{len(done) - unsound} of {len(done)} results are sound; seed {seed}", markup=False)
    return not unsound


def _tell_agenda(archive: str) -> None:
    from ilcore.archives.agenda import agenda
    from ilcore.archives.books import Books
    from ilcore.archives.discover import discover
    from ilcore.archives.policy import read_archive
    from ilcore.archives.room import with_room
    from ilcore.archives.sightings import lost

    told = read_archive(archive)
    scans, trouble = discover(told)
    books = Books.of(told.books)
    items, short = with_room(told, agenda(told, scans, books))
    for item in items:
        out.print(f"{item.todo:<10}  {item.scan.source} -> {item.scan.target}  ({item.why})", markup=False)
    for each in (*trouble, *lost(books, scans, trouble)):
        out.print(f"not listed  {each}", markup=False)
    for each in short:
        out.print(f"no room     {each}", markup=False)
