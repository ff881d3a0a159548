"""What a restoration writes into its MLflow run, and the numbers that sum it up."""

import datetime
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ilcore.planning.plan import RestorationPlan
from ilcore.qa.verdict import QAReport
from ilcore.running.bounding import bound_of_run
from ilcore.running.ledger import STATUS, Ledger
from ilcore.running.record import git_commit
from ilcore.running.tally import Tally
from ilcore.running.volume_model import LearntModel
from ilcore.running.workspace import Workspace
from ilcore.stores.places import Place, entries
from tasks.stopwatch import Stopwatch, moving_share
from tasks.tracking.client import Sheet, VolumeRun

#: Loss curves shown in a run, and tiles up to which looking at each is cheap.
CURVES, FEW_TILES = 6, 20_000

Curve = Sequence[tuple[int, float]]


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


def opening_sheet(plan: RestorationPlan, tags: Mapping[str, str]) -> Sheet:
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
    return Sheet(
        params=_params(plan),
        metrics={**levels, "noise_confidence": min(channel.confidence for channel in plan.channels)},
        tags={**known, **({"mlflow.source.git.commit": commit} if commit else {}), **tags},
        texts={"config/plan.yaml": plan.to_yaml()},
    )


def closing_sheet(
    plan: RestorationPlan,
    workspace: Workspace,
    report: QAReport,
    curves: Mapping[str, Curve],
    numbers: Mapping[str, float | None],
) -> Sheet:
    """Return what is known at the end: numbers, every tile, findings, pictures, report."""
    ledger = Ledger(workspace.ledger, plan.tile_grid)
    findings = [asdict(finding) for finding in report.findings]
    measured = {f"qa_{metric_name(finding.check)}": finding.measured for finding in report.findings}
    return Sheet(
        metrics={**numbers, **measured},
        tags={
            "il.verdict": report.verdict,
            "il.not_checked": "; ".join(report.notes) or "nothing",
            "il.bound": bound_of_run(plan, workspace).sentence,
        },
        curves=curves,
        tables={"tiles/tiles.json": _tiles_told(ledger), "qa/findings.json": findings},
        files=_files(workspace),
    )


def metric_name(words: str) -> str:
    """Return a check's words as a name."""
    # MLflow refuses most punctuation, and takes the whole batch down with it.
    return re.sub(r"[^a-z0-9]+", "_", words.lower()).strip("_")


def numbers_of(plan: RestorationPlan, workspace: Workspace, tally: Tally, watch: Stopwatch) -> dict[str, float | None]:
    """Return the numbers that sum a run up.

    Args:
        tally: What this run did; with an earlier run's tiles excluded, so that the speed is right.
        watch: What this run's stages took.
    """
    table = Ledger(workspace.ledger, plan.tile_grid).table()
    counts = dict(zip(STATUS, np.bincount(table["status"].ravel(), minlength=len(STATUS)).tolist(), strict=True))
    megavoxels, bound = tally.voxels / 1e6, bound_of_run(plan, workspace)
    return {
        "tiles": table["status"].size,
        "tiles_failed": counts["failed"],
        "tiles_fell_back": counts["fell back"],
        "tiles_empty": counts["empty"],
        "gain_db_estimated": _gain_db(table["risk"], table["noise_std"]),
        "psnr_at_least_db": bound.least_db,
        "psnr_expected_db": bound.expected_db,
        "seconds": watch.seconds,
        **{f"seconds_{name}": seconds for name, seconds in watch.stages.items()},
        "share_of_moving_voxels": moving_share(watch.stages, tally.moving, tally.seconds),
        "worker_seconds": tally.seconds,
        "worker_seconds_per_megavoxel": tally.seconds / megavoxels if megavoxels else None,
        "seconds_per_megavoxel": watch.seconds / megavoxels if megavoxels else None,
    }


def _gain_db(risk: NDArray[Any], noise: NDArray[Any]) -> float | None:
    """Return how far the estimated error lies under the noise of a tile, in dB: the median over tiles."""
    known = (risk > 0) & (noise > 0)
    return float(np.median(10 * np.log10(noise[known].astype(np.float64) ** 2 / risk[known]))) if known.any() else None


def _tiles_told(ledger: Ledger) -> list[dict[str, Any]]:
    """Return the rows of all tiles; of very many, those that did not simply succeed, the rest is in the QA maps."""
    if len(ledger.grid) <= FEW_TILES:
        return [_flat(row) for row in ledger.rows()]
    unusual = np.argwhere(np.isin(ledger.read("status"), [STATUS.index("fell back"), STATUS.index("failed")]))
    return [_flat(row) for row in ledger.rows((t, z, y, x) for t, z, y, x in unusual[:FEW_TILES].tolist())]


def _params(plan: RestorationPlan) -> dict[str, object]:
    return {
        "method": plan.method, "scope": plan.scope, "task": plan.task, "seed": plan.seed, "tile_steps": plan.tile_steps,
        "why": plan.why, "shape": "x".join(map(str, plan.source.shape)), "dtype": plan.source.dtype,
        "axes": plan.source.axes, "core": plan.grid.core, "overlap": plan.grid.overlap, "halo": plan.grid.halo,
        "fingerprint": plan.fingerprint, **{f"knob.{name}": value for name, value in plan.overrides.items()},
    }  # fmt: skip


def curves_of(plan: RestorationPlan, workspace: Workspace, learnt: LearntModel) -> dict[str, Curve]:
    """Return the loss curve of the model of the volume and those of a few tiles, where there are any."""
    whole: dict[str, Curve] = {"loss_volume": learnt.curve} if learnt.curve else {}
    return {**whole, **_tile_curves(Ledger(workspace.ledger, plan.tile_grid))}


def _tile_curves(ledger: Ledger) -> dict[str, Curve]:
    if math.prod(ledger.grid.grid_shape) > FEW_TILES:
        return {}
    curves = ledger.read("curve")
    found: dict[str, Curve] = {}
    tiles = list(ledger.grid.tiles())
    for tile in tiles[:: max(1, len(tiles) // CURVES)][:CURVES]:
        points = [(int(step), float(loss)) for step, loss in curves[tile.index] if math.isfinite(step)]
        if points:
            found["loss_tile_" + "_".join(map(str, tile.index))] = points
    return found


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
