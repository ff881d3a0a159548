"""Check what is stored of a run, and make damaged pieces again."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from ilcore.keeping.repair import repair
from ilcore.keeping.verify import is_over, verify
from ilcore.planning.cost import work_of
from ilcore.running.damage import read_damage, write_damage
from ilcore.running.executor import Executor, Local
from ilcore.running.run import Run
from ilcore.running.workspace import Workspace
from tasks.executors.cluster import Resources, open_cluster

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
    run = Run.begun(target)
    with run.workspace.locked(), _executor(run, resources) as executor:
        found = verify(run, executor)
        write_damage(run.workspace, found)
        return {
            "target": str(run.workspace.target),
            "state": "published" if is_over(run.workspace) else "not published",
            "voxels": work_of(run.plan).voxels,
            "damage": [asdict(each) for each in found],
        }


@contextmanager
def _executor(run: Run, resources: Resources) -> Iterator[Executor]:
    if work_of(run.plan).voxels <= FEW and resources.scheduler is None and resources.workers == 0:
        yield Local()
        return
    with open_cluster(resources) as cluster:
        yield cluster


def is_damaged(workspace: Workspace) -> bool:
    """Tell whether `il verify` found damage that was not repaired yet."""
    return bool(read_damage(workspace))


@task(name="mend", cache_policy=NO_CACHE)
def mend(run: Run, executor: Executor) -> int:
    """Make again what `il verify` found damaged, and return how many pieces that was."""
    return repair(run, executor)
