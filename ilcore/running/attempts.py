"""The ways to restore a tile, best first: the method itself, then what is left when its result does not pass.

tile ─> volume ─> pretrained ─> classical ─> raw
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from cachetools import LRUCache
from numpy.typing import NDArray

from ilcore import fit
from ilcore.fit import Strategy
from ilcore.grammar.arrays import Streams, Weights
from ilcore.grammar.devices import computing_on, is_out_of_memory
from ilcore.grammar.errors import MissingKnowledge
from ilcore.grammar.step_context import Restoration
from ilcore.methods.classical import NonLocalMeans, nearest_data
from ilcore.methods.entry import Entry
from ilcore.planning.plan import RestorationPlan
from ilcore.running.patches import Patch, noise_of, problem_of, to_numpy
from ilcore.running.run import Run
from ilcore.running.scratch import Scratch
from ilcore.running.volume_model import LearntModel, learnt_before, learnt_weights, start_of
from ilcore.tiling.grid import Tile

_logger = logging.getLogger(__name__)
#: How many tiles of a shape a device of this process holds together, learnt from where its memory ran out.
_HOLDS: dict[tuple[str, Entry, tuple[int, ...]], int] = {}


@dataclass(frozen=True)
class Attempt:
    """One way to restore a tile: normalised image [channel, z, y, x] and how it came about.

    `spread` is the standard deviation of the images that were averaged, like image, where the method averages any.
    """

    used: str
    image: NDArray[np.float32]
    reason: str
    steps: int = 0
    risk: float | None = None
    risk_before: float | None = None
    curve: tuple[tuple[int, float], ...] = ()
    spread: NDArray[np.float32] | None = None

    @property
    def is_spoilt(self) -> bool:
        """Tell whether the method itself says that there is nothing to judge."""
        return self.reason in ("diverged", "memory", "error")


@dataclass(frozen=True)
class WorkerContext:
    """What a worker keeps open between units."""

    run: Run
    scratch: Scratch
    entry: Entry
    start: Weights | None
    learnt: Weights | None
    has_diverged: bool
    device: str

    @classmethod
    def of(cls, run: Run, device: str) -> "WorkerContext":
        """Return the bench of a plan; weights are read once in a process.

        Raises:
            MissingKnowledge: When the plan wants a model of the volume and none was learnt.
        """
        model = learnt_before(run.workspace)
        known = (run.document, run.workspace.target, device, model)
        if known not in _OPENED:
            _OPENED[known] = _opened(run, device, model)
        return _OPENED[known]


#: Weights are large, and a process works on one run at a time.
_OPENED: LRUCache[Any, WorkerContext] = LRUCache(2)


def _opened(run: Run, device: str, model: LearntModel | None) -> WorkerContext:
    entry, start = start_of(run)
    if model is None and run.plan.scope == "volume" and not (start and entry.method.budget == 0):
        raise MissingKnowledge(f"a model of the volume was wanted in {run.workspace.weights}, got none; learn it first")
    return WorkerContext(
        run=run,
        scratch=run.scratch,
        entry=entry,
        start=start,
        learnt=learnt_weights(run.workspace, model) if model and model.path else None,
        has_diverged=model is not None and model.has_diverged,
        device=device,
    )


def first_attempts(bench: WorkerContext, tiles: Sequence[Tile], frames: Sequence[Patch]) -> list[Attempt]:
    """Return the method's own attempt on every tile of a unit; tiles of one size are restored together."""
    if bench.has_diverged:
        return [Attempt("volume", raw_image(bench, frame), "diverged") for frame in frames]
    attempts: dict[int, Attempt] = {}
    groups: dict[tuple[Any, ...], list[int]] = {}
    for number, frame in enumerate(frames):
        # Planes of another brightness have other noise.
        groups.setdefault((frame.raw.shape, frame.brightness.tobytes()), []).append(number)
    for members in groups.values():
        together = _together(bench, [tiles[n] for n in members], [frames[n] for n in members])
        attempts.update(zip(members, together, strict=True))
    return [attempts[number] for number in range(len(frames))]


def fallbacks(bench: WorkerContext, tile: Tile, frame: Patch, first: Attempt) -> Iterator[Callable[[], Attempt]]:
    """Yield the ways that are left after the method's own attempt, best first."""
    if bench.entry.can_apply:
        for used, weights in (("volume", bench.learnt), ("pretrained", bench.start)):
            if weights is not None and first.used not in (used, "pretrained"):
                yield lambda used=used, weights=weights: _applied(bench, [tile], [frame], used, weights)[0]  # type: ignore[misc]
    yield lambda: Attempt("classical", _classical(bench, frame), "applied")


