"""Write the coarser levels of a result, each level once the one below it is complete, on the workers."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from ilcore.planning.plan import RestorationPlan
from ilcore.qa.verdict import QAReport
from ilcore.running.stages import coarser_levels
from ilcore.running.workspace import Workspace
from tasks.executors.cluster import Cluster
from tasks.progress import Progress


@task(name="coarsen", cache_policy=NO_CACHE)
def coarsen(plan: RestorationPlan, workspace: Workspace, cluster: Cluster, report: QAReport) -> None:
    """Write the pyramid of a result that may be published; levels of an earlier attempt are made anew."""
    if report.verdict == "fail":
        return
    for rung in coarser_levels(plan, workspace.staging):
        count = rung.create()
        with Progress.of(f"coarsen {rung.level.path}", count, "blocks") as progress:
            for _ in cluster.spread(rung.write, range(count), anywhere=True):
                progress.step()
