"""Restore one unit of work: the single function that crosses to a worker.

read ─> normalise ─> method ─> judge ──ok──────────────> scratch ─> ledger, status last
                      ▲          │
                      └── next ──┘   tile -> volume -> pretrained -> classical -> raw
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.restoration import denoise_nl_means

from ilcore import fit
from ilcore.adapting.weights import load_weights
from ilcore.fit import Strategy, Weights
from ilcore.grammar.arrays import Streams
from ilcore.grammar.region import slices
from ilcore.grammar.trial import Restoration
from ilcore.methods.entry import Entry
from ilcore.qa.blind import judge_tile
from ilcore.qa.risk import risk_sure
from ilcore.qa.verdict import tile_fails
from ilcore.restoring.frames import Frame, frame_of, problem_of, stored_units, to_numpy
from ilcore.restoring.ledger import Ledger
from ilcore.restoring.plan import RestorationPlan
from ilcore.restoring.scratch import Scratch
from ilcore.restoring.volume_model import model_path, open_source, start_of
from ilcore.restoring.workspace import Workspace
from ilcore.tiling.grid import Tile, Unit
from ilcore.volumes.volume import Volume

#: Largest part of a tile on which the risk is estimated by Stein's formula, (z, y, x).
_RISK_PART = (2, 96, 96)


@dataclass(frozen=True)
class UnitReport:
    """What a worker says of a unit: small, for progress only; the ledger holds the rest."""

    index: tuple[int, ...]
    tiles: int
    fell_back: int
    failed: int
    voxels: int
    seconds: float


@dataclass(frozen=True)
class Attempt:
    """One way to restore a tile: normalised image [channel, z, y, x] and how it came about."""

    used: str
    image: NDArray[np.float32]
    reason: str
    steps: int = 0
    risk: float | None = None
    risk_before: float | None = None
    curve: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True)
class Bench:
    """What a worker keeps open between units."""

    plan: RestorationPlan
    volume: Volume
    ledger: Ledger
    scratch: Scratch
    entry: Entry
    start: Weights | None
    learnt: Weights | None
    device: str


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
    # Another number of threads would change the last bits.
    torch.set_num_threads(1)
    bench = _bench(plan, workspace, device)
    unit = bench.ledger.grid.unit_of(index)
    frames = [frame_of(bench.volume.read(tile.read)[0], plan) for tile in unit.tiles]
    firsts = _first_attempts(bench, unit, frames)
    rows = [_finished(bench, tile, frame, first) for tile, frame, first in zip(unit.tiles, frames, firsts, strict=True)]
    bench.ledger.commit(unit, rows)
    return UnitReport(
        index=unit.index,
        tiles=len(rows),
        fell_back=sum(row["status"] == "fell back" for row in rows),
        failed=sum(row["status"] == "failed" for row in rows),
        voxels=sum(int(np.prod([b - a for a, b in tile.core])) for tile in unit.tiles),
        seconds=time.perf_counter() - began,
    )


@lru_cache(maxsize=2)
def _opened(plan_text: str, root: Path, device: str) -> Bench:
    plan, workspace = RestorationPlan.from_yaml(plan_text), Workspace(root)
    entry, start = start_of(plan, workspace)
    learnt = load_weights(model_path(workspace)) if model_path(workspace).exists() else None
    return Bench(
        plan=plan,
        volume=open_source(plan),
        ledger=Ledger(workspace.ledger, plan.tile_grid),
        scratch=Scratch.of(workspace.scratch, plan),
        entry=entry,
        start=start,
        learnt=learnt,
        device=device,
    )


def _bench(plan: RestorationPlan, workspace: Workspace, device: str) -> Bench:
    return _opened(plan.to_yaml(), workspace.target, device)


def _first_attempts(bench: Bench, unit: Unit, frames: Sequence[Frame]) -> list[Attempt | None]:
    """Return the method's own attempt on every tile of the unit; None for tiles with nothing in them."""
    attempts: list[Attempt | None] = [None] * len(frames)
    groups: dict[tuple[int, ...], list[int]] = {}
    for number, frame in enumerate(frames):
        if not frame.is_empty:
            groups.setdefault(frame.raw.shape, []).append(number)
    for members in groups.values():
        tiles, seen = [unit.tiles[n] for n in members], [frames[n] for n in members]
        for number, attempt in zip(members, _together(bench, tiles, seen), strict=True):
            attempts[number] = attempt
    return attempts


