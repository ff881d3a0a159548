"""Restore every tile that is still to be done, on the workers."""

from collections.abc import Sequence
from functools import partial

from prefect import task
from prefect.cache_policies import NO_CACHE

from ilcore.grammar.devices import kind_of
from ilcore.planning.plan import RestorationPlan
from ilcore.running.ledger import Ledger
from ilcore.running.record import note_device
from ilcore.running.tally import Tally
from ilcore.running.tile import UnitReport, restore_unit
from ilcore.running.workspace import Workspace
from tasks.executors.cluster import Cluster, worker_device
from tasks.progress import Progress


@task(name="optimise", cache_policy=NO_CACHE)
def optimise(plan: RestorationPlan, workspace: Workspace, cluster: Cluster) -> Tally:
    """Spread the open units of work over the cluster, and return what was done.

    A unit commits itself to the ledger, so a lost worker costs at most the units it held.
    """
    ledger = Ledger(workspace.ledger, plan.tile_grid)
    status = ledger.read("status")
    done, todo = int((status != 0).sum()), ledger.open_places(status)
    if todo:
        note_device(workspace, cluster.alone(_kind, cluster.device), len(todo))
    work = partial(restore_here, plan, workspace, cluster.device)
    tally = Tally()
    with Progress.of("optimise", len(plan.tile_grid), "tiles", already=done) as progress:
        for report in cluster.spread(work, todo):
            workspace.check_lock()
            tally = tally.plus(report)
            progress.step(_words(tally), by=report.tiles)
    return tally


def restore_here(plan: RestorationPlan, workspace: Workspace, device: str, index: Sequence[int]) -> UnitReport:
    """Restore one unit of work on the device of the worker that this runs on."""
    return restore_unit(plan, workspace, index, worker_device(device))


def _kind(device: str) -> str:
    return kind_of(worker_device(device))


def _words(tally: Tally) -> str:
    fallen = f"{tally.fell_back} fell back" if tally.fell_back else ""
    failed = f"{tally.failed} failed" if tally.failed else ""
    return ", ".join(filter(None, (fallen, failed)))
