"""The bound on the error of a run, from its ledger and its plan."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ilcore.planning.plan import ChannelPlan, RestorationPlan
from ilcore.qa.bounds import COLUMNS, Bound, Circumstances, bound_of, tile_bounds
from ilcore.running.ledger import USED, Ledger
from ilcore.running.volume_model import learnt_before
from ilcore.running.workspace import Workspace

#: Share of a scan on which a model may have learnt: its slope does not know that the weights lean on that noise.
_LEARNT_ON = 0.1


def bound_of_run(plan: RestorationPlan, workspace: Workspace) -> Bound:
    """Return the bound on the error of a run whose tiles are all done, or why there is none."""
    table = _columns(plan, workspace)
    return bound_of(table, _circumstances(plan, workspace, table["used"]), raw=_raw(table))


def error_map(plan: RestorationPlan, workspace: Workspace) -> NDArray[np.float64]:
    """Return the root mean square error of each tile at most, with 95 % each, in grey levels of the source.

    Where channels have different ranges it is in parts of them. NaN where there is no bound.

    Shape:
        -> [t, z, y, x], the shape of the grid.
    """
    table = _columns(plan, workspace)
    about = _circumstances(plan, workspace, table["used"])
    bound = bound_of(table, about, raw=_raw(table))
    return tile_bounds(table, bound, about, raw=_raw(table))


def _columns(plan: RestorationPlan, workspace: Workspace) -> dict[str, NDArray[Any]]:
    table = Ledger(workspace.ledger, plan.tile_grid).table()
    return {name: table[name] for name in (*COLUMNS, "used")}


def _raw(table: dict[str, NDArray[Any]]) -> NDArray[np.bool_]:
    return np.asarray(table["used"] == USED.index("raw"))


def _circumstances(plan: RestorationPlan, workspace: Workspace, used: NDArray[Any]) -> Circumstances:
    live = [channel for channel in plan.channels if not channel.is_flat]
    spans = [channel.high - channel.low for channel in live]
    alike = len(spans) > 0 and max(spans) <= 1.001 * min(spans)
    return Circumstances(
        # Preflight is never quite sure of a level; who tells one is believed.
        is_told=bool(live) and all(channel.confidence == 1 for channel in live),
        is_white=all(channel.verdict == "white" for channel in live),
        confidence=plan.confidence,
        counts=max((channel.gain / span for channel, span in zip(live, spans, strict=True)), default=0.0),
        rounding=_rounding(plan, live),
        grey_levels=spans[0] if alike else 1.0,
        objection=_objection(plan, workspace, used),
    )


def _rounding(plan: RestorationPlan, live: list[ChannelPlan]) -> float:
    if np.dtype(plan.source.dtype).kind == "f" or not live:
        return 0.0
    return float(np.mean([1 / (12 * (channel.high - channel.low) ** 2) for channel in live]))


def _objection(plan: RestorationPlan, workspace: Workspace, used: NDArray[Any]) -> str:
    """Return why a run has no bound, by its plan; empty where it may have one."""
    share = _learnt_share(plan, workspace, used)
    objections = {
        "nothing was restored": plan.task == "copy",
        "holes were filled, and nothing is known of what was in them": plan.task == "inpaint",
        "stripes were subtracted, and no probe tells by how much they were missed": plan.stripes is not None,
        "planes of different brightness have different noise": plan.planes is not None,
        f"the model was learnt on {100 * share:.0f} % of this scan, its noise included": share > _LEARNT_ON,
    }
    return next((objection for objection, holds in objections.items() if holds), "")


def _learnt_share(plan: RestorationPlan, workspace: Workspace, used: NDArray[Any]) -> float:
    """Return on which share of the scan the weights were learnt that restored it."""
    model = learnt_before(workspace)
    if model is None or not (used == USED.index("volume")).any():
        return 0.0
    # The untouched start, kept where nothing was better, has learnt nothing here.
    if model.risk is not None and model.risk == model.risk_before:
        return 0.0
    t, _, z, y, x = plan.source.shape
    return min(1.0, plan.samples.count * math.prod(plan.samples.extent) / (t * z * y * x))
