"""Nights on a Prefect server: a deployment with its schedule, and what is told to people when a night goes wrong."""

import datetime
import os
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect import Flow, get_client
from prefect.automations import Automation, EventTrigger, Posture
from prefect.blocks.webhook import Webhook
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
from prefect.events.actions import CallWebhook
from prefect.exceptions import ObjectNotFound
from prefect.schedules import Cron

from ilcore.archives.policy import Archive
from ilcore.grammar.errors import BadInput

#: Where the flows lie: a worker finds them there.
HOME = Path(__file__).resolve().parents[1]
NOTICE = "il-night-went-wrong"
#: Ends of a flow run that want somebody to look.
BAD_ENDS = frozenset({"prefect.flow-run.Failed", "prefect.flow-run.Crashed", "prefect.flow-run.TimedOut"})


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
    try:
        at = datetime.time.fromisoformat(begin)
    except ValueError as error:
        raise BadInput(f"--begin wants HH:MM, got {begin!r}") from error
    # `from_source` loads the flow as a worker will: from a folder and a name.
    night: Any = Flow.from_source(source=str(HOME), entrypoint="flows/nightly.py:nightly")
    try:
        night.deploy(
            name=archive.name,
            work_pool_name=pool,
            parameters={"archive": str(Path(path).resolve())},
            schedule=Cron(f"{at.minute} {at.hour} * * *", timezone=archive.night.time_zone),
            # A night that is not over when the next begins is not overlapped: the new run is cancelled, and shows so.
            concurrency_limit=ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW),
            description=f"Restores what is new, changed or unfinished in {archive.name}.",
            tags=["ilcore", "nightly"],
            print_next_steps=False,
        )
    except ValueError as error:
        raise BadInput(f"an archive is put on schedule in a work pool of the server, got {error}") from error
    if os.environ.get("IL_NOTIFY_URL"):
        tell_people(os.environ["IL_NOTIFY_URL"])
    return f"nightly/{archive.name}"


def take_off_schedule(archive: Archive) -> str:
    """Delete an archive's deployment, and return its name."""
    _check_server()
    name = f"nightly/{archive.name}"
    with get_client(sync_client=True) as client:
        try:
            client.delete_deployment(client.read_deployment_by_name(name).id)
        except ObjectNotFound as error:
            raise BadInput(f"an archive on schedule is wanted, got none called {name}") from error
    return name


def tell_people(url: str) -> None:
    """Let the server post to an address whenever a run of ours ends badly; the address is kept there as a secret."""
    block = Webhook(method="POST", url=url, headers={"Content-Type": "application/json"})  # type: ignore[arg-type]
    kept: Any = block.save("il-notify", overwrite=True)
    notice = Automation(
        name=NOTICE,
        description="Posts to the address in the block il-notify when a night fails, crashes or wants a look.",
        trigger=EventTrigger(
            expect=set(BAD_ENDS), match_related=_of_ours(), posture=Posture.Reactive, threshold=1,
            for_each={"prefect.resource.id"},
        ),
        actions=[CallWebhook(block_document_id=UUID(str(kept)), payload=_WORDS)],
    )  # fmt: skip
    try:
        known: Any = Automation.read(name=NOTICE)
        notice.id = known.id
    except ValueError:
        notice.create()
    else:
        notice.update()


#: What is posted: `text` is what Slack, Mattermost and Teams show; values are put in by the server.
_WORDS = (
    '{"text": {{ ("ilcore: " ~ flow_run.name ~ " of " ~ (deployment.name or "no deployment") ~ " ended as " '
    '~ flow_run.state.name ~ ": " ~ (flow_run.state.message or "no reason given") ~ " " ~ (flow_run | ui_url or "")) '
    "| tojson }}}"
)


def _of_ours() -> Any:
    return {"prefect.resource.role": "tag", "prefect.resource.id": "prefect.tag.ilcore"}


def _check_server() -> None:
    from prefect.settings import PREFECT_API_URL

    if not PREFECT_API_URL.value():
        raise BadInput(
            "a schedule needs a Prefect server, got no PREFECT_API_URL; il up starts one: source .il/environment"
        )
