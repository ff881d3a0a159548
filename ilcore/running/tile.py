"""Restore one unit of work: the single function that crosses to a worker.

read ─> normalise ─> method ─> judge ──ok──────────────> scratch ─> ledger, status last
                      ▲          │
                      └── next ──┘   see attempts.py
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ilcore.grammar.devices import is_out_of_memory, make_repeatable
from ilcore.grammar.region import voxels
from ilcore.planning.depth import unstacked, within
from ilcore.planning.plan import RestorationPlan
from ilcore.qa.blind import judge_tile
from ilcore.qa.chances import chance_of
from ilcore.qa.faithful import faithful
from ilcore.qa.verdict import tile_fails
from ilcore.running.attempts import Attempt, Bench, fallbacks, first_attempts
from ilcore.running.own_error import error_columns, risk_of
from ilcore.running.patches import Frame, as_it_was, frame_of, noise_of, stored_units
from ilcore.running.scratch import DryScratch
from ilcore.running.workspace import Workspace
from ilcore.stores.concurrent import abreast
from ilcore.tiling.assemble import clipped_count
from ilcore.tiling.grid import Tile, Unit


@dataclass(frozen=True)
class UnitReport:
    """What a worker says of a unit: small, for progress only; the ledger holds the rest.

    `moving` are the seconds of all `seconds` in which voxels were read or written.
    """

    index: tuple[int, ...]
    tiles: int
    fell_back: int
    failed: int
    voxels: int
    seconds: float
    moving: float = 0.0


@dataclass(frozen=True)
class _View:
    """One tile as it is read, and the part of it that is kept."""

    tile: Tile
    frame: Frame
    kept: Frame
    inner: tuple[slice, ...]

    @classmethod
    def of(cls, bench: Bench, tile: Tile) -> "_View":
        frame = frame_of(bench.volume, tile.read, bench.plan)
        inner = within(tile.keep, tile.read, bench.plan.depth)
        return cls(tile, frame, frame.part(inner), inner)


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
    bench = Bench.of(plan, workspace, device)
    unit = bench.ledger.grid.unit_of(index)
    rows, moving = _rows(bench, unit)
    written = time.perf_counter()
    workspace.check_plan(plan)
    bench.ledger.commit(unit, rows)
    moving += time.perf_counter() - written
    return UnitReport(
        index=unit.index,
        tiles=len(rows),
        fell_back=sum(row["status"] == "fell back" for row in rows),
        failed=sum(row["status"] == "failed" for row in rows),
        voxels=sum(voxels(tile.core) for tile in unit.tiles),
        seconds=time.perf_counter() - began,
        moving=moving,
    )


def replay_unit(plan: RestorationPlan, workspace: Workspace, index: Sequence[int], device: str = "cpu") -> list[int]:
    """Restore all tiles of a unit once more, keep nothing, and return the digest of each."""
    bench = Bench.of(plan, workspace, device)
    dry = replace(bench, scratch=DryScratch(bench.scratch.path, bench.scratch.grid, bench.scratch.kind))
    rows, _ = _rows(dry, bench.ledger.grid.unit_of(index))
    return [int(row["digest"]) for row in rows]


def _rows(bench: Bench, unit: Unit) -> tuple[list[dict[str, Any]], float]:
    """Restore the tiles of a unit and write them to scratch; return rows, and the seconds of reading and writing."""
    began = time.perf_counter()
    make_repeatable(threads=1)
    views = list(abreast(partial(_View.of, bench), unit.tiles, bench.volume.uri))
    moving = time.perf_counter() - began
    # What is copied is left as it is.
    busy = [view for view in views if not view.kept.is_empty and bench.plan.task != "copy"]
    attempts = first_attempts(bench, [view.tile for view in busy], [view.frame for view in busy])
    firsts = {view.tile.index: attempt for view, attempt in zip(busy, attempts, strict=True)}
    share = time.perf_counter() - began
    rows, contents = zip(*(_timed(bench, view, firsts.get(view.tile.index)) for view in views), strict=True)
    began = time.perf_counter()
    digests = list(abreast(partial(_write, bench), zip(views, contents, strict=True), bench.scratch.path))
    writing = time.perf_counter() - began
    more = (share + writing) / len(views)
    return [
        row | {"digest": digest, "seconds": row["seconds"] + more} for row, digest in zip(rows, digests, strict=True)
    ], moving + writing


def _timed(bench: Bench, view: _View, first: Attempt | None) -> tuple[dict[str, Any], NDArray[np.float64]]:
    began = time.perf_counter()
    row, values = _finished(bench, view, first)
    return row | {"seconds": time.perf_counter() - began}, values


def _finished(bench: Bench, view: _View, first: Attempt | None) -> tuple[dict[str, Any], NDArray[np.float64]]:
    """Judge a tile, fall back while it fails, and return its row and what is to be written."""
    kept, plan = view.kept, bench.plan
    row: dict[str, Any] = {"trusted_share": kept.trusted.mean()}
    if first is None:
        return row | {"status": "empty", "used": "raw", "reason": "empty"}, as_it_was(kept, plan)
    attempt, findings, status = _accepted(bench, view, first)
    is_raw = attempt.used == "raw"
    values = as_it_was(kept, plan) if is_raw else stored_units(attempt.image[view.inner], kept, plan)
    # Where something else had to be used, it is the first attempt's end that explains why.
    row |= {"status": status, "used": attempt.used, "reason": first.reason, "steps": first.steps}
    row |= {"curve": first.curve, "risk_before": first.risk_before, "clipped": _clipped(values, kept, plan)}
    row |= {"spread": _mean_spread(view, attempt)}
    return findings | row, values


def _write(bench: Bench, done: tuple[_View, NDArray[np.float64]]) -> int:
    """Write a tile to scratch and return its digest."""
    view, values = done
    return bench.scratch.write(view.tile, unstacked(values, bench.plan.depth))


def _accepted(bench: Bench, view: _View, first: Attempt) -> tuple[Attempt, dict[str, Any], str]:
    """Return the first attempt that passes, what was found of it, and the status; the raw tile if none does."""
    findings = _judged(bench, view, first)
    if not first.is_spoilt and not tile_fails(findings):
        return first, findings, "restored"
    for way in fallbacks(bench, view.tile, view.frame, first):
        try:
            attempt = way()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            continue
        instead = _judged(bench, view, attempt)
        if not tile_fails(instead):
            return attempt, instead, "fell back"
    return Attempt("raw", view.frame.seen, first.reason, first.steps), findings, "failed"


def _mean_spread(view: _View, attempt: Attempt) -> float | None:
    """Return the mean spread of what was averaged, normalised, where the tile is data."""
    if attempt.spread is None:
        return None
    spread = attempt.spread[view.inner][view.kept.trusted]
    return float(spread.mean()) if spread.size else None


def _clipped(values: NDArray[np.float64], kept: Frame, plan: RestorationPlan) -> float:
    """Return the share of values that the type of the source cannot hold."""
    data = np.isfinite(values)
    return clipped_count(values[data], kept.raw[data], plan.source.dtype) / max(int(data.sum()), 1)


def _judged(bench: Bench, view: _View, attempt: Attempt) -> dict[str, Any]:
    """Return the findings on one attempt, from the channels that hold something: a dark one has no noise to compare."""
    kept, image = view.kept, attempt.image[view.inner]
    live = [number for number, channel in enumerate(bench.plan.channels) if not channel.is_flat]
    channels, noise = [bench.plan.channels[number] for number in live], noise_of([kept], bench.plan)
    columns = error_columns(bench, view.tile, view.frame, attempt)
    findings = judge_tile(
        kept.seen[live], image[live], kept.trusted[live], [noise[number] for number in live],
        risk=risk_of(columns) if attempt.risk is None else attempt.risk,
        confidence=bench.plan.confidence,
        lags=[channel.lags for channel in channels],
    )  # fmt: skip
    findings["finite"] = float(np.isfinite(image).all())
    return findings | columns | faithful(
        kept.seen[live], image[live], kept.trusted[live], [noise[number] for number in live],
        zeros=[channel.zero for channel in channels],
        is_movie=bench.plan.depth == "t",
        chance=chance_of(kept.raw.size, math.prod(bench.plan.source.shape)),
        core=within(view.tile.core, view.tile.keep, bench.plan.depth),
    )  # fmt: skip
