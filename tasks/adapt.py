"""Learn one model of the whole volume, on one worker."""

from functools import partial

from prefect import task
from prefect.cache_policies import NO_CACHE

from ilcore.planning.plan import RestorationPlan
from ilcore.running.volume_model import LearntModel, learn_volume_model
from ilcore.running.workspace import Workspace
from tasks.executors.cluster import Cluster, worker_device
from tasks.progress import Progress


@task(name="adapt", cache_policy=NO_CACHE)
def adapt(plan: RestorationPlan, workspace: Workspace, cluster: Cluster) -> LearntModel:
    """Return the model that the plan asks for, learnt now or by the run that was interrupted."""
    # On a worker even when it runs here: the driver stays small, and no GPU context is made in it.
    with Progress.of("adapt", 1, "models") as progress:
        learnt = cluster.alone(partial(_learn, plan, workspace), cluster.device)
        progress.step(learnt.reason)
    return learnt


def _learn(plan: RestorationPlan, workspace: Workspace, device: str) -> LearntModel:
    return learn_volume_model(plan, workspace, worker_device(device))
