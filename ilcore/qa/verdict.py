"""Limits, findings and the verdict: a number and its limit, always both."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Verdict = Literal["pass", "warn", "fail"]
_ORDER: tuple[Verdict, ...] = ("pass", "warn", "fail")


@dataclass(frozen=True)
class Finding:
    """One check of a run."""

    check: str
    verdict: Verdict
    measured: float
    allowed: str
    why: str


@dataclass(frozen=True)
class QAReport:
    """All checks of a run; the verdict is the worst of them."""

    findings: tuple[Finding, ...]

    @property
    def verdict(self) -> Verdict:
        """Return the worst verdict."""
        return max((finding.verdict for finding in self.findings), key=_ORDER.index, default="fail")


@dataclass(frozen=True)
class Limit:
    """Ranges of one number: inside `passes` is good, inside `warns` is doubtful, outside fails."""

    passes: tuple[float, float]
    warns: tuple[float, float]
    why: str

    def judge(self, value: float) -> Verdict:
        """Return the verdict on a value; one that is not finite fails."""
        if self.passes[0] <= value <= self.passes[1]:
            return "pass"
        return "warn" if self.warns[0] <= value <= self.warns[1] else "fail"

    @property
    def allowed(self) -> str:
        """Return both ranges in words."""
        return f"{_words(self.passes)}; doubtful to {_words(self.warns)}"


_INF = math.inf
#: Limits on one tile: what makes it fall back. Wide, since noise estimates are off by a quarter at low noise.
TILE_LIMITS: Mapping[str, Limit] = {
    "residual_level": Limit((0.3, 1.6), (0.15, 2.5), "more was taken away than noise can explain"),
    "residual_structure": Limit((0, 0.35), (0, 0.6), "what was taken away looks like the image"),
    "finite": Limit((1, 1), (1, 1), "values are not finite"),
}
#: Limits on the run: on medians and shares over tiles.
RUN_LIMITS: Mapping[str, Limit] = {
    "failed tiles": Limit(
        (0, 0), (0, 0.02), "share of tiles kept raw because nothing passed; any makes the run doubtful"
    ),
    "fallen-back tiles": Limit((0, 0.02), (0, 0.25), "share of tiles that the method did not restore itself"),
    "residual level": Limit(
        (0.6, 1.35), (0.25, 2.2), "median of what was taken away over the measured noise; 1 is right"
    ),
    "residual structure": Limit(
        (0, 0.2), (0, 0.45), "median likeness of what was taken away and the image; 0 is right"
    ),
    "seams": Limit((0, 1.5), (0, 3.0), "95 % of tile borders: gradient across over gradient beside; 1 is right"),
    "flux change": Limit((0, 0.02), (0, 0.1), "change of the mean, in parts of the value range; 0 is right"),
    "clipped values": Limit((0, 1e-4), (0, 1e-2), "share of values outside the range of the data type"),
    "risk against noise": Limit(
        (0, 0.9), (0, 1.0), "median estimated error over the noise variance; below 1 is a gain"
    ),
    "noise confidence": Limit((0.2, 1), (0, 1), "how far the noise estimate, and so this verdict, can be relied on"),
}


def tile_fails(findings: Mapping[str, float]) -> str | None:
    """Return why a tile must fall back, or None.

    With a noise estimate that cannot be relied on only what needs none is asked.
    """
    for name, limit in TILE_LIMITS.items():
        sure = findings.get("confidence", 1.0) >= 0.2 or name == "finite"
        value = findings.get(name)
        if sure and value is not None and limit.judge(value) == "fail":
            return f"{name} {value:.3g}, allowed {limit.allowed}: {limit.why}"
    return None


def judge(measured: Mapping[str, float]) -> QAReport:
    """Return the verdict on a run.

    Args:
        measured: Check -> number, names as in RUN_LIMITS; checks that could not be made are left out.
    """
    found = []
    for name, limit in RUN_LIMITS.items():
        if name in measured:
            value = float(measured[name])
            found.append(Finding(name, limit.judge(value), value, limit.allowed, limit.why))
    return QAReport(tuple(found))


def measures(rows: Sequence[Mapping[str, Any]], *, clipped_share: float, confidence: float) -> dict[str, float]:
    """Return the numbers of a run from its rows of tiles.

    Args:
        rows: One mapping per tile, as in the ledger.
        clipped_share: Share of values of the result that were clipped.
        confidence: Confidence of the noise estimate.
    """
    done = [row for row in rows if row["status"] != "empty"]
    count = max(len(done), 1)
    found = {
        "failed tiles": sum(row["status"] == "failed" for row in done) / count,
        "fallen-back tiles": sum(row["status"] in ("fell back", "failed") for row in done) / count,
        "clipped values": clipped_share,
        "noise confidence": confidence,
    }
    _add(found, "residual level", _column(done, "residual_level"), np.median)
    _add(found, "residual structure", _column(done, "residual_structure"), np.median)
    _add(found, "seams", _column(rows, "seam"), lambda values: np.quantile(values, 0.95))
    _add(found, "flux change", np.abs(_column(done, "flux_change")), np.median)
    judged = [row for row in done if row.get("risk") is not None and row.get("noise_std")]
    ratios = _column(judged, "risk") / np.square(_column(judged, "noise_std"))
    _add(found, "risk against noise", ratios, np.median)
    return found


def _column(rows: Sequence[Mapping[str, Any]], name: str) -> NDArray[np.float64]:
    return np.asarray([row[name] for row in rows if row.get(name) is not None], np.float64)


def _add(
    found: dict[str, float], name: str, values: NDArray[np.float64], reduce: Callable[[NDArray[np.float64]], Any]
) -> None:
    if values.size:
        found[name] = float(reduce(values))


def _words(span: tuple[float, float]) -> str:
    low, high = span
    return f"at most {high:g}" if low == 0 and math.isfinite(high) else f"{low:g} to {high:g}"