def _together(bench: Bench, tiles: Sequence[Tile], frames: Sequence[Frame]) -> list[Attempt]:
    """Restore tiles of one size, in halves where the device cannot hold them all."""
    try:
        return _by_method(bench, tiles, frames)
    except torch.cuda.OutOfMemoryError:
        if len(tiles) == 1:
            raise
        torch.cuda.empty_cache()
        half = len(tiles) // 2
        return _together(bench, tiles[:half], frames[:half]) + _together(bench, tiles[half:], frames[half:])


def _by_method(bench: Bench, tiles: Sequence[Tile], frames: Sequence[Frame]) -> list[Attempt]:
    plan, problem = bench.plan, problem_of(frames, bench.plan, bench.device)
    streams = Streams.of(plan.seed, plan.method, [tile.index for tile in tiles])
    if plan.scope == "volume" and plan.tile_steps == 0:
        weights = bench.learnt or bench.start
        if weights is None:
            return [Attempt("volume", frame.seen, "error") for frame in frames]
        images = [
            to_numpy(fit.predict(bench.entry.method, problem.rows([n]), weights, streams.only([n])))[0]
            for n in range(len(tiles))
        ]
        used = "volume" if bench.learnt else "pretrained"
        return [Attempt(used, image, "applied") for image in images]
    entry = bench.entry.with_steps(plan.tile_steps) if plan.scope == "volume" else bench.entry
    strategy: Strategy = "grouped" if bench.device.startswith("cuda") else "sequential"
    done = fit.restore(entry.method, problem, streams, start=bench.learnt or bench.start, strategy=strategy)
    return [_as_attempt(done, row, image) for row, image in enumerate(to_numpy(done.image))]


def _as_attempt(done: Restoration, row: int, image: NDArray[np.float32]) -> Attempt:
    reason = done.stopped[row].split(" ")[0]
    return Attempt(
        used="tile",
        image=image,
        reason=reason if reason in ("budget", "held-out", "diverged") else "budget",
        steps=done.steps[row],
        risk=done.risk[row] if done.risk else None,
        risk_before=done.risk_before[row] if done.risk_before else None,
        curve=done.curves[row] if done.curves else (),
    )


def _fallbacks(bench: Bench, tile: Tile, frame: Frame, first: Attempt) -> Iterator[Callable[[], Attempt]]:
    """Yield the ways that are left after the method's own attempt, best first."""

    def applied(used: str, weights: Weights) -> Attempt:
        problem = problem_of([frame], bench.plan, bench.device)
        streams = Streams.of(bench.plan.seed, bench.plan.method, [tile.index])
        return Attempt(used, to_numpy(fit.predict(bench.entry.method, problem, weights, streams))[0], "applied")

    if bench.entry.can_apply:
        for used, weights in (("volume", bench.learnt), ("pretrained", bench.start)):
            if weights is not None and first.used not in (used, "pretrained"):
                yield lambda used=used, weights=weights: applied(used, weights)  # type: ignore[misc]
    yield lambda: Attempt("classical", _non_local_means(frame, bench.plan), "applied")


def _non_local_means(frame: Frame, plan: RestorationPlan) -> NDArray[np.float32]:
    """Return every plane through non-local means at the noise level of its channel."""
    out = np.empty_like(frame.seen)
    for number, channel in enumerate(plan.channels):
        std = max(channel.noise.std_at(float(np.median(frame.seen[number]))), 1e-4)
        for z, plane in enumerate(frame.seen[number]):
            out[number, z] = denoise_nl_means(plane, patch_size=5, patch_distance=6, h=0.8 * std, sigma=std)
    return out


