"""Commands that tell how an archive stands, and send what waits; neither needs a server."""

from typing import TYPE_CHECKING, Annotated

import typer

from flows import asked
from flows.answers import answering, out
from flows.archive import LOOK
from flows.cleaning import clean

if TYPE_CHECKING:
    from ilcore.archives.standing import ArchiveStanding


def show_standing(archive: str, *, tell: bool) -> None:
    """Show how an archive stands, and send what is wrong where asked.

    Raises:
        Exit: With 3, when somebody should look.
    """
    from ilcore.archives.books import Books
    from ilcore.archives.policy import read_archive
    from ilcore.archives.standing import standing_of

    told = read_archive(archive)
    standing = standing_of(Books.of(told.books))
    for line in _lines(standing):
        out.print(line, markup=False)
    trouble = standing.trouble
    for each in trouble:
        out.print(f"look        {each}", markup=False)
    if trouble and tell:
        from tasks.services.telling import tell as send

        out.print(f"told        {send(f'ilcore: {told.name} wants a look', trouble)} addresses", markup=False)
    if trouble:
        raise typer.Exit(LOOK)


def _lines(standing: "ArchiveStanding") -> list[str]:
    from datetime import UTC, datetime
    from zoneinfo import ZoneInfo

    lines = []
    if standing.last is not None:
        counts = ", ".join(f"{count} {name}" for name, count in standing.last["counts"].items()) or "nothing to do"
        lines.append(f"last night  {standing.last['night']}: {counts}")
    else:
        lines.append("last night  none yet")
    if (at_work := standing.at_work) is not None:
        where = f"process {at_work.get('process')} on {at_work.get('machine')}"
        lines.append(f"at work     {at_work.get('night')} ({where}) {at_work.get('run', '')}".rstrip())
    if (schedule := standing.schedule) is not None:
        due = schedule.next(datetime.now(tz=UTC)).astimezone(ZoneInfo(schedule.time_zone))
        lines.append(f"next night  {due:%Y-%m-%d %H:%M} {schedule.time_zone}")
    else:
        lines.append("next night  on no schedule")
    lines += [f"quarantine  {entry.source}: {entry.why}" for entry in standing.quarantined]
    if standing.untracked:
        lines.append(f"untracked   {standing.untracked} runs wait for MLflow; the next night sends them, or il track")
    return lines


def track(
    place: Annotated[str, typer.Argument(help="an archive's YAML file, or a result", show_default=False)],
) -> None:
    """Send the records that MLflow did not take when a run was made. Exit code 3: some still wait.

    \b
    il track cryo.yaml
    il track clean.ome.zarr
    """
    with answering():
        is_archive = place.endswith((".yaml", ".yml"))
        asked.check_archive(place) if is_archive else asked.check_run(place)
        from ilcore.archives.books import Books
        from ilcore.archives.policy import read_archive
        from ilcore.running.workspace import Workspace
        from tasks.tracking.journal import send

        queue = Books.of(read_archive(place).books).untracked if is_archive else Workspace.of(place).untracked
        sent, left = send(queue)
        out.print(f"sent        {sent} runs\nwaiting     {left}", markup=False)
        if left:
            raise typer.Exit(LOOK)


#: In the order in which `il --help` lists them.
COMMANDS = (track, clean)
