"""Blend the restored tiles into the result, one write unit at a time, on the workers."""

from functools import partial

from prefect import task
from prefect.cache_policies import NO_CACHE

from ilcore.planning.plan import RestorationPlan
from ilcore.running.ledger import Ledger
from ilcore.running.stages import assemble_block
from ilcore.running.workspace import Workspace
from tasks.executors.cluster import Cluster
from tasks.progress import Progress


@task(name="assemble", cache_policy=NO_CACHE)
def assemble(plan: RestorationPlan, workspace: Workspace, cluster: Cluster) -> int:
    """Write the blocks that are not written yet, each by one worker alone, and return how many values were clipped."""
    ledger = Ledger(workspace.ledger, plan.tile_grid)
    todo, clipped = ledger.open_blocks(), 0
    with Progress.of("assemble", len(todo), "blocks") as progress, ledger.book() as book:
        for report in cluster.spread(partial(assemble_block, plan, workspace), todo, anywhere=True):
            workspace.check_lock()
            book.add(report)
            clipped += report.clipped
            progress.step()
    return clipped
