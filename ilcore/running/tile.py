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
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from ilcore.grammar.devices import is_out_of_memory, make_repeatable
from ilcore.grammar.region import voxels
from ilcore.planning.depth import unstacked, within
from ilcore.planning.plan import RestorationPlan
from ilcore.qa.blind import judge_tile
from ilcore.qa.chances import chance_of
from ilcore.qa.explained import explained, seen_again
from ilcore.qa.faithful import faithful
from ilcore.qa.verdict import tile_fails
from ilcore.running.attempts import Attempt, WorkerContext, fallbacks, first_attempts, raw_image
from ilcore.running.layers import layers_of_tile, shares_in_core
from ilcore.running.loaded_tile import LoadedTile
from ilcore.running.own_error import error_columns, risk_of
from ilcore.running.patches import Patch, as_it_was, noise_of, problem_of, repeated, stored_units, to_numpy
from ilcore.running.run import Run
from ilcore.running.scratch import DryScratch
from ilcore.running.tile_record import TileRecord
from ilcore.stores.concurrent import map_concurrently
from ilcore.tiling.assemble import clipped_count
from ilcore.tiling.grid import Unit

#: What a tile is judged by and nobody keeps.
_JUDGED_BY = {"confidence", "finite", "untouched"}
#: Measures of a tile by name.
Findings: TypeAlias = dict[str, Any]


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


def restore_unit(run: Run, index: Sequence[int], device: str = "cpu") -> UnitReport:
    """Restore all tiles of a unit, write them to scratch and commit them to the ledger.

    Args:
        run: The run; its ledger is there.
        index: Place of the unit in the grid of units.
        device: cpu or cuda.

    Raises:
        ILError: When source, weights or scratch fail; a method that fails on a tile is a verdict, not an error.
    """
    began = time.perf_counter()
    bench = WorkerContext.of(run, device)
    unit = bench.run.ledger.grid.unit_of(index)
    rows, moving = _rows(bench, unit)
    written = time.perf_counter()
    run.workspace.check_plan(run.plan)
    bench.run.ledger.commit(unit, rows)
    moving += time.perf_counter() - written
    return UnitReport(
        index=unit.index,
        tiles=len(rows),
        fell_back=sum(row.status == "fell back" for row in rows),
        failed=sum(row.status == "failed" for row in rows),
        voxels=sum(voxels(tile.core) for tile in unit.tiles),
        seconds=time.perf_counter() - began,
        moving=moving,
    )


def replay_unit(run: Run, index: Sequence[int], device: str = "cpu") -> list[int]:
    """Restore all tiles of a unit once more, keep nothing, and return the digest of each."""
    bench = WorkerContext.of(run, device)
    dry = replace(bench, scratch=DryScratch(**bench.scratch.__getstate__()))
    rows, _ = _rows(dry, bench.run.ledger.grid.unit_of(index))
    return [row.digest for row in rows]


def _rows(bench: WorkerContext, unit: Unit) -> tuple[list[TileRecord], float]:
    """Restore the tiles of a unit and write them to scratch; return records, and the seconds of both."""
    began = time.perf_counter()
    make_repeatable(threads=1)
    views = list(map_concurrently(partial(LoadedTile.of, bench.run), unit.tiles, bench.run.source.uri))
    moving = time.perf_counter() - began
    # What is copied is left as it is.
    busy = [view for view in views if not view.kept.is_empty and bench.run.plan.task != "copy"]
    attempts = first_attempts(bench, [view.tile for view in busy], [view.frame for view in busy])
    firsts = {view.tile.index: attempt for view, attempt in zip(busy, attempts, strict=True)}
    share = time.perf_counter() - began
    rows, contents = zip(*(_timed(bench, view, firsts.get(view.tile.index)) for view in views), strict=True)
    began = time.perf_counter()
    digests = list(map_concurrently(partial(_write, bench), zip(views, contents, strict=True), bench.scratch.path))
    writing = time.perf_counter() - began
    more = (share + writing) / len(views)
    done = zip(rows, digests, strict=True)
    return [_with_seconds(replace(row, digest=digest), more) for row, digest in done], moving + writing


def _timed(bench: WorkerContext, view: LoadedTile, first: Attempt | None) -> tuple[TileRecord, NDArray[np.float64]]:
    began = time.perf_counter()
    row, values = _finished(bench, view, first)
    return _with_seconds(row, time.perf_counter() - began), values


def _with_seconds(row: TileRecord, more: float) -> TileRecord:
    return replace(row, measures={**row.measures, "seconds": (row.measures.get("seconds") or 0.0) + more})


