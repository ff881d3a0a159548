"""The bound on the error of a run, from its ledger and its plan."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ilcore.planning.plan import ChannelPlan, RestorationPlan
from ilcore.qa.bounds import COLUMNS, Bound, Circumstances, bound_of, tile_bounds
from ilcore.running.run import Run
from ilcore.running.tile_record import USED
from ilcore.running.volume_model import learnt_before

#: Share of a scan on which a model may have learnt: its slope does not know that the weights lean on that noise.
_LEARNT_ON = 0.1


def bound_of_run(run: Run) -> Bound:
    """Return the bound on the error of a run whose tiles are all done, or why there is none."""
    table = _columns(run)
    return bound_of(table, _circumstances(run, table["used"]), raw=_raw(table))


def error_map(run: Run) -> NDArray[np.float64]:
    """Return the root mean square error of each tile at most, with 95 % each, in grey levels of the source.

    Where channels have different ranges it is in parts of them. NaN where there is no bound.

    Shape:
        -> [t, z, y, x], the shape of the grid.
    """
    table = _columns(run)
    about = _circumstances(run, table["used"])
    bound = bound_of(table, about, raw=_raw(table))
    return tile_bounds(table, bound, about, raw=_raw(table))


def _columns(run: Run) -> dict[str, NDArray[Any]]:
    table = run.ledger.table()
    return {name: table[name] for name in (*COLUMNS, "used")}


def _raw(table: dict[str, NDArray[Any]]) -> NDArray[np.bool_]:
    return np.asarray(table["used"] == USED.index("raw"))


def _circumstances(run: Run, used: NDArray[Any]) -> Circumstances:
    live = [channel for channel in run.plan.channels if not channel.is_flat]
    spans = [channel.high - channel.low for channel in live]
    alike = len(spans) > 0 and max(spans) <= 1.001 * min(spans)
    return Circumstances(
        # Preflight is never quite sure of a level; who tells one is believed.
        is_told=bool(live) and all(channel.confidence == 1 for channel in live),
        is_white=all(channel.verdict == "white" for channel in live),
        confidence=run.plan.confidence,
        counts=max((channel.gain / span for channel, span in zip(live, spans, strict=True)), default=0.0),
        rounding=_rounding(run.plan, live),
        grey_levels=spans[0] if alike else 1.0,
        objection=_objection(run, used),
    )


def _rounding(plan: RestorationPlan, live: list[ChannelPlan]) -> float:
    if np.dtype(plan.source.dtype).kind == "f" or not live:
        return 0.0
    return float(np.mean([1 / (12 * (channel.high - channel.low) ** 2) for channel in live]))


def _objection(run: Run, used: NDArray[Any]) -> str:
    """Return why a run has no bound, by its plan; empty where it may have one."""
    share = _learnt_share(run, used)
    objections = {
        "nothing was restored": run.plan.task == "copy",
        "the result is finer than what was observed": run.plan.is_finer,
        "holes were filled, and nothing is known of what was in them": run.plan.task == "inpaint",
        "stripes were subtracted, and no probe tells by how much they were missed": run.plan.stripes is not None,
        "planes of different brightness have different noise": run.plan.planes is not None,
        f"the model was learnt on {100 * share:.0f} % of this scan, its noise included": share > _LEARNT_ON,
    }
    return next((objection for objection, holds in objections.items() if holds), "")


def _learnt_share(run: Run, used: NDArray[Any]) -> float:
    """Return on which share of the scan the weights were learnt that restored it."""
    model = learnt_before(run.workspace)
    if model is None or not (used == USED.index("volume")).any():
        return 0.0
    # The untouched start, kept where nothing was better, has learnt nothing here.
    if model.risk is not None and model.risk == model.risk_before:
        return 0.0
    t, _, z, y, x = run.plan.source.shape
    return min(1.0, run.plan.samples.count * math.prod(run.plan.samples.extent) / (t * z * y * x))
