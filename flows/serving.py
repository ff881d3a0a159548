"""Commands for the platform on one machine, and for putting archives on schedule."""

from typing import Annotated

import typer

from flows import asked
from flows.answers import answering, out
from ilcore.grammar.commands import command

Folder = Annotated[str, typer.Option(help="keeps its databases, artifacts, logs and settings")]


def up(
    folder: Folder = ".il",
    workers: Annotated[int, typer.Option("--workers", "-w", min=0, help="Dask workers; 0: one a core or GPU")] = 0,
    s3: Annotated[bool, typer.Option("--s3", help="start an S3 store as well (SeaweedFS)")] = False,
    port: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=N", help="of status, prefect, mlflow, dask, dashboard, s3; repeatable"),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="name that its servers answer to beside loopback, of a proxy; repeatable"),
    ] = None,
) -> None:
    """Start Prefect, MLflow, Dask and a worker on this machine, supervised, on loopback, with a page that shows them.

    \b
    il up && source .il/environment
    il up --port prefect=4201 --port mlflow=5001

    Its pages ask for a name and a password: `il`, and IL_PASSWORD in the environment file.
    """
    with answering("servers that were begun go on, and il down stops them"):
        out.print("starting; the first time takes a minute or two, on a busy machine more ...", style="dim")
        from pathlib import Path

        from tasks.executors.cluster import default_workers
        from tasks.services.commands import Platform
        from tasks.services.supervising import of_platform, start

        platform = Platform(
            folder=Path(folder).resolve(), ports=_ports(port or []), workers=workers or default_workers("auto"), s3=s3,
            hosts=tuple(allow_host or ()),
        )  # fmt: skip
        for each in start(platform, lambda words: out.print(words, markup=False)):
            if each.service.page:
                out.print(f"{each.service.name:<15} {each.service.page}", markup=False)
        out.print(f"\nto use it   {command('source', platform.folder / 'environment')}", markup=False)
        out.print("to sign in  il, with the password that it exports as IL_PASSWORD", markup=False)
        out.print(f"to stop it  {of_platform('il down', platform.folder)}", markup=False)


def down(folder: Folder = ".il") -> None:
    """Stop what `il up` started; all it keeps stays in its folder."""
    with answering("servers that were asked to stop still stop"):
        from pathlib import Path

        from tasks.services.supervising import stop

        out.print("stopped" if stop(Path(folder).resolve()) else "nothing was running")


def schedule(
    archive: Annotated[str, typer.Argument(metavar="ARCHIVE", help="the archive's YAML file", show_default=False)],
    begin: Annotated[
        str, typer.Option(metavar="HH:MM", help="when nights begin, in the archive's time zone")
    ] = "22:00",
    pool: Annotated[str, typer.Option(help="work pool whose workers restore")] = "il",
    remove: Annotated[bool, typer.Option("--remove", help="take the archive off the schedule")] = False,
    folder: Folder = ".il",
) -> None:
    """Put an archive on the schedule of the Prefect server in PREFECT_API_URL: one night a day, never two at once.

    Where IL_NOTIFY_URL is set, people are told there of nights that failed, crashed, were cancelled, are late or never
    began: https://... is posted to (Slack, Mattermost, Teams ...), mailto://... is a mail; spaces part several.
    """
    with answering():
        asked.check_archive(archive)
        from flows.scheduling import put_on_schedule, take_off_schedule
        from ilcore.archives.policy import read_archive

        told = read_archive(archive)
        if remove:
            out.print(f"off         {take_off_schedule(told)}", markup=False)
            return
        name = put_on_schedule(told, archive, begin, pool)
        out.print(f"on schedule {name}, daily at {begin} {told.night.time_zone}", markup=False)
        _shown(folder, told.name, told.books)
        out.print(f"now         {command('prefect deployment run', name)}", markup=False)


def _shown(folder: str, name: str, books: str) -> None:
    import os
    from pathlib import Path

    from tasks.doors.keys import write_secret
    from tasks.services.status_page import add_archive
    from tasks.services.telling import ADDRESSES
    from tasks.services.watchman import NOTIFY

    place = Path(folder).resolve()
    if (place / "platform.json").is_file():
        add_archive(place, name, books)
        if os.environ.get(ADDRESSES):
            write_secret(place / NOTIFY, os.environ[ADDRESSES])


def _ports(told: list[str]) -> dict[str, int]:
    from ilcore.grammar.errors import BadInput

    found = {}
    for each in told:
        name, _, number = each.partition("=")
        if not number.isdecimal():
            raise BadInput(f"--port wants NAME=N, got {each!r}")
        found[name] = int(number)
    return found