def _together(bench: WorkerContext, tiles: Sequence[Tile], frames: Sequence[Patch]) -> list[Attempt]:
    """Restore tiles of one size, in halves where the device cannot hold them all."""
    kind = (bench.device, bench.entry, frames[0].raw.shape)
    most = _HOLDS.get(kind, len(tiles))
    if most < len(tiles):
        parts = [slice(start, start + most) for start in range(0, len(tiles), most)]
        return [each for part in parts for each in _together(bench, tiles[part], frames[part])]
    try:
        with computing_on(bench.device, bench.run.plan.method):
            return _by_method(bench, tiles, frames)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    torch.cuda.empty_cache()
    if len(tiles) == 1:
        return [Attempt("tile", raw_image(bench, frames[0]), "memory")]
    _HOLDS[kind] = (len(tiles) + 1) // 2
    _logger.warning("%s cannot hold %d tiles together; %d from now on", bench.device, len(tiles), _HOLDS[kind])
    return _together(bench, tiles, frames)


def _by_method(bench: WorkerContext, tiles: Sequence[Tile], frames: Sequence[Patch]) -> list[Attempt]:
    plan = bench.run.plan
    if plan.scope == "volume" and plan.tile_steps == 0:
        used, weights = ("volume", bench.learnt) if bench.learnt else ("pretrained", bench.start)
        if weights is None:
            return [Attempt(used, raw_image(bench, frame), "error") for frame in frames]
        return _applied(bench, tiles, frames, used, weights)
    problem = problem_of(frames, plan, bench.device)
    if not plan.aim.tells_noise:
        problem = replace(problem, noise=None)
    streams = Streams.of(plan.seed, plan.method, [tile.index for tile in tiles])
    entry = bench.entry.with_steps(plan.tile_steps) if plan.scope == "volume" else bench.entry
    strategy: Strategy = "grouped" if bench.device.startswith("cuda") else "sequential"
    done = fit.restore(entry.method, problem, streams, start=bench.learnt or bench.start, strategy=strategy)
    return [_as_attempt(done, row, image) for row, image in enumerate(to_numpy(done.image))]


def _applied(
    bench: WorkerContext, tiles: Sequence[Tile], frames: Sequence[Patch], used: str, weights: Weights
) -> list[Attempt]:
    """Apply weights to tiles of one size: on a GPU to all at once, on a CPU one by one, which is as fast there."""
    together = len(tiles) if bench.device.startswith("cuda") else 1
    images: list[NDArray[np.float32]] = []
    for start in range(0, len(tiles), together):
        part = slice(start, start + together)
        streams = Streams.of(bench.run.plan.seed, bench.run.plan.method, [tile.index for tile in tiles[part]])
        with computing_on(bench.device, bench.run.plan.method):
            problem = problem_of(frames[part], bench.run.plan, bench.device)
            images += list(to_numpy(fit.predict(bench.entry.method, problem, weights, streams)))
    return [Attempt(used, image, "applied") for image in images]


def _as_attempt(done: Restoration, row: int, image: NDArray[np.float32]) -> Attempt:
    return Attempt(
        used="tile",
        image=image,
        reason=done.stopped[row].kind,
        steps=done.steps[row],
        risk=done.risk[row] if done.risk else None,
        risk_before=done.risk_before[row] if done.risk_before else None,
        curve=done.curves[row] if done.curves else (),
        spread=None if done.spread is None else to_numpy(done.spread[[row]])[0],
    )


def raw_image(bench: WorkerContext, frame: Patch) -> NDArray[np.float32]:
    """Return what stands where nothing passes: the scan itself, on the grid of the result."""
    if not bench.run.plan.is_finer:
        return frame.seen
    return to_numpy(bench.run.plan.aim.raw(problem_of([frame], bench.run.plan, "cpu")))[0]


def _classical(bench: WorkerContext, frame: Patch) -> NDArray[np.float32]:
    if not bench.run.plan.is_finer:
        return non_local_means(frame, bench.run.plan)
    return to_numpy(bench.run.plan.aim.classical(problem_of([frame], bench.run.plan, "cpu")))[0]


def non_local_means(frame: Patch, plan: RestorationPlan) -> NDArray[np.float32]:
    """Return every plane through non-local means at the noise level of its channel, holes filled from beside them."""
    out = np.empty_like(frame.seen)
    for number, noise in enumerate(noise_of([frame], plan)):
        std = max(noise.std_at(float(np.median(frame.seen[number]))), 1e-4)
        out[number] = NonLocalMeans().channel(nearest_data(frame.seen[number], frame.trusted[number]), std)
    return out
