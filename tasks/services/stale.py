"""What dead runs leave on the Prefect server: it is ended or lifted, so that no slot, page or alarm waits for them."""

import sys
from datetime import UTC, datetime, timedelta
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import DeploymentUpdate
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    DeploymentFilterTags,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import StateType
from prefect.runtime import deployment, flow_run
from prefect.states import Crashed

#: Carried by every deployment of ours.
TAG = "ilcore"
#: A run that is this young may still be on its way to the lock.
YOUNG = timedelta(minutes=2)
_AT_WORK = (StateType.RUNNING, StateType.PENDING, StateType.CANCELLING)


def free_stale() -> int:
    """End the other runs that this run's deployment has for the same archive, and return how many there were.

    To be called under the lock of what the deployment works on: whoever does not hold it is not at work. A server that
    does not answer is no hindrance.
    """
    if flow_run.id is None or deployment.id is None:
        return 0
    try:
        return end_stale(UUID(str(deployment.id)), UUID(str(flow_run.id)))
    except Exception as error:
        # Only the server's own books are at stake: the next night looks again.
        sys.stderr.write(f"warning: runs that died may still stand as at work: {type(error).__name__}: {error}\n")
        return 0


def lift_limits() -> list[str]:
    """Take the concurrency limit off every deployment of ours, as earlier versions set it; return whose that was."""
    lifted = []
    with get_client(sync_client=True) as client:
        ours = client.read_deployments(deployment_filter=DeploymentFilter(tags=DeploymentFilterTags(all_=[TAG])))
        for each in ours:
            if each.global_concurrency_limit is not None:
                client.update_deployment(each.id, DeploymentUpdate(concurrency_limit=None))
                lifted.append(each.name)
    return lifted


def end_stale(of: UUID, mine: UUID) -> int:
    """End what a deployment still calls at work on the archive of a run, but for that run; return how many."""
    words = "its process is gone: a later run holds the lock that it would hold"
    with get_client(sync_client=True) as client:
        found = client.read_flow_runs(
            deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[of])),
            flow_run_filter=FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=list(_AT_WORK)))),
        )
        archive = client.read_flow_run(mine).parameters.get("archive")
        old = datetime.now(tz=UTC) - YOUNG
        stale = [
            run
            for run in found
            if run.id != mine and run.parameters.get("archive") == archive
            if run.state is not None and run.state.timestamp < old
        ]
        for run in stale:
            client.set_flow_run_state(run.id, Crashed(message=words), force=True)
    return len(stale)
