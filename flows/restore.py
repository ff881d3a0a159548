"""One volume, start to end: load, adapt, optimise, assemble, judge, publish.

    load ─> prepare ─> adapt ─> optimise ─> assemble ─> judge ─> record ─> publish
                         └──── one cluster, workers restore tiles ────┘

Stages are Prefect tasks in this process; tiles are futures on the cluster. Only plans and small reports pass by here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from prefect import flow
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed, Failed

from flows.summary import summary_markdown
from ilcore.planning.make import Wishes
from ilcore.planning.plan import RestorationPlan
from ilcore.running.workspace import Workspace
from ilcore.stores.places import Place, place_of
from tasks.adapt import adapt
from tasks.assemble import assemble
from tasks.coarsen import coarsen
from tasks.executors.cluster import Resources, open_cluster
from tasks.executors.pausing import pausable
from tasks.executors.shutdown import gracefully
from tasks.judge import judge
from tasks.load import Asked, bytes_of_tile, load, make_ready
from tasks.optimise import optimise
from tasks.publish import Outcome, earlier_outcome, outcome_of, publish, record
from tasks.stopwatch import Stopwatch
from tasks.tracking.run_payload import numbers_of
from tasks.tracking.tracked_run import Recording
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
    return f"{Path(str(named)).name}-{asked.get('method') or 'chosen'}"


@flow(name="restore-volume", flow_run_name=_run_name)
def restore_volume(
    source: str | None = None,
    target: str | None = None,
    plan: str | None = None,
    method: str | None = None,
    scope: Literal["tile", "volume"] | None = None,
    task: Literal["denoise", "inpaint", "copy"] = "denoise",
    overrides: dict[str, bool | int | float | str] | None = None,
    weights: str | None = None,
    noise_std: float | None = None,
    prefer: Literal["speed", "balance", "quality"] = "balance",
    hours: float | None = None,
    seed: int = 0,
    tile: tuple[int, int, int] | None = None,
    axes: str | None = None,
    level: int = 0,
    image: str | None = None,
    roi: str | None = None,
    depth: Literal["z", "t", "none"] | None = None,
    per_plane: Literal["t", "z"] | None = None,
    missing: float | None = None,
    result_format: Literal["ome-zarr 0.5", "ome-zarr 0.4"] = "ome-zarr 0.5",
    gate: dict[str, tuple[float, float]] | None = None,
    roots: tuple[str, ...] = (),
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
        plan: A plan file, instead of source, target and everything that decides voxels.
        method: Name in the catalogue; chosen from the noise if left out.
        scope: tile (learn on each tile) or volume (one model per scan).
        task: denoise, inpaint, or copy: pass labels and masks through unchanged.
        overrides: Knobs of the method, such as {"stop.steps": 200}.
        weights: A weight file, or models:/NAME@ALIAS.
        noise_std: Noise standard deviation in the volume's units, where it is known.
        prefer: Where the method is chosen: how its time is weighed against what it gains.
        hours: Of one core that there are; a method that takes longer is not chosen.
        seed: Same plan, same seed: same voxels.
        tile: Core of a tile, (z, y, x).
        axes: What the axes mean where the source does not say.
        level: Level of a multiscale source.
        image: Which image, where the source holds several.
        roi: Region of that level, such as y=0:512,x=256:768; all of it if left out.
        depth: Axis that the method sees as depth: z, t, or none (every plane alone); chosen if left out.
        per_plane: Axis, t or z, along which each plane is divided by its own brightness.
        missing: The value that means "no data".
        result_format: What the result is written as; 0.4 for readers that know no later one.
        gate: Check -> range outside of which the QA gate refuses, such as {"seams": [0, 3]}.
        roots: Folders that links and names in the metadata of the source may lead to; none for its own.
        workers: Local workers; 0 for one a core, or one a GPU.
        scheduler: A running Dask scheduler to join instead.
        device: auto, cpu or cuda.
        overwrite: Replace an existing result; it stays until the new one has passed.
        tracking_uri: MLflow's address; a SQLite file beside the result by default.
        tags: Put on the MLflow run, such as the night that it belongs to.
        queue: Folder where records wait that MLflow does not take; beside the result if left out.
    """
    resources = Resources(workers=workers, scheduler=scheduler, device=device)
    wishes = Wishes(
        method=method, scope=scope, task=task, overrides=overrides or {}, weights=weights, noise_std=noise_std,
        prefer=prefer, hours=hours, seed=seed, tile=tile, axes=axes, level=level, missing=missing, image=image, roi=roi,
        depth=depth, per_plane=per_plane, result_format=result_format, gate=gate or {},
        roots=tuple(roots),
    )  # fmt: skip
    chosen = load(source, target, wishes, Asked(plan=plan, tracking_uri=tracking_uri))
    workspace = Workspace.of(chosen.target)
    with workspace.locked(), gracefully(), pausable():
        if is_damaged(workspace) and not overwrite:
            with open_cluster(resources) as cluster:
                mend(chosen, workspace, cluster)
        standing = make_ready(chosen, workspace, overwrite=overwrite)
        outcome = (
            earlier_outcome(workspace)
            if standing.is_published
            else _carried_out(
                chosen, workspace, resources, Notes(tracking_uri, tags or {}, place_of(queue) if queue else None)
            )
        )
    return _ended(outcome)


def _carried_out(plan: RestorationPlan, workspace: Workspace, resources: Resources, notes: Notes) -> Outcome:
    watch, resources = Stopwatch(), replace(resources, tile_bytes=bytes_of_tile(plan))
    with Recording.of(plan, notes.tracking_uri, {**notes.tags, **_prefect_tags()}, notes.queue) as recording:
        with open_cluster(resources) as cluster:
            with watch.stage("adapt"):
                learnt = adapt(plan, workspace, cluster)
            with watch.stage("optimise"):
                tally = optimise(plan, workspace, cluster)
            with watch.stage("assemble"):
                assemble(plan, workspace, cluster)
            with watch.stage("judge"):
                report = judge(plan, workspace, cluster)
            with watch.stage("coarsen"):
                coarsen(plan, workspace, cluster, report)
        numbers = numbers_of(plan, workspace, tally, watch)
        record(plan, workspace, report, learnt, numbers)
        publish(plan, workspace, report)
        recording.close(workspace, report, learnt, numbers)
    return outcome_of(workspace, report, numbers, recording.page)


def _prefect_tags() -> dict[str, str]:
    return {"prefect.flow_run_id": str(flow_run.id or ""), "prefect.flow_run_name": str(flow_run.name or "")}


def _ended(outcome: Outcome) -> State[Any]:
    create_markdown_artifact(summary_markdown(outcome), key="restoration", description="How the restoration ended")
    if outcome.is_published:
        return Completed(message=f"published, verdict {outcome.verdict}", data=outcome)
    failed = ", ".join(str(finding["check"]) for finding in outcome.findings if finding["verdict"] == "fail")
    return Failed(message=f"the QA gate refused the result: {failed}", data=outcome)
