"""How a restoration ended, for those who wait for it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ilcore.qa.verdict import QAReport
from ilcore.running.record import read_findings
from ilcore.running.workspace import Workspace


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
