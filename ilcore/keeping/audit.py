"""Can this result be explained? Everything that made it is looked up again, and some tiles are restored again.

source      its digest is the plan's
weights     those kept beside the result are the ones of plan and record
software    versions and commit are those of the record
books       every tile and every write unit is accounted for
voxels      every write unit, level and metadata file is what was written
replay      tiles drawn at random, restored once more, are the same to the last bit
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np

from ilcore.grammar.errors import ILError
from ilcore.keeping.verify import Spread, verify
from ilcore.planning.plan import RestorationPlan
from ilcore.running.ledger import Ledger
from ilcore.running.record import devices_told, read_record, versions
from ilcore.running.tile import replay_unit
from ilcore.running.volume_model import learnt_before, learnt_weights, open_source, start_of
from ilcore.running.workspace import Workspace

#: sound: as it was; differs: something is not; unknown: nobody can tell.
Finding = Literal["sound", "differs", "unknown"]
Restore = Callable[[Sequence[int]], list[int]]


@dataclass(frozen=True)
class Point:
    """One point of an audit."""

    name: str
    finding: Finding
    told: str


def audit(
    plan: RestorationPlan,
    workspace: Workspace,
    *,
    tiles: int,
    seed: int,
    spread: Spread = map,
    again: Restore | None = None,
) -> tuple[Point, ...]:
    """Return every point of the audit of a published result; nothing is changed.

    Args:
        plan: The plan of the run.
        workspace: Its folder; the caller holds the lock.
        tiles: Units of work to be restored again, at least; 0 for none.
        seed: Of the draw.
        spread: How work is spread.
        again: Restores a unit and returns the digests of its tiles; here and on the CPU by default.
    """
    replay = again or partial(replay_unit, plan, workspace)
    source = _asked("source", _source, plan)
    points = [
        source,
        _asked("weights", _weights, plan, workspace),
        _asked("software", _software, workspace),
        _asked("books", _books, plan, workspace),
        _asked("voxels", _voxels, plan, workspace, spread),
    ]
    if tiles > 0 and source.finding == "sound":
        points.append(_asked("replay", _replay, plan, workspace, _drawn(plan, tiles, seed), spread, replay))
    elif tiles > 0:
        points.append(Point("replay", "unknown", "without the source nothing can be restored again"))
    return tuple(points)


def _asked(name: str, question: Callable[..., tuple[Finding, str]], *given: Any) -> Point:
    """Return a point; an error of ours is an answer too."""
    try:
        return Point(name, *question(*given))
    except ILError as error:
        return Point(name, "differs", str(error))


def _source(plan: RestorationPlan) -> tuple[Finding, str]:
    found = open_source(plan).digest()
    if found != plan.source.digest:
        return "differs", f"{plan.source.uri} has digest {found}, the plan says {plan.source.digest}"
    sampled = ", of which a sample was read" if found.startswith("sampled") else ""
    return "sound", f"{plan.source.uri}{sampled}: {found}"


def _weights(plan: RestorationPlan, workspace: Workspace) -> tuple[Finding, str]:
    told = []
    if plan.weights is not None:
        start_of(plan, workspace)
        told.append(f"start {plan.weights.sha256[:16]}")
    model = learnt_before(workspace)
    if model is not None and model.path is not None:
        learnt_weights(workspace, model)
        told.append(f"learnt on the volume {str(model.sha256)[:16]}")
    return "sound", ", ".join(told) or "none are kept: every tile began from nothing"


def _software(workspace: Workspace) -> tuple[Finding, str]:
    then, now = read_record(workspace)["versions"], versions()
    others = [
        f"{name} {then.get(name)} then, {now.get(name)} now"
        for name in sorted({*then, *now})
        if then.get(name) != now.get(name)
    ]
    if others:
        return "differs", "; ".join(others)
    return "sound", f"commit {now.get('commit', 'unknown')}, torch {now['torch']}"


def _books(plan: RestorationPlan, workspace: Workspace) -> tuple[Finding, str]:
    ledger = Ledger(workspace.ledger, plan.tile_grid)
    left, blocks = int((ledger.read("status") == 0).sum()), len(ledger.open_blocks())
    if left or blocks:
        return "differs", f"{left} tiles and {blocks} write units are not accounted for"
    return "sound", f"{len(plan.tile_grid)} tiles and {len(ledger.read('assembled'))} write units are accounted for"


def _voxels(plan: RestorationPlan, workspace: Workspace, spread: Spread) -> tuple[Finding, str]:
    damages = verify(plan, workspace, spread)
    if damages:
        return (
            "differs",
            f"{len(damages)} pieces are damaged, the first: {damages[0].place} {damages[0].why}; il verify lists them",
        )
    return "sound", "every write unit, level and metadata file is what was written"


def _drawn(plan: RestorationPlan, tiles: int, seed: int) -> list[tuple[int, ...]]:
    """Draw units of work until they hold that many tiles."""
    grid = plan.tile_grid
    order = np.random.default_rng(seed).permutation(int(np.prod(grid.unit_shape)))
    drawn, held = [], 0
    for number in order:
        if held >= tiles:
            break
        index = tuple(int(at) for at in np.unravel_index(number, grid.unit_shape))
        drawn.append(index)
        held += len(grid.unit_of(index).tiles)
    return drawn


def _replay(
    plan: RestorationPlan, workspace: Workspace, units: Iterable[Sequence[int]], spread: Spread, replay: Restore
) -> tuple[Finding, str]:
    ledger, grid, others, count = Ledger(workspace.ledger, plan.tile_grid), plan.tile_grid, [], 0
    for index, digests in spread(partial(_with_index, replay), list(units)):
        for tile, digest in zip(grid.unit_of(index).tiles, digests, strict=True):
            count += 1
            if digest != ledger.digest_of(tile):
                others.append(tile.index)
    if others:
        told = f"of {count} tiles restored again {len(others)} are others: {', '.join(map(str, others[:8]))}"
        return "differs", told + _why_others(plan, workspace)
    return "sound", f"{count} tiles restored again are the same to the last bit"


def _why_others(plan: RestorationPlan, workspace: Workspace) -> str:
    now = plan.entry.version
    if plan.method_version == now:
        return f"; {told}" if (told := devices_told(workspace)) else ""
    return (
        f"; no wonder: version {plan.method_version} of {plan.method} made the result, here is version {now}; it "
        "stands as it is, plan again for one by the new version"
    )


def _with_index(replay: Restore, index: Sequence[int]) -> tuple[Sequence[int], list[int]]:
    return index, replay(index)


def is_sound(points: Iterable[Point]) -> bool:
    """Tell whether nothing differs; other software is told, and judged by the replay."""
    return all(point.finding == "sound" or point.name == "software" for point in points)
