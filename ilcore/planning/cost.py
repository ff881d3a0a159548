"""What a plan will cost, roughly, before anything is done."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from ilcore import fit
from ilcore.grammar.arrays import Streams
from ilcore.grammar.devices import device_of, make_repeatable
from ilcore.grammar.problem import Problem
from ilcore.grammar.recipe import Method, Recipe, Sequential, Transformed
from ilcore.grammar.region import voxels
from ilcore.planning.cutting import tile_bytes, voxels_read
from ilcore.planning.plan import RestorationPlan
from ilcore.tiling.grid import Tile

#: Side of the patch on which one step is timed.
_PATCH = 64
#: A step of learning against one prediction: forwards, backwards, update.
_LEARNING = 3


@dataclass(frozen=True, kw_only=True)
class Work:
    """The cost of a plan.

    Args:
        tiles: Tiles in all.
        units: Units of work, each done by one worker.
        voxels: Voxels of the result, all channels.
        read_per_written: Voxels read for one voxel written; what halo and overlap cost.
        tile_bytes: Memory that the largest tile takes on a worker, the network's own included; about.
        together: Tiles of the largest unit; a GPU restores those of one size at once.
        seconds: Of one worker on this machine, if one step was timed.
    """

    tiles: int
    units: int
    voxels: int
    read_per_written: float
    tile_bytes: int
    together: int
    seconds: float | None = None


def work_of(plan: RestorationPlan, *, timed: bool = False, device: str = "cpu") -> Work:
    """Return what a plan will cost.

    Args:
        plan: The plan.
        timed: Time one prediction on small patches, for an estimate in seconds; takes about a second.
        device: cpu, cuda or auto: where it is timed, on a GPU with as many patches as a unit has tiles.

    Raises:
        BadInput: There is no such device here.
    """
    grid = plan.tile_grid
    total = math.prod(plan.source.shape)
    read = voxels_read(grid)
    largest = max(voxels(tile.read) for tile in _corners(plan))
    # Of one channel, on the grid of the result.
    held = largest // plan.source.shape[1] * math.prod(plan.factors)
    together = math.prod(min(unit, count) for unit, count in zip(grid.unit, grid.grid_shape[1:], strict=True))
    return Work(
        tiles=len(grid),
        units=math.prod(grid.unit_shape),
        voxels=total,
        read_per_written=read / total,
        tile_bytes=tile_bytes(plan.entry, plan.scope, held, plan.source.shape[1]),
        together=together,
        seconds=_passes(plan, read) * _seconds_per_voxel(plan, device_of(device), together) if timed else None,
    )


def _corners(plan: RestorationPlan) -> list[Tile]:
    """Return the first tile and one in the middle, one of which reads most."""
    grid = plan.tile_grid
    return [grid.tile((0, 0, 0, 0)), grid.tile([length // 2 for length in grid.grid_shape])]


def _passes(plan: RestorationPlan, read: int) -> float:
    """Return how many voxels go through the network, a step of learning counted as it costs."""
    steps = plan.entry.method.budget
    if plan.scope == "tile":
        return read * (1 + _LEARNING * steps)
    sampled = plan.samples.batch * math.prod(plan.samples.extent) * plan.source.shape[1]
    return sampled * _LEARNING * steps + read * (1 + _LEARNING * plan.tile_steps)


def _seconds_per_voxel(plan: RestorationPlan, device: torch.device, together: int) -> float:
    make_repeatable(threads=1)
    count = together if device.type == "cuda" else 1
    side = (plan.source.shape[1], *(min(length, _PATCH) for length in plan.source.shape[3:]))
    observed = torch.zeros(count, side[0], *((4,) if plan.space == 3 else ()), *side[1:], device=device)
    noise = tuple(channel.noise for channel in plan.channels)
    problem = Problem(observed=observed, noise=noise, operator=plan.operator, value_range=plan.value_range)
    once = _once(plan.entry.method, problem)
    taken = []
    for _ in range(3):
        began = time.perf_counter()
        with torch.no_grad():
            once()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        taken.append(time.perf_counter() - began)
    return min(taken) / observed.numel()


def _once(method: Method, problem: Problem) -> Callable[[], object]:
    """Return what restores a patch once: one pass through the network, or the whole method where there is none."""
    rows = range(len(problem.observed))
    streams = Streams.of(0, "timing", [(row,) for row in rows])
    match method:
        case Transformed(_, inner):
            return _once(inner, problem)
        case Sequential(methods):
            return _once(methods[-1], problem)
        case Recipe():
            model = method.network.build(problem, method.views.input_channels(problem), streams)
            model, views = model.to(problem.observed.device), method.views.start(problem, streams)
            return lambda: model(views.look(problem, rows), rows)
        case _:
            return lambda: fit.restore(method, problem, streams)
