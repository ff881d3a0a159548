"""Limits, findings and the verdict: a number and its limit, always both."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

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
    """All checks of a run; the verdict is the worst of them. `notes` tell what was not checked, and why."""

    findings: tuple[Finding, ...]
    notes: tuple[str, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """Return the worst verdict."""
        return max((finding.verdict for finding in self.findings), key=_ORDER.index, default="fail")


@dataclass(frozen=True)
class Limit:
    """Ranges of one number: inside `passes` is good, inside `warns` is doubtful, outside fails.

    `needs_noise` marks numbers relative to the noise estimate: where that cannot be relied on, they never fail.
    """

    passes: tuple[float, float]
    warns: tuple[float, float]
    why: str
    needs_noise: bool = False

    def judge(self, value: float, confidence: float = 1.0) -> Verdict:
        """Return the verdict on a value; one that is not finite fails."""
        if self.passes[0] <= value <= self.passes[1]:
            return "pass"
        doubtful = self.warns[0] <= value <= self.warns[1] or (self.needs_noise and confidence < CONFIDENT)
        return "warn" if doubtful and not math.isnan(value) else "fail"

    def judge_all(self, values: NDArray[np.float64], confidence: float = 1.0) -> NDArray[np.uint8]:
        """Return the verdicts on many values, 0 pass, 1 warn, 2 fail; what is not finite was not asked."""
        passed = (self.passes[0] <= values) & (values <= self.passes[1])
        doubtful = (self.warns[0] <= values) & (values <= self.warns[1])
        doubtful |= self.needs_noise and confidence < CONFIDENT
        return np.where(passed | ~np.isfinite(values), 0, np.where(doubtful, 1, 2)).astype(np.uint8)

    def moved(self, allowed: tuple[float, float]) -> "Limit":
        """Return the limit with another range outside of which it fails, however sure the noise is."""
        low, high = allowed
        passes = (max(self.passes[0], low), min(self.passes[1], high))
        return replace(self, passes=passes, warns=allowed, needs_noise=False)

    @property
    def allowed(self) -> str:
        """Return both ranges in words."""
        beyond = "beyond" if self.warns == (-math.inf, math.inf) else _words(self.warns)
        return f"{_words(self.passes)}, doubtful {beyond}"


Limits: TypeAlias = Mapping[str, Limit]
_INF = math.inf
#: Below this confidence the noise estimate is a guess, and no verdict rests on it.
CONFIDENT = 0.2
#: What changes by less than this part of the value range nobody sees, however little noise there is.
FAINT = 0.01

# How the limits were found: generated scenes (cells, filaments, coast, stars, edges, constant) under white noise of 2
# to 20 % of the range, Poisson-Gaussian noise, and noise correlated along rows or both ways; restored well (BM3D,
# non-local means, total variation, the best Gaussian) and badly, as in tests/unit/test_qa_limits.py. Noise estimates
# may be off by a factor of 1.25 either way, which alone moves `residual_level` between 0.64 and 1.56. In brackets: what
# the good ones reached at most, then what three quarters of the bad ones exceed.
_LEVEL = "what was taken away, over the noise; 1: exactly the noise, less: noise is left, more: structure is gone"
_TAILS = "outer over inner values of what was taken away; 1: noise, more: edges or texture were taken, less: a pattern"
_LUMP = "largest lump in what was taken away, in noise std; more means that objects were removed or invented"
_CONTRAST = "by how much structures became fainter (above 0) or stronger (below 0)"
_SHIFT = "by how many voxels the picture moved"
_FLUX = "change of the mean over the noise std; more makes tiles brighter or darker than they were"
_RISK = "estimated error over the noise variance; below 1 the result is closer to the truth than the raw data"
_POINTS = "points in what was taken away that are not noise: structure, or outliers such as hot pixels"
_LINES = "lines in what was taken away that are not noise: structure, or scratches and bad columns"
_SHOWN = "share of their contrast that faint points which are still there lost at least, with 95 %"
_OBJECTS = "relative change of the light of bright objects, less their background"
_LEVELS = "largest change of a level of brightness, in parts of the value range"
_RATIO = "largest relative change of the ratio of two channels"
_BLEEDING = "share of one channel that was put into another (above 0) or taken out of it (below 0)"
_FLICKER = "by how much frames became brighter and darker in turn, in noise std"
_GHOSTS = "share of a neighbouring frame that frames hold"

# As measured by `python -m tests.bench.faint`, in brackets what one in twenty good restorations exceeded, then the
# median under a fault: object flux [0.03 | objects 5 % fainter: 0.04], radiometry [0.001 | the same: 0.03], band ratio
# [0.001 | one channel 5 % fainter: 0.05], bleeding [0.001 | a tenth of another channel: 0.07], flicker [0 | frames off
# by 0.3 noise std: 0.28], ghosts [0.002 | a quarter of the last frame: 0.28]. They tell of a bias, not of a wrecked
# tile: beyond these limits somebody should look, and nothing is refused.
_DOUBTFUL = (-_INF, _INF)
FAITHFUL: Mapping[str, Limit] = {
    "faint_points": Limit((0, 0), _DOUBTFUL, _POINTS),
    "faint_lines": Limit((0, 0), _DOUBTFUL, _LINES),
    "object_flux": Limit((-0.03, 0.03), _DOUBTFUL, _OBJECTS),
    "radiometry": Limit((-0.01, 0.01), _DOUBTFUL, _LEVELS),
    "band_ratio": Limit((-0.02, 0.02), _DOUBTFUL, _RATIO),
    "bleeding": Limit((-0.03, 0.03), _DOUBTFUL, _BLEEDING),
    "flicker": Limit((0, 0.1), _DOUBTFUL, _FLICKER),
    "ghosts": Limit((0, 0.1), _DOUBTFUL, _GHOSTS),
}
COUNTED = ("faint_points", "faint_lines")

_NULL_NOISE = "share of the noise's deviation that is left of noise alone"
_NULL_WORMS = "the same of the part coarser than a pixel; more are worms or blobs where there is nothing"
_NULL_LUMP = "largest lump made of noise alone, in std of noise as coarse; more is an object that was invented"
_NULL_BIAS = "by how many noise std noise alone becomes brighter or darker"


def _null_limits(noise: float, worms: float, lump: float) -> Mapping[str, Limit]:
    """Return the limits on what is made of noise alone; what amplifies noise, or doubles a lump, fails."""
    return {
        # [patches mixed on stabilised noise at less than a count a pixel: 1.11, 1.08]
        "null noise": Limit((0, noise), (0, 1.2), _NULL_NOISE, needs_noise=True),
        "null worms": Limit((0, worms), (0, 1.2), _NULL_WORMS, needs_noise=True),
        "null lump": Limit((0, lump), (0, 2 * lump), _NULL_LUMP, needs_noise=True),
        # [the model of photographs at one count a pixel: 0.17]
        "null bias": Limit((-0.2, 0.2), (-0.35, 0.35), _NULL_BIAS, needs_noise=True),
    }


#: Limits on what a method makes of noise alone, by the noise. Found with `python -m tests.bench.null`; in brackets
#: noise, worms and lump of good restorers at most | noise and worms of smoothing over a pixel, and of total variation
#: told a third of the noise, at least.
NULL_LIMITS: Mapping[str, Mapping[str, Limit]] = {
    # [0.25, 0.58, 3.7 | 0.29, 0.71; 0.66, 0.89]
    "white": _null_limits(0.3, 0.64, 4.4),
    # [0.30, 0.58, 5.6: counts have long tails | 0.28, 0.71; 0.66, 0.88]
    "counts": _null_limits(0.35, 0.64, 6.0),
    # [0.51, 0.59, 3.4 | 0.39, 0.74; 0.71, 0.89]
    "lines": _null_limits(0.56, 0.66, 4.6),
    # [0.43, 0.51, 3.6 | 0.42, 0.75; 0.72, 0.89]
    "isotropic": _null_limits(0.5, 0.62, 4.4),
}

#: Limits on one tile: outside `passes` it is doubtful, outside `warns` it falls back to the next method.
TILE_LIMITS: Mapping[str, Limit] = {
    "finite": Limit((1, 1), (1, 1), "values are not finite"),
    # [0.23 to 1.11; with a wrong estimate 0.15 to 1.73 | nothing done: 0, structure gone: 1.4 and more]
    "residual_level": Limit((0.3, 1.75), (0, 2.5), _LEVEL, needs_noise=True),
    "untouched": Limit((0, 0), (0, 0), "1: the noise is still there, all of it", needs_noise=True),
    # [7.2 | object removed: 10, invented blobs: 11, constant: 20]
    "residual_structure": Limit((0, 7.5), (0, 12), _LUMP, needs_noise=True),
    # [0.95 to 1.35, at hard edges in weak noise 2.3; labels, clean and coded photographs 1.6 to 6,
    # checkerboards down to 0.4]
    "residual_tails": Limit((0.6, 2.5), (0.45, 5), _TAILS),
    # [0.12 | contrast 0.8: 0.12 to 0.25, invented blobs: -0.35]
    "contrast_loss": Limit((-0.15, 0.15), (-0.3, 0.3), _CONTRAST),
    # [0.05 | moved by 0.5: 0.48, by 1: 0.97]
    "shift": Limit((0, 0.15), (0, 0.4), _SHIFT),
    # [0.05 | offset of 0.2 std: 0.19, of 0.5: 0.46]
    "flux over noise": Limit((-0.12, 0.12), (-0.35, 0.35), _FLUX, needs_noise=True),
    "risk over noise": Limit((-_INF, 1.0), (-_INF, 1.3), _RISK, needs_noise=True),
    **FAITHFUL,
}
#: Limits on the run: shares of tiles, medians, and the worst twentieth of the tiles.
RUN_LIMITS: Mapping[str, Limit] = {
    "failed tiles": Limit((0, 0), (0, 0.2), "share of tiles kept raw because nothing passed; one is enough to warn"),
    "fallen-back tiles": Limit((0, 0.02), (0, 0.5), "share of tiles that the method did not restore itself"),
    "doubtful tiles": Limit((0, 0.05), (0, 1), "share of tiles with a number outside its own limits, fit or not"),
    "residual level": Limit((0.5, 1.35), (0, 2.0), f"median over tiles: {_LEVEL}", needs_noise=True),
    "residual structure": Limit((0, 7.5), (0, 12), f"worst twentieth: {_LUMP}", needs_noise=True),
    # Every denoiser leaves some correlation; only more than the noise itself has tells of structure. [0.11 | 0.28]
    # Below 0 it tells of a fine pattern. [-0.23 | -0.32 to -0.95]
    "residual correlation": Limit((-0.3, 0.15), (-0.6, 0.6), "median likeness of neighbours beyond the noise's own"),
    "residual tails": Limit((0.7, 1.8), (0.5, 4), f"median over tiles: {_TAILS}"),
    "contrast loss": Limit((0, 0.15), (0, 0.3), f"worst twentieth, either way: {_CONTRAST}"),
    "shift": Limit((0, 0.15), (0, 0.4), f"worst twentieth: {_SHIFT}"),
    "flux change": Limit((0, 0.12), (0, 0.35), f"worst twentieth, either way: {_FLUX}", needs_noise=True),
    # Where all tiles change the same way, far less is told. [0.03; non-local means on counts 0.09 | 5 % brighter: 0.04]
    "brightness": Limit((-0.045, 0.045), (-0.35, 0.35), f"median over tiles: {_FLUX}", needs_noise=True),
    # [median 1.1, worst tenth 2.4, single borders 5, and a small run has few | tiles off by 0.3 noise std: 5 and 20; in
    # busy scenes they drown and do not show]
    "seams": Limit((0, 2.5), (0, 6), "median border: gradient across over gradient beside; 1: none"),
    "seams, worst tenth": Limit((0, 4), (0, 25), "the same, at the tenth of the borders where it is largest"),
    "clipped values": Limit((0, 1e-4), (0, 1e-2), "share of values that left the range of the data type"),
    "risk over noise": Limit((-_INF, 0.9), (-_INF, 1.1), f"median over tiles: {_RISK}", needs_noise=True),
    **{
        name.replace("_", " "): replace(
            limit, why=f"{'all tiles' if name in COUNTED else 'worst twentieth'}: {limit.why}"
        )
        for name, limit in FAITHFUL.items()
    },
    # [0.2 in one picture of twenty; half of the contrast lost: 0.35 and more for ten points]
    "faint contrast": Limit((-_INF, 0.2), _DOUBTFUL, _SHOWN),
    "noise confidence": Limit(
        (CONFIDENT, 1), (0, 1), "how far the noise estimate, and so this verdict, can be trusted"
    ),
    **NULL_LIMITS["white"],
}


def gate_complaints(gate: Mapping[str, tuple[float, float]]) -> list[str]:
    """Return what is wrong with ranges that somebody wants for the checks of a run."""
    found = [f"gate knows {', '.join(RUN_LIMITS)}; got {name!r}" for name in gate if name not in RUN_LIMITS]
    return found + [
        f"gate wants low <= high, got {name}: {ends}" for name, ends in gate.items() if not ends[0] <= ends[1]
    ]


def tile_verdict(findings: Mapping[str, Any], limits: Limits = TILE_LIMITS) -> tuple[Verdict, str]:
    """Return the verdict on a tile by the limits of its aim, and the sentence that explains it; empty if all is well.

    Args:
        findings: As `judge_tile` returns them, or a row of the ledger; what is absent or None is not asked.
    """
    confidence = findings.get("confidence")
    worst: tuple[Verdict, str] = ("pass", "")
    for name, value in _tile_numbers(findings, limits).items():
        limit = limits[name]
        found = limit.judge(value, 1.0 if confidence is None else float(confidence))
        if _ORDER.index(found) > _ORDER.index(worst[0]):
            worst = (found, f"{name.replace('_', ' ')} {value:.3g}, allowed {limit.allowed}: {limit.why}")
    return worst


def tile_fails(findings: Mapping[str, Any], limits: Limits = TILE_LIMITS) -> str | None:
    """Return why a tile must fall back, or None."""
    verdict, why = tile_verdict(findings, limits)
    return why if verdict == "fail" else None


def judge(
    measured: Mapping[str, float],
    gate: Mapping[str, tuple[float, float]] | None = None,
    limits: Mapping[str, Limit] | None = None,
) -> QAReport:
    """Return the verdict on a run.

    Args:
        measured: Check -> number, names as in RUN_LIMITS; checks that could not be made are left out.
        gate: Check -> range outside of which a run is refused, where somebody wants another one.
        limits: Check -> limit that holds for the noise of this run, where the usual one does not.
    """
    confidence = float(measured.get("noise confidence", 1.0))
    found = []
    for name, common in {**RUN_LIMITS, **(limits or {})}.items():
        if name in measured:
            value = float(measured[name])
            limit = common if gate is None or name not in gate else common.moved(gate[name])
            found.append(Finding(name, limit.judge(value, confidence), value, limit.allowed, limit.why))
    return QAReport(tuple(found))


def tile_verdicts(
    table: Mapping[str, NDArray[Any]], confidence: float = 1.0, limits: Limits = TILE_LIMITS
) -> NDArray[np.uint8]:
    """Return the verdicts on many tiles by the limits of their aim: 0 pass, 1 warn, 2 fail.

    Args:
        table: Findings by name, as the ledger holds them, one number a tile; NaN where a finding is not known.
        confidence: Confidence of the noise estimate.

    Shape:
        each column of the table [...] -> [...].
    """
    numbers = columns_of(table, limits)
    worst = np.zeros(np.shape(next(iter(table.values()))), np.uint8)
    for name, values in numbers.items():
        np.maximum(worst, limits[name].judge_all(values, confidence), out=worst)
    return worst


def columns_of(table: Mapping[str, NDArray[Any]], limits: Limits = TILE_LIMITS) -> dict[str, NDArray[np.float64]]:
    """Return the columns under the names of the limits, with flux and risk in terms of the noise."""
    found = {name: np.asarray(table[name], np.float64) for name in limits if name in table}
    if "noise_std" not in table:
        return found
    std = np.asarray(table["noise_std"], np.float64)
    std = np.where(np.isfinite(std) & (std > 0), std, np.nan)
    if "flux_change" in table:
        found["flux over noise"] = np.asarray(table["flux_change"], np.float64) / np.maximum(std, FAINT)
    if "risk" in table:
        found["risk over noise"] = np.asarray(table["risk"], np.float64) / (std**2 + FAINT**2)
    return found


def _tile_numbers(row: Mapping[str, Any], limits: Limits) -> dict[str, float]:
    """Return the numbers of a tile under the names of the limits, with flux and risk in terms of the noise."""
    known = {name: float(row[name]) for name in limits if row.get(name) is not None}
    std = row.get("noise_std")
    if std is None or not np.isfinite(std) or std <= 0:
        return known
    if row.get("flux_change") is not None:
        known["flux over noise"] = float(row["flux_change"]) / max(float(std), FAINT)
    risk = row.get("risk")
    if risk is not None and np.isfinite(risk):
        known["risk over noise"] = float(risk) / (float(std) ** 2 + FAINT**2)
    return known


def _words(span: tuple[float, float]) -> str:
    low, high = span
    if math.isinf(low) or low == 0:
        return f"≤ {high:g}"
    return f"{low:g} to {high:g}"
