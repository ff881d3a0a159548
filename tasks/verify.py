"""Check what is stored of a run, and make damaged pieces again."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from ilcore.keeping.repair import repair
from ilcore.keeping.verify import Spread, is_over, verify
from ilcore.planning.cost import work_of
from ilcore.planning.plan import RestorationPlan
from ilcore.running.damage import read_damage, write_damage
from ilcore.running.workspace import Workspace
from tasks.executors.cluster import Cluster, Resources, open_cluster
from tasks.optimise import restore_here

#: Up to so many voxels are checked in this process: sooner done than workers are started.
FEW = 2**30


def check(target: str, resources: Resources) -> dict[str, Any]:
    """Compare a result, or a run under way, with what was written, and note damage for `il resume`.

    Raises:
        BadPlan: When no run was begun for the target.
        Busy: When a run is working on it.
        CorruptData: When the ledger cannot be read.
        DestinationError: When the result is gone.
    """
    workspace = Workspace.of(target)
    plan = workspace.plan_of_run()
    with workspace.locked(), _spread(plan, resources) as spread:
        found = verify(plan, workspace, spread)
        write_damage(workspace, found)
        return {
            "target": str(workspace.target),
            "state": "published" if is_over(workspace) else "not published",
            "voxels": work_of(plan).voxels,
            "damage": [asdict(each) for each in found],
        }


@contextmanager
def _spread(plan: RestorationPlan, resources: Resources) -> Iterator[Spread]:
    if work_of(plan).voxels <= FEW and resources.scheduler is None and resources.workers == 0:
        yield map
        return
    with open_cluster(resources) as cluster:
        yield cluster.spread


def is_damaged(workspace: Workspace) -> bool:
    """Tell whether `il verify` found damage that was not repaired yet."""
    return bool(read_damage(workspace))


@task(name="mend", cache_policy=NO_CACHE)
def mend(plan: RestorationPlan, workspace: Workspace, cluster: Cluster) -> int:
    """Make again what `il verify` found damaged, and return how many pieces that was."""
    return repair(plan, workspace, cluster.spread, partial(restore_here, plan, workspace, cluster.device))
