"""Restore one unit of work: the single function that crosses to a worker.

read ─> normalise ─> method ─> judge ──ok──────────────> scratch ─> ledger, status last
                      ▲          │
                      └── next ──┘   see attempts.py
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ilcore import fit
from ilcore.grammar.arrays import Streams
from ilcore.grammar.region import slices, voxels
from ilcore.qa.blind import judge_tile
from ilcore.qa.risk import risk_sure
from ilcore.qa.verdict import tile_fails
from ilcore.restoring.attempts import Attempt, Bench, fallbacks, first_attempts, is_out_of_memory
from ilcore.restoring.frames import Frame, frame_of, problem_of, stored_units
from ilcore.restoring.plan import RestorationPlan
from ilcore.restoring.volume_model import make_repeatable
from ilcore.restoring.workspace import Workspace
from ilcore.tiling.assemble import cast
from ilcore.tiling.grid import Tile

#: Largest part of a tile on which the risk is estimated by Stein's formula, (z, y, x).
_RISK_PART = (2, 96, 96)
#: Share of it that must be data.
_RISK_TRUSTED = 0.9


@dataclass(frozen=True)
class UnitReport:
    """What a worker says of a unit: small, for progress only; the ledger holds the rest."""

    index: tuple[int, ...]
    tiles: int
    fell_back: int
    failed: int
    voxels: int
    seconds: float


def restore_unit(plan: RestorationPlan, workspace: Workspace, index: Sequence[int], device: str = "cpu") -> UnitReport:
    """Restore all tiles of a unit, write them to scratch and commit them to the ledger.

    Args:
        plan: The plan.
        workspace: The folder beside the target.
        index: Place of the unit in the grid of units.
        device: cpu or cuda.

    Raises:
        ILError: When source, weights or scratch fail; a method that fails on a tile is a verdict, not an error.
    """
    began = time.perf_counter()
    make_repeatable(threads=1)
    bench = Bench.of(plan, workspace, device)
    unit = bench.ledger.grid.unit_of(index)
    frames = [frame_of(bench.volume.read(tile.read)[0], plan) for tile in unit.tiles]
    firsts = first_attempts(bench, unit.tiles, frames)
    share = (time.perf_counter() - began) / len(frames)
    rows = [
        _timed(share, _finished, bench, tile, frame, first)
        for tile, frame, first in zip(unit.tiles, frames, firsts, strict=True)
    ]
    bench.ledger.commit(unit, rows)
    return UnitReport(
        index=unit.index,
        tiles=len(rows),
        fell_back=sum(row["status"] == "fell back" for row in rows),
        failed=sum(row["status"] == "failed" for row in rows),
        voxels=sum(voxels(tile.core) for tile in unit.tiles),
        seconds=time.perf_counter() - began,
    )


def _timed(share: float, work: Callable[..., dict[str, Any]], *given: Any) -> dict[str, Any]:
    began = time.perf_counter()
    row = work(*given)
    return row | {"seconds": share + time.perf_counter() - began}


def _finished(bench: Bench, tile: Tile, frame: Frame, first: Attempt | None) -> dict[str, Any]:
    """Judge a tile, fall back while it fails, write it to scratch and return its row."""
    inner = (slice(None), *slices(tile.keep, [start for start, _ in tile.read])[2:])
    kept = frame.part(inner)
    row: dict[str, Any] = {"trusted_share": kept.trusted.mean()}
    if first is None:
        digest = bench.scratch.write(tile, _as_it_was(kept))
        return row | {"status": "empty", "used": "raw", "reason": "empty", "digest": digest}
    attempt, findings, status = _accepted(bench, tile, frame, first, inner)
    values = _as_it_was(kept) if attempt.used == "raw" else _stored(attempt.image[inner], kept, bench.plan)
    # Where something else had to be used, it is the first attempt's end that explains why.
    row |= {"status": status, "used": attempt.used, "reason": first.reason, "steps": first.steps}
    row |= {"curve": first.curve, "risk_before": first.risk_before, "clipped": _clipped(values, bench.plan)}
    return findings | row | {"digest": bench.scratch.write(tile, values)}


def _accepted(
    bench: Bench, tile: Tile, frame: Frame, first: Attempt, inner: tuple[slice, ...]
) -> tuple[Attempt, dict[str, Any], str]:
    """Return the first attempt that passes, what was found of it, and the status; the raw tile if none does."""
    findings = _judged(bench, tile, frame, first, inner)
    if not first.is_spoilt and not tile_fails(findings):
        return first, findings, "restored"
    for way in fallbacks(bench, tile, frame, first):
        try:
            attempt = way()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            continue
        instead = _judged(bench, tile, frame, attempt, inner)
        if not tile_fails(instead):
            return attempt, instead, "fell back"
    return Attempt("raw", frame.seen, first.reason, first.steps), findings, "failed"


def _stored(image: NDArray[np.float32], kept: Frame, plan: RestorationPlan) -> NDArray[np.float64]:
    """Return values in units of the source; what is not data becomes NaN unless it is to be filled."""
    values = stored_units(image, kept, plan)
    return values if plan.task == "inpaint" else np.where(kept.trusted, values, np.nan)


def _as_it_was(kept: Frame) -> NDArray[np.float64]:
    return np.where(kept.trusted, kept.raw.astype(np.float64), np.nan)


def _clipped(values: NDArray[np.float64], plan: RestorationPlan) -> float:
    """Return the share of values that the type of the source cannot hold."""
    data = values[np.isfinite(values)]
    return cast(data, plan.source.dtype)[1] / max(data.size, 1)


def _judged(bench: Bench, tile: Tile, frame: Frame, attempt: Attempt, inner: tuple[slice, ...]) -> dict[str, Any]:
    kept, noise = frame.part(inner), tuple(channel.noise for channel in bench.plan.channels)
    confidence = min(channel.confidence for channel in bench.plan.channels)
    risk = _stein(bench, tile, frame, attempt)
    findings = judge_tile(
        kept.seen, attempt.image[inner], kept.trusted, noise, risk=risk, confidence=confidence,
        lags=[channel.lags for channel in bench.plan.channels],
    )  # fmt: skip
    if attempt.risk is not None and "noise_std" in findings:
        # The held-out error is that of a noisy pixel: the risk and its noise.
        findings["risk"] = attempt.risk - findings["noise_std"] ** 2
    return findings


def _stein(bench: Bench, tile: Tile, frame: Frame, attempt: Attempt) -> float | None:
    """Return Stein's estimate of the mean squared error on the middle of a tile, where its assumptions hold."""
    weights = {"volume": bench.learnt, "pretrained": bench.start}.get(attempt.used)
    part = frame.part(_middle(frame.raw.shape[1:]))
    is_white = all(channel.verdict == "white" for channel in bench.plan.channels)
    if weights is None or attempt.risk is not None or not is_white or part.trusted.mean() < _RISK_TRUSTED:
        return None
    problem = problem_of([part], bench.plan, bench.device)
    streams = Streams.of(bench.plan.seed, f"{bench.plan.method}/risk", [tile.index])

    def predict(observed: torch.Tensor) -> torch.Tensor:
        return fit.predict(bench.entry.method, replace(problem, observed=observed), weights, streams)

    return float(risk_sure(predict, problem.observed, problem.noise or (), streams)[0])


def _middle(shape: Sequence[int]) -> tuple[slice, ...]:
    starts = [max(0, (length - most) // 2) for length, most in zip(shape, _RISK_PART, strict=True)]
    return (slice(None), *(slice(start, start + most) for start, most in zip(starts, _RISK_PART, strict=True)))
