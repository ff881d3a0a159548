"""How much of what all steps bring a share of them brings: read off the loss curves of scans that had all of them."""

from collections.abc import Sequence

import numpy as np

Curve = Sequence[tuple[int, float]]

#: A curve of fewer points tells nothing about its shape.
_ENOUGH = 8


def gain_curve_of(curves: Sequence[Curve], shares: Sequence[float]) -> tuple[float, ...] | None:
    """Return which part of the fall of the loss was reached at shares of the steps; None where no curve tells.

    The loss stands in for the risk, which is known at the end only: what is compared are parts of its own fall.

    Args:
        curves: (step, loss), of scans or tiles that had all their steps.
        shares: Rising, in (0, 1].
    """
    found = [grown for curve in curves if (grown := _of_one(curve, shares)) is not None]
    if not found:
        return None
    # More steps never bring less, however noisy the losses are.
    return tuple(float(value) for value in np.maximum.accumulate(np.median(found, axis=0)))


def _of_one(curve: Curve, shares: Sequence[float]) -> list[float] | None:
    points = np.asarray([point for point in curve if np.isfinite(point).all()], np.float64)
    if len(points) < _ENOUGH:
        return None
    steps, losses = points[:, 0] / points[-1, 0], _calmed(points[:, 1])
    start, end = losses[0], float(np.median(losses[-len(losses) // 4 :]))
    if not start > end:
        return None
    return [float(np.clip((start - np.interp(share, steps, losses)) / (start - end), 0, 1)) for share in shares]


def _calmed(losses: "np.ndarray[tuple[int], np.dtype[np.float64]]") -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    """Return the median of each value and its neighbours: a single batch is a noisy witness."""
    around = np.lib.stride_tricks.sliding_window_view(np.pad(losses, 1, mode="edge"), 3)
    return np.asarray(np.median(around, axis=1))
