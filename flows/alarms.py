"""What the Prefect server tells people by itself: of runs that end badly, are late, or never begin."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from prefect.automations import Automation, EventTrigger, Posture
from prefect.blocks.notifications import SlackWebhook
from prefect.blocks.webhook import Webhook
from prefect.events.actions import CallWebhook, SendNotification
from pydantic import SecretStr

from tasks.services.telling import is_hook

NOTICE, NEVER_BEGUN = "il-night-went-wrong", "il-night-never-began"
_RUN = "prefect.flow-run."
#: Events of a flow run that want somebody to look.
BAD_ENDS = frozenset({f"{_RUN}{state}" for state in ("Failed", "Crashed", "TimedOut", "Cancelled", "Late")})
#: After a run was given to a worker, one of these must follow.
_FOLLOW = frozenset({*BAD_ENDS, f"{_RUN}Running", f"{_RUN}Completed", f"{_RUN}Suspended"})
#: How long a worker may take to begin what it was given.
PATIENCE = timedelta(minutes=15)

#: Values are put in by the server.
_BAD_END = (
    'ilcore: {{ flow_run.name }} of {{ deployment.name or "no deployment" }} is {{ flow_run.state.name }}: '
    '{{ flow_run.state.message or "no reason given" }} {{ (flow_run | ui_url) or "" }}'
)
_SILENCE = (
    "ilcore: a night was given to a worker and has not begun within 15 minutes: look at the worker, and at "
    "{{ (automation | ui_url) or 'the pages of Prefect' }}"
)


def tell_people(addresses: Sequence[str]) -> None:
    """Let the server tell whenever a run of ours goes wrong; it keeps the addresses as secrets.

    Args:
        addresses: As in `tasks.services.telling`.
    """
    bad = EventTrigger(
        expect=set(BAD_ENDS), match_related=_of_ours(), posture=Posture.Reactive, threshold=1,
        for_each={"prefect.resource.id"},
    )  # fmt: skip
    silent = EventTrigger(
        after={f"{_RUN}Pending"}, expect=set(_FOLLOW), match_related=_of_ours(), posture=Posture.Proactive,
        threshold=1, within=PATIENCE, for_each={"prefect.resource.id"},
    )  # fmt: skip
    _keep(NOTICE, "Tells people when a night fails, crashes, is cancelled or is late.", bad, addresses, _BAD_END)
    _keep(NEVER_BEGUN, "Tells people of nights that a worker took and never began.", silent, addresses, _SILENCE)


def _keep(name: str, about: str, trigger: EventTrigger, addresses: Sequence[str], words: str) -> None:
    actions: list[Any] = [_action(number, address, words) for number, address in enumerate(addresses, 1)]
    notice = Automation(name=name, description=about, trigger=trigger, actions=actions)
    try:
        known: Any = Automation.read(name=name)
        notice.id = known.id
    except ValueError:
        notice.create()
    else:
        notice.update()


def _action(number: int, address: str, words: str) -> CallWebhook | SendNotification:
    if is_hook(address):
        hook = Webhook(method="POST", url=address, headers={"Content-Type": "application/json"})  # type: ignore[arg-type]
        # `text` is what Slack, Mattermost and Teams show.
        payload = '{"text": {% set words %}' + words + "{% endset %}{{ words | tojson }}}"
        return CallWebhook(block_document_id=_kept(hook, f"il-notify-{number}"), payload=payload)
    # Not only for Slack: whatever its address is, Apprise is given it as it stands.
    block = SlackWebhook(url=SecretStr(address))
    return SendNotification(
        block_document_id=_kept(block, f"il-notify-{number}"), subject="ilcore: a night wants a look", body=words
    )


def _kept(block: Any, name: str) -> UUID:
    return UUID(str(block.save(name, overwrite=True)))


def _of_ours() -> Any:
    return {"prefect.resource.role": "tag", "prefect.resource.id": "prefect.tag.ilcore"}
