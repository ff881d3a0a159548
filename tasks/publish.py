"""Write the pyramid and the root metadata, put the result in its place, and tell how the run ended."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from ilcore.planning.plan import RestorationPlan
from ilcore.qa.verdict import QAReport
from ilcore.running.record import read_findings, write_record
from ilcore.running.stages import complete, publish_result
from ilcore.running.volume_model import LearntModel
from ilcore.running.workspace import Workspace
from tasks.reporting import write_qa_maps, write_report
from tasks.tracking.run_payload import curves_of


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a restoration ended.

    Args:
        verdict: pass, warn or fail; with fail nothing was published.
        numbers: What sums the run up, as in the MLflow run.
        findings: Every check with its number and limit.
        notes: What was not checked, and why.
        page: How to see the MLflow run; empty where there was nothing to do.
    """

    target: str
    verdict: str
    report: str
    numbers: Mapping[str, float | None] = field(default_factory=dict)
    findings: tuple[Mapping[str, Any], ...] = ()
    notes: tuple[str, ...] = ()
    page: str = ""

    @property
    def is_published(self) -> bool:
        """Tell whether the result is in its place."""
        return self.verdict != "fail"


@task(name="record", cache_policy=NO_CACHE)
def record(
    plan: RestorationPlan,
    workspace: Workspace,
    report: QAReport,
    learnt: LearntModel,
    numbers: Mapping[str, float | None],
) -> None:
    """Write QA maps, the report, the record of the run, and the root metadata of a result that may be published."""
    write_qa_maps(plan, workspace)
    write_report(plan, workspace, report, curves_of(plan, workspace, learnt), numbers)
    if report.verdict != "fail":
        complete(plan, workspace, report)
    write_record(plan, workspace, report, {"numbers": dict(numbers), "model": asdict(learnt)})


@task(name="publish", cache_policy=NO_CACHE)
def publish(plan: RestorationPlan, workspace: Workspace, report: QAReport) -> None:
    """Put a result that passed in its place; leave everything as it is where the gate refuses."""
    if report.verdict != "fail":
        publish_result(plan, workspace)


def outcome_of(workspace: Workspace, report: QAReport, numbers: Mapping[str, float | None], page: str) -> Outcome:
    """Return how a run ended."""
    return Outcome(
        target=str(workspace.target),
        verdict=report.verdict,
        report=str(workspace.report),
        numbers=numbers,
        findings=tuple(asdict(finding) for finding in report.findings),
        notes=report.notes,
        page=page,
    )


def earlier_outcome(workspace: Workspace) -> Outcome:
    """Return how the run ended that published this very plan before."""
    return outcome_of(workspace, read_findings(workspace), {}, "")