def _finished(bench: Bench, tile: Tile, frame: Frame, first: Attempt | None) -> dict[str, Any]:
    """Judge a tile, fall back while it fails, write it to scratch and return its row."""
    began = time.perf_counter()
    inner = (slice(None), *slices(tile.keep, [start for start, _ in tile.read])[2:])
    kept = Frame(frame.raw[inner], frame.trusted[inner], frame.seen[inner])
    if first is None:
        digest = bench.scratch.write(tile, _as_it_was(kept))
        return {
            "status": "empty",
            "used": "raw",
            "reason": "empty",
            "digest": digest,
            "trusted_share": kept.trusted.mean(),
        }
    attempt, findings, status = _accepted(bench, tile, frame, first, inner)
    values = _as_it_was(kept) if attempt.used == "raw" else _stored(attempt.image[inner], kept, bench.plan)
    row = {"status": status, "used": attempt.used, "reason": attempt.reason, "steps": attempt.steps}
    row |= {"curve": first.curve, "risk_before": first.risk_before, "trusted_share": kept.trusted.mean()}
    row |= {"digest": bench.scratch.write(tile, values), "seconds": time.perf_counter() - began}
    return findings | row


def _accepted(
    bench: Bench, tile: Tile, frame: Frame, first: Attempt, inner: tuple[slice, ...]
) -> tuple[Attempt, dict[str, Any], str]:
    """Return the first attempt that passes, what was found of it, and the status; the raw tile if none does."""
    findings = _judged(bench, tile, frame, first, inner)
    if first.reason not in ("diverged", "error") and not tile_fails(findings):
        return first, findings, "restored"
    for way in _fallbacks(bench, tile, frame, first):
        attempt = way()
        instead = _judged(bench, tile, frame, attempt, inner)
        if not tile_fails(instead):
            return attempt, instead, "fell back"
    return Attempt("raw", frame.seen, first.reason, first.steps), findings, "failed"


def _stored(image: NDArray[np.float32], kept: Frame, plan: RestorationPlan) -> NDArray[np.float64]:
    """Return values in units of the source; what is not data becomes NaN unless it is to be filled."""
    values = stored_units(image, plan)
    return values if plan.task == "inpaint" else np.where(kept.trusted, values, np.nan)


def _as_it_was(kept: Frame) -> NDArray[np.float64]:
    return np.where(kept.trusted, kept.raw.astype(np.float64), np.nan)


def _judged(bench: Bench, tile: Tile, frame: Frame, attempt: Attempt, inner: tuple[slice, ...]) -> dict[str, Any]:
    noise = tuple(channel.noise for channel in bench.plan.channels)
    confidence = min(channel.confidence for channel in bench.plan.channels)
    risk = _stein(bench, tile, frame, attempt)
    findings = judge_tile(
        frame.seen[inner], attempt.image[inner], frame.trusted[inner], noise, risk=risk, confidence=confidence
    )
    if attempt.risk is not None:
        # The held-out error is that of a noisy pixel: the risk and its noise.
        findings["risk"] = attempt.risk - findings["noise_std"] ** 2
    return findings


def _stein(bench: Bench, tile: Tile, frame: Frame, attempt: Attempt) -> float | None:
    """Return Stein's estimate of the mean squared error on the middle of a tile, where its assumptions hold."""
    weights = {"volume": bench.learnt, "pretrained": bench.start}.get(attempt.used)
    if (
        weights is None
        or attempt.risk is not None
        or any(channel.verdict != "white" for channel in bench.plan.channels)
    ):
        return None
    part = _middle(frame)
    problem = problem_of([part], bench.plan, bench.device)
    streams = Streams.of(bench.plan.seed, f"{bench.plan.method}/risk", [tile.index])

    def predict(observed: torch.Tensor) -> torch.Tensor:
        return fit.predict(bench.entry.method, replace(problem, observed=observed), weights, streams)

    return float(risk_sure(predict, problem.observed, problem.noise or (), streams)[0])


def _middle(frame: Frame) -> Frame:
    spans = []
    for length, most in zip(frame.raw.shape[1:], _RISK_PART, strict=True):
        start = max(0, (length - most) // 2)
        spans.append(slice(start, start + most))
    place = (slice(None), *spans)
    return Frame(frame.raw[place], frame.trusted[place], frame.seen[place])
