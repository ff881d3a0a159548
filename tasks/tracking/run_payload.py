"""What a restoration writes into its MLflow run, and the numbers that sum it up."""

import datetime
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ilcore.planning.plan import RestorationPlan
from ilcore.qa.verdict import QAReport
from ilcore.running.bounding import bound_of_run
from ilcore.running.ledger import Ledger
from ilcore.running.numbers import FEW_TILES, Curve
from ilcore.running.record import git_commit
from ilcore.running.run import Run
from ilcore.running.tile_record import STATUS
from ilcore.running.workspace import Workspace
from ilcore.stores.places import entries
from ilcore.stores.store import Place
from tasks.tracking.client import RunPayload, VolumeRun


def volume_run(plan: RestorationPlan, today: datetime.date) -> VolumeRun:
    """Return how the run of a plan is named and found again."""
    stem = Path(plan.source.uri).name.split(".")[0] or "volume"
    return VolumeRun(
        name=f"{stem}-{plan.method}-{today}-{plan.fingerprint[:8]}",
        source=plan.source.uri,
        target=plan.target,
        fingerprint=plan.fingerprint,
        digest=plan.source.digest,
    )


def start_payload(plan: RestorationPlan, tags: Mapping[str, str]) -> RunPayload:
    """Return what is known before the first tile: the plan, the noise, the code."""
    levels = {f"noise_before_channel_{n}": channel.level for n, channel in enumerate(plan.channels)}
    known = {
        "il.weights": plan.weights.uri if plan.weights else "none",
        "il.weights_sha256": plan.weights.sha256 if plan.weights else "none",
        "il.output": plan.target,
        "il.not_carried_over": "; ".join(plan.source.remarks) or "nothing",
        "mlflow.source.name": "ilcore",
    }
    commit = git_commit()
    return RunPayload(
        params=_params(plan),
        metrics={**levels, "noise_confidence": min(channel.confidence for channel in plan.channels)},
        tags={**known, **({"mlflow.source.git.commit": commit} if commit else {}), **tags},
        texts={"config/plan.yaml": plan.to_yaml()},
    )


def end_payload(
    run: Run,
    report: QAReport,
    curves: Mapping[str, Curve],
    numbers: Mapping[str, float | None],
) -> RunPayload:
    """Return what is known at the end: numbers, every tile, findings, pictures, report."""
    ledger = run.ledger
    findings = [asdict(finding) for finding in report.findings]
    measured = {f"qa_{metric_name(finding.check)}": finding.measured for finding in report.findings}
    return RunPayload(
        metrics={**numbers, **measured},
        tags={
            "il.verdict": report.verdict,
            "il.not_checked": "; ".join(report.notes) or "nothing",
            "il.bound": bound_of_run(run).sentence,
        },
        curves=curves,
        tables={"tiles/tiles.json": _tiles_told(ledger), "qa/findings.json": findings},
        files=_files(run.workspace),
    )


def metric_name(words: str) -> str:
    """Return a check's words as a name."""
    # MLflow refuses most punctuation, and takes the whole batch down with it.
    return re.sub(r"[^a-z0-9]+", "_", words.lower()).strip("_")


def _tiles_told(ledger: Ledger) -> list[dict[str, Any]]:
    """Return the rows of all tiles; of very many, those that did not simply succeed, the rest is in the QA maps."""
    if len(ledger.grid) <= FEW_TILES:
        return [_flat(row) for row in ledger.rows()]
    unusual = np.argwhere(np.isin(ledger.read("status"), [STATUS.index("fell back"), STATUS.index("failed")]))
    return [_flat(row) for row in ledger.rows((t, z, y, x) for t, z, y, x in unusual[:FEW_TILES].tolist())]


def _params(plan: RestorationPlan) -> dict[str, object]:
    return {
        "method": plan.method, "scope": plan.scope, "task": plan.task, "seed": plan.seed, "tile_steps": plan.tile_steps,
        "why": plan.reasons, "shape": "x".join(map(str, plan.source.shape)), "dtype": plan.source.dtype,
        "axes": plan.source.axes, "core": plan.grid.core, "overlap": plan.grid.overlap, "halo": plan.grid.halo,
        "fingerprint": plan.fingerprint, **{f"knob.{name}": value for name, value in plan.overrides.items()},
    }  # fmt: skip


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    core = row["core"]
    place = {f"{axis}0": span[0] for axis, span in zip("tczyx", core, strict=True)}
    return {
        "tile": "-".join(map(str, row["tile"])),
        **place,
        **{k: v for k, v in row.items() if k not in ("tile", "core")},
    }


def _files(workspace: Workspace) -> dict[Place, str]:
    found: dict[Place, str] = {workspace.report: "report", workspace.record: "config", workspace.null_test: "qa"}
    pictures = [place for place in entries(workspace.pictures) if place.suffix == ".png"]
    found |= dict.fromkeys(pictures, "images")
    model = workspace.weights / "volume.safetensors"
    found[model] = "weights"
    return {path: folder for path, folder in found.items() if path.is_file()}
