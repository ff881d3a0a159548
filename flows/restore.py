"""One volume, start to end: load, adapt, optimise, assemble, judge, publish.

    load ─> prepare ─> adapt ─> optimise ─> assemble ─> judge ─> coarsen ─> record ─> publish
                         └──── one cluster, workers restore tiles ────┘

Stages are Prefect tasks in this process; tiles are futures on the cluster. Only plans and small reports pass by here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed, Failed

from flows.summary import summary_markdown
from ilcore.planning.options import RestoreOptions
from ilcore.running.carry_out import carry_on
from ilcore.running.run import Run
from ilcore.stores.places import place_of
from ilcore.stores.store import Place
from tasks.executors.cluster import Resources, open_cluster
from tasks.executors.pausing import pausable
from tasks.executors.shutdown import gracefully
from tasks.load import PlanSource, bytes_of_tile, load, make_ready
from tasks.outcome import Outcome, earlier_outcome, outcome_of
from tasks.stages import OnPrefect
from tasks.tracking.tracked_run import TrackedRun
from tasks.verify import is_damaged, mend


@dataclass(frozen=True)
class Notes:
    """Where a run is written down, and what else is said of it."""

    tracking_uri: str | None
    tags: Mapping[str, str]
    queue: Place | None


def _run_name() -> str:
    asked = flow_run.parameters
    named = asked.get("source") or asked.get("target") or asked.get("plan") or "volume"
    options = RestoreOptions.model_validate(asked.get("options") or {})
    return f"{Path(str(named)).name}-{options.method or 'chosen'}"


@flow(name="restore-volume", flow_run_name=_run_name)
def restore_volume(
    source: str | None = None,
    target: str | None = None,
    plan: str | None = None,
    options: RestoreOptions = RestoreOptions(),  # noqa: B008 (it is frozen)
    workers: int = 0,
    scheduler: str | None = None,
    device: str = "auto",
    overwrite: bool = False,
    tracking_uri: str | None = None,
    tags: dict[str, str] | None = None,
    queue: str | None = None,
) -> Any:
    """Restore one volume, judge the result, and publish it unless the QA gate refuses.

    Args:
        source: The volume; left out to go on with the run that was begun for `target`.
        target: Where the result shall be: an OME-Zarr folder.
        plan: A plan file, instead of source, target and the options.
        options: What is asked of it.
        workers: Local workers; 0 for one a core, or one a GPU.
        scheduler: A running Dask scheduler to join instead.
        device: auto, cpu or cuda.
        overwrite: Replace an existing result; it stays until the new one has passed.
        tracking_uri: MLflow's address; a SQLite file beside the result by default.
        tags: Put on the MLflow run, such as the night that it belongs to.
        queue: Folder where records wait that MLflow does not take; beside the result if left out.
    """
    resources = Resources(workers=workers, scheduler=scheduler, device=device)
    run = Run.of(load(source, target, options, PlanSource(plan=plan, tracking_uri=tracking_uri, device=device)))
    with run.workspace.locked(), gracefully(), pausable():
        if is_damaged(run.workspace) and not overwrite:
            with open_cluster(resources) as cluster:
                mend(run, cluster)
        is_planned_now = plan is None and source is not None
        if make_ready(run, overwrite=overwrite, is_planned_now=is_planned_now).is_published:
            return _ended(earlier_outcome(run.workspace))
        notes = Notes(tracking_uri, tags or {}, place_of(queue) if queue else None)
        return _ended(_carried_out(run, resources, notes))


def _carried_out(run: Run, resources: Resources, notes: Notes) -> Outcome:
    resources = replace(resources, tile_bytes=bytes_of_tile(run.plan))
    with TrackedRun.of(run, notes.tracking_uri, {**notes.tags, **_prefect_tags()}, notes.queue) as recording:
        with open_cluster(resources) as cluster:
            ended = carry_on(run, cluster, OnPrefect())
        recording.close(ended)
    return outcome_of(run.workspace, ended.report, ended.numbers, recording.page)


def _prefect_tags() -> dict[str, str]:
    return {"prefect.flow_run_id": str(flow_run.id or ""), "prefect.flow_run_name": str(flow_run.name or "")}


def _ended(outcome: Outcome) -> State[Any]:
    create_markdown_artifact(summary_markdown(outcome), key="restoration", description="How the restoration ended")
    if outcome.is_published:
        return Completed(message=f"published, verdict {outcome.verdict}", data=outcome)
    failed = ", ".join(str(finding["check"]) for finding in outcome.findings if finding["verdict"] == "fail")
    return Failed(message=f"the QA gate refused the result: {failed}", data=outcome)
