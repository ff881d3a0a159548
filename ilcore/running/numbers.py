"""The numbers and curves that sum a run up, for its record, its report and whoever keeps track of runs."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ilcore.running.bounding import bound_of_run
from ilcore.running.layers import provenance_shares
from ilcore.running.ledger import Ledger
from ilcore.running.run import Run
from ilcore.running.stopwatch import Stopwatch, moving_share
from ilcore.running.tally import Tally
from ilcore.running.tile_record import STATUS
from ilcore.running.volume_model import LearntModel

#: Loss curves shown of a run, and tiles up to which looking at each is cheap.
CURVES, FEW_TILES = 6, 20_000

Curve = Sequence[tuple[int, float]]


def numbers_of(run: Run, tally: Tally, watch: Stopwatch) -> dict[str, float | None]:
    """Return the numbers that sum a run up.

    Args:
        tally: What this run did; with an earlier run's tiles excluded, so that the speed is right.
        watch: What this run's stages took.
    """
    table = run.ledger.table()
    counts = dict(zip(STATUS, np.bincount(table["status"].ravel(), minlength=len(STATUS)).tolist(), strict=True))
    megavoxels, bound = tally.voxels / 1e6, bound_of_run(run)
    return {
        "tiles": table["status"].size,
        "tiles_failed": counts["failed"],
        "tiles_fell_back": counts["fell back"],
        "tiles_empty": counts["empty"],
        "gain_db_estimated": _gain_db(table["risk"], table["noise_std"]),
        **{f"share_{word}": share for word, share in provenance_shares(run).items() if share},
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


def curves_of(run: Run, learnt: LearntModel) -> dict[str, Curve]:
    """Return the loss curve of the model of the volume and those of a few tiles, where there are any."""
    whole: dict[str, Curve] = {"loss_volume": learnt.curve} if learnt.curve else {}
    return {**whole, **_tile_curves(run.ledger)}


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
