"""The numbers of a run, from those of its tiles."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ilcore.qa.chances import by_chance
from ilcore.qa.faint_family import Family
from ilcore.qa.verdict import COUNTED, FAINT, FAITHFUL, TILE_LIMITS, Limits, columns_of, tile_verdicts


def measures(
    table: Mapping[str, NDArray[Any]],
    words: Sequence[str],
    *,
    clipped_share: float,
    confidence: float,
    limits: Limits = TILE_LIMITS,
) -> dict[str, float]:
    """Return the numbers of a run from those of its tiles.

    Args:
        table: One column a finding, one number a tile, as the ledger holds them; NaN where a finding is not known.
        words: Meaning of the numbers of the column `status`.
        clipped_share: Share of values of the result that were clipped.
        confidence: Confidence of the noise estimate.
        limits: On a tile, by its aim.
    """
    status = np.asarray(table["status"])
    failed, fell_back = (status == words.index(word) for word in ("failed", "fell back"))
    done = status != words.index("empty")
    # What was kept raw is judged by its count; its numbers are those of an attempt that is not in the result.
    judged = {name: values[done & ~failed] for name, values in table.items()}
    numbers, count = columns_of(judged), max(int(done.sum()), 1)
    found = {
        "failed tiles": float(failed.sum() / count),
        "fallen-back tiles": float((failed | fell_back).sum() / count),
        "doubtful tiles": float((tile_verdicts(judged, confidence, limits) > 0).sum() / count),
        "clipped values": clipped_share,
        "noise confidence": confidence,
    }
    seams, lags = _known(table, "seam"), _known({name: values[done] for name, values in table.items()}, "residual_lag")
    _add(found, "residual level", _known(numbers, "residual_level"), np.median)
    _add(found, "residual structure", _known(numbers, "residual_structure"), _worst_twentieth)
    _add(found, "residual correlation", lags, np.median)
    _add(found, "residual tails", _known(numbers, "residual_tails"), np.median)
    _add(found, "contrast loss", np.abs(_known(numbers, "contrast_loss")), _worst_twentieth)
    _add(found, "shift", _known(numbers, "shift"), _worst_twentieth)
    _add(found, "flux change", np.abs(_known(numbers, "flux over noise")), _worst_twentieth)
    _add(found, "brightness", _known(numbers, "flux over noise"), np.median)
    _add(found, "seams", seams, np.median)
    _add(found, "seams, worst tenth", seams, lambda values: np.quantile(values, 0.9))
    _add(found, "risk over noise", _known(numbers, "risk over noise"), np.median)
    for name in FAITHFUL:
        reduce = _more_than_chance if name in COUNTED else _worst_twentieth
        _add(found, name.replace("_", " "), np.abs(_known(numbers, name)), reduce)
    if (lost := Family.of(judged).lost) is not None:
        found["faint contrast"] = lost
    if (between := _between_frames(table, failed)) is not None:
        found["flicker"] = max(found.get("flicker", 0.0), between)
    return found


def _more_than_chance(counts: NDArray[np.float64]) -> float:
    """Return how many things were found in all, 0 where no more tiles have some than noise alone would give."""
    return float(counts.sum()) if (counts > 0).sum() > by_chance(counts.size) else 0.0


def _between_frames(table: Mapping[str, NDArray[Any]], failed: NDArray[np.bool_]) -> float | None:
    """Return by how much the tiles of a frame changed in brightness together, frame by frame, in noise std.

    The noise of a tile's mean is far below the limit; None where there are no three frames.
    """
    if "flux_change" not in table or np.ndim(table["flux_change"]) < 4 or len(table["flux_change"]) < 3:
        return None
    std = np.maximum(np.asarray(table["noise_std"], np.float64), FAINT)
    change = np.where(failed, np.nan, np.asarray(table["flux_change"], np.float64) / std)
    frames = [float(np.median(known)) for frame in change if (known := frame[np.isfinite(frame)]).size]
    return float(np.std(frames, ddof=1)) if len(frames) >= 3 else None


def _known(table: Mapping[str, NDArray[Any]], name: str) -> NDArray[np.float64]:
    values = np.asarray(table.get(name, ()), np.float64)
    return values[np.isfinite(values)]


def _worst_twentieth(values: NDArray[np.float64]) -> float:
    return float(np.quantile(values, 0.95, method="higher"))


def _add(
    found: dict[str, float], name: str, values: NDArray[np.float64], reduce: Callable[[NDArray[np.float64]], Any]
) -> None:
    if values.size:
        found[name] = float(reduce(values))