def _finished(bench: WorkerContext, view: LoadedTile, first: Attempt | None) -> tuple[TileRecord, NDArray[np.float64]]:
    """Judge a tile, fall back while it fails, and return its record and what is to be written."""
    kept, plan = view.kept, bench.run.plan
    trusted = {"trusted_share": float(kept.trusted.mean())}
    if first is None:
        values = repeated(as_it_was(kept, plan), plan.factors)
        layers = layers_of_tile(plan, view, None, values)
        record = TileRecord(
            status="empty", used="raw", reason="empty", measures=trusted | shares_in_core(plan, view, layers)
        )
        return record, np.concatenate([values, *layers])
    attempt, findings, status = _accepted(bench, view, first)
    stays = attempt.used == "raw" and not plan.is_finer
    values = as_it_was(kept, plan) if stays else stored_units(attempt.image[view.shown], kept, plan)
    layers = layers_of_tile(plan, view, None if stays else attempt, values)
    measures = {
        **{name: value for name, value in findings.items() if name not in _JUDGED_BY},
        **trusted,
        "risk_before": first.risk_before,
        "clipped": _clipped(values, kept, plan),
        "spread": _mean_spread(view, attempt),
        **shares_in_core(plan, view, layers),
    }
    # Where something else had to be used, it is the first attempt's end that explains why.
    record = TileRecord(
        status=status, used=attempt.used, reason=first.reason, steps=first.steps, curve=first.curve, measures=measures
    )
    return record, np.concatenate([values, *layers])


def _write(bench: WorkerContext, done: tuple[LoadedTile, NDArray[np.float64]]) -> int:
    """Write a tile to scratch and return its digest."""
    view, values = done
    return bench.scratch.write(view.made, unstacked(values, bench.run.plan.depth))


def _accepted(bench: WorkerContext, view: LoadedTile, first: Attempt) -> tuple[Attempt, Findings, str]:
    """Return the first attempt that passes, what was found of it, and the status; the raw tile if none does."""
    findings, limits = _judged(bench, view, first), bench.run.plan.aim.limits()
    if not first.is_spoilt and not tile_fails(findings, limits):
        return first, findings, "restored"
    for way in fallbacks(bench, view.tile, view.frame, first):
        try:
            attempt = way()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            continue
        instead = _judged(bench, view, attempt)
        if not tile_fails(instead, limits):
            return attempt, instead, "fell back"
    return Attempt("raw", raw_image(bench, view.frame), first.reason, first.steps), findings, "failed"


def _mean_spread(view: LoadedTile, attempt: Attempt) -> float | None:
    """Return the mean spread of what was averaged, normalised, where the tile is data."""
    if attempt.spread is None:
        return None
    spread = attempt.spread[view.inner][view.kept.trusted]
    return float(spread.mean()) if spread.size else None


def _clipped(values: NDArray[np.float64], kept: Patch, plan: RestorationPlan) -> float:
    """Return the share of values that the type of the source cannot hold."""
    data, raw = np.isfinite(values), repeated(kept.raw, plan.factors)
    return clipped_count(values[data], raw[data], plan.source.dtype) / max(int(data.sum()), 1)


def _on_the_source(
    bench: WorkerContext, view: LoadedTile, attempt: Attempt
) -> tuple[NDArray[np.float32], dict[str, float]]:
    """Return what an attempt says of the kept part of the scan, and the columns that only its kind has."""
    if not bench.run.plan.is_finer:
        return attempt.image[view.inner], error_columns(bench, view.tile, view.frame, attempt)
    problem = problem_of([view.frame], bench.run.plan, "cpu")
    image = torch.from_numpy(attempt.image)[None]
    image = image if bench.run.plan.space == 3 else image[:, :, 0]
    again = to_numpy(seen_again(problem, image))[0]
    told = {name: float(found[0]) for name, found in explained(problem, image).items()}
    return again[view.inner], {name: number for name, number in told.items() if math.isfinite(number)}


def _judged(bench: WorkerContext, view: LoadedTile, attempt: Attempt) -> Findings:
    """Return the findings on one attempt, from the channels that hold something: a dark one has no noise to compare."""
    kept, (image, columns) = view.kept, _on_the_source(bench, view, attempt)
    live = [number for number, channel in enumerate(bench.run.plan.channels) if not channel.is_flat]
    channels, noise = [bench.run.plan.channels[number] for number in live], noise_of([kept], bench.run.plan)
    findings = judge_tile(
        kept.seen[live], image[live], kept.trusted[live], [noise[number] for number in live],
        risk=risk_of(columns) if attempt.risk is None else attempt.risk,
        confidence=bench.run.plan.confidence,
        lags=[channel.lags for channel in channels],
    )  # fmt: skip
    findings["finite"] = float(np.isfinite(attempt.image).all())
    return findings | columns | faithful(
        kept.seen[live], image[live], kept.trusted[live], [noise[number] for number in live],
        zeros=[channel.zero for channel in channels],
        is_movie=bench.run.plan.depth == "t",
        chance=chance_of(kept.raw.size, math.prod(bench.run.plan.source.shape)),
        core=within(view.tile.core, view.tile.keep, bench.run.plan.depth),
    )  # fmt: skip
