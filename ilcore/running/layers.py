"""What is said of the voxels of a tile beside its image, and what all tiles say together."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from ilcore.grammar.layers import FILLED, KEPT, MEASURED, PROVENANCE
from ilcore.grammar.region import size
from ilcore.planning.depth import within
from ilcore.planning.plan import RestorationPlan
from ilcore.running.attempts import Attempt
from ilcore.running.loaded_tile import LoadedTile
from ilcore.running.patches import problem_of, repeated
from ilcore.running.run import Run
from ilcore.running.tile_record import SHARES
from ilcore.tiling.grid import TileGrid


def layers_of_tile(
    plan: RestorationPlan, view: LoadedTile, attempt: Attempt | None, values: NDArray[np.float64]
) -> list[NDArray[np.float64]]:
    """Return the layers of a plan for the kept part of a tile.

    Args:
        plan: The plan.
        view: The tile.
        attempt: What its values come from; None where they are those of the source.
        values: What it is to hold, in units of the source; NaN where the source is kept.

    Shape:
        values [channel, depth, y, x] -> each the same.
    """
    made = {"spread": _spread, "provenance": _provenance}
    return [made[name](plan, view, attempt, values) for name in plan.layers]


def _spread(
    plan: RestorationPlan, view: LoadedTile, attempt: Attempt | None, values: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return how far the averaged images lay apart, in units of the source; NaN where none were averaged."""
    if attempt is None or attempt.spread is None:
        return np.full(values.shape, np.nan)
    spans = np.array([channel.high - channel.low for channel in plan.channels])[:, None, None, None]
    found = attempt.spread[view.shown] * repeated(spans * view.kept.brightness, (plan.factors[0], 1, 1))
    return np.where(np.isnan(values) | _is_flat(view), np.nan, found)


def _provenance(
    plan: RestorationPlan, view: LoadedTile, attempt: Attempt | None, values: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return where the values of a tile come from, as its aim has it."""
    # What holds one value everywhere is left so, and the source itself was measured.
    found = repeated(np.where(view.kept.trusted, MEASURED, FILLED), plan.factors)
    if attempt is not None:
        image = torch.from_numpy(attempt.image)[None]
        problem = problem_of([view.frame], plan, "cpu")
        told = plan.aim.provenance(problem, image if plan.space == 3 else image[:, :, 0])[0]
        found = np.where(_is_flat(view), found, told.reshape(attempt.image.shape)[view.shown])
    return np.where(np.isnan(values), KEPT, found).astype(np.float64)


def _is_flat(view: LoadedTile) -> NDArray[np.bool_]:
    return np.array([view.kept.is_flat(number) for number in range(len(view.kept.raw))])[:, None, None, None]


def shares_in_core(
    plan: RestorationPlan, view: LoadedTile, layers: Sequence[NDArray[np.float64]]
) -> dict[str, float]:  # fmt: skip
    """Return the share of each label of provenance in what a tile owns, as measures of the tile."""
    if "provenance" not in plan.layers:
        return {}
    own = layers[plan.layers.index("provenance")][within(view.made.core, view.made.keep, plan.depth)]
    counts = np.bincount(own.astype(np.uint8).ravel(), minlength=len(PROVENANCE))
    return {SHARES[word]: float(n) / own.size for word, n in zip(PROVENANCE, counts, strict=True)}


def provenance_shares(run: Run) -> Mapping[str, float]:
    """Return the share of each label of provenance in a result, as its tiles have it; nothing where it has none."""
    if "provenance" not in run.plan.layers:
        return {}
    table, voxels = run.ledger.table(), _voxels_owned(run.result_grid)
    shares = {word: np.nan_to_num(table[SHARES[word]].astype(np.float64)) for word in PROVENANCE}
    return {word: float((share * voxels).sum() / voxels.sum()) for word, share in shares.items()}


def _voxels_owned(grid: TileGrid) -> NDArray[np.float64]:
    """Return how many voxels each tile owns, [t, z, y, x]: the product of its lengths along the axes."""
    lengths = []
    for axis, count in enumerate(grid.grid_shape):
        places = [[at if other == axis else 0 for other in range(4)] for at in range(count)]
        lengths.append(np.array([size(grid.tile(place).core)[(0, 2, 3, 4)[axis]] for place in places], np.float64))
    t, z, y, x = np.ix_(*lengths)
    return np.asarray(t * z * y * x)
