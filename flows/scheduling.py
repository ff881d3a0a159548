"""Nights on a Prefect server: a deployment with its schedule, and what is told to people when a night goes wrong.

A deployment has no concurrency limit: a slot that a dead worker keeps would end all nights. The archive's own lock and
lease keep two nights apart, and the second one says so and fails.
"""

import datetime
from pathlib import Path
from typing import Any

from prefect import Flow, get_client
from prefect.exceptions import ObjectNotFound
from prefect.schedules import Cron

from flows.alarms import tell_people
from ilcore.archives.books import Books
from ilcore.archives.due import Schedule, forget_schedule, write_schedule
from ilcore.archives.policy import Archive
from ilcore.grammar.errors import BadInput
from tasks.services.stale import TAG, lift_limits
from tasks.services.telling import addresses

#: Where the flows lie: a worker finds them there.
HOME = Path(__file__).resolve().parents[1]


def put_on_schedule(archive: Archive, path: str, begin: str, pool: str) -> str:
    """Deploy an archive's nights, and return the deployment's name.

    Args:
        archive: As read.
        path: Its file, read anew every night.
        begin: Time of the day, HH:MM, in the archive's time zone.
        pool: Work pool.

    Raises:
        BadInput: When no server is named, or it does not know the pool.
    """
    _check_server()
    told = addresses()
    try:
        at = datetime.time.fromisoformat(begin)
    except ValueError as error:
        raise BadInput(f"--begin wants HH:MM, got {begin!r}") from error
    name = f"nightly/{archive.name}"
    # `from_source` loads the flow as a worker will: from a folder and a name.
    night: Any = Flow.from_source(source=str(HOME), entrypoint="flows/nightly.py:nightly")
    try:
        night.deploy(
            name=archive.name,
            work_pool_name=pool,
            parameters={"archive": str(Path(path).resolve())},
            schedule=Cron(f"{at.minute} {at.hour} * * *", timezone=archive.night.time_zone),
            description=f"Restores what is new, changed or unfinished in {archive.name}.",
            tags=[TAG, "nightly"],
            print_next_steps=False,
        )
    except ValueError as error:
        raise BadInput(f"an archive is put on schedule in a work pool of the server, got {error}") from error
    lift_limits()
    now = datetime.datetime.now(tz=datetime.UTC)
    schedule = Schedule(f"{at:%H:%M}", archive.night.time_zone, now.isoformat(timespec="seconds"), name)
    write_schedule(Books.of(archive.books).schedule, schedule)
    if told:
        tell_people(told)
    return name


def take_off_schedule(archive: Archive) -> str:
    """Delete an archive's deployment, and return its name."""
    _check_server()
    name = f"nightly/{archive.name}"
    forget_schedule(Books.of(archive.books).schedule)
    with get_client(sync_client=True) as client:
        try:
            client.delete_deployment(client.read_deployment_by_name(name).id)
        except ObjectNotFound as error:
            raise BadInput(f"an archive on schedule is wanted, got none called {name}") from error
    return name


def _check_server() -> None:
    from prefect.settings import PREFECT_API_URL

    if not PREFECT_API_URL.value():
        raise BadInput(
            "a schedule needs a Prefect server, got no PREFECT_API_URL; il up starts one: source .il/environment"
        )
