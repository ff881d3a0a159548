"""How good a restoration is at least, with 95 %, without the truth; or why nobody can say.

    tiles ── error columns ── weighted mean ── mean squared error ± its standard error ─┐
          └─ flat places ──── level of the noise ± its standard error ──────────────────┴── bound

The quantity is the mean squared error of this very result over all its data, not its expectation over other noise.
docs/bounds.md has the theory and the measured coverage.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ilcore.qa.verdict import CONFIDENT

#: Columns of the ledger that a bound is made of.
COLUMNS = (
    "err_voxels", "err_noise", "err_excess", "err_slope", "err_slope_var", "err_loss_var", "flat_places",
    "flat_diagonal", "flat_rows", "flat_columns", "flat_fourth", "cut_share",
)  # fmt: skip
#: One-sided quantile of the normal law for 95 %.
_QUANTILE = 1.6449
#: Share of the data that may lie at a limit of the detector.
_CUT = 1e-3
#: Fewer counts a voxel: the first order of the expansion for counts is not enough.
_FEWEST_COUNTS = 8.0
#: Fewer flat places say too little; farther from the level that was measured before the run, one of both is wrong.
_FEWEST_PLACES, _FARTHEST = 150, 0.25
#: Standard errors by which the bands may differ, kurtosis may exceed that of normal noise; and what is believed of the
#: level however many places there are.
_SURE, _LEAST_DOUBT = 2.5, 0.003


@dataclass(frozen=True)
class Circumstances:
    """What a run knows besides its tiles.

    Args:
        is_told: The noise level was told, not measured.
        is_white: Of all channels.
        confidence: Of the noise estimate.
        counts: Grey levels per count, normalised; 0 for noise of one level.
        rounding: Variance that the type of the result adds, normalised.
        grey_levels: Of the source in one normalised unit.
        objection: Why there can be no bound, from whoever knows the run; empty if nothing speaks against one.
    """

    is_told: bool
    is_white: bool
    confidence: float
    counts: float = 0.0
    rounding: float = 0.0
    grey_levels: float = 1.0
    objection: str = ""


@dataclass(frozen=True)
class MeanError:
    """Estimated mean squared error over so many voxels, normalised, and the variance of the estimate."""

    voxels: float
    mean: float
    variance: float

    @property
    def most(self) -> float:
        """Return what it is at most, with 95 %."""
        return self.mean + _QUANTILE * math.sqrt(self.variance)


@dataclass(frozen=True)
class Bound:
    """What can be said of the error of a result.

    Args:
        error: Estimate and its variance; None where there is no bound.
        why_not: Why, then.
        level: Factor by which flat places correct the variance of the noise; 1 where it was told.
        level_doubt: Standard error of that factor.
        is_told: The bound holds if the noise level that was told is right.
    """

    error: MeanError | None = None
    why_not: str = ""
    level: float = 1.0
    level_doubt: float = 0.0
    is_told: bool = False

    @property
    def least_db(self) -> float | None:
        """Return the PSNR that is reached with 95 %; the peak is the range from 0 to 1 of the plan."""
        return None if self.error is None else -10 * math.log10(self.error.most)

    @property
    def expected_db(self) -> float | None:
        """Return the PSNR that is expected; None where the estimate of the error is not above zero."""
        return None if self.error is None or self.error.mean <= 0 else -10 * math.log10(self.error.mean)

    @property
    def sentence(self) -> str:
        """Return all this in one sentence."""
        if self.least_db is None:
            return f"No bound on the error: {self.why_not}."
        expected = "" if self.expected_db is None else f", {self.expected_db:.1f} dB expected"
        level = "as it was told" if self.is_told else f"measured in flat places to ± {100 * self.level_doubt / 2:.1g} %"
        return f"PSNR at least {self.least_db:.1f} dB with 95 %{expected} (level of the noise {level})."

    def told(self) -> dict[str, Any]:
        """Return everything as plain values, for records."""
        error = None if self.error is None else vars(self.error)
        return {"sentence": self.sentence, "psnr_at_least_db": self.least_db, "psnr_expected_db": self.expected_db,
                "error": error, "noise_variance_factor": self.level, "its_standard_error": self.level_doubt,
                "noise_was_told": self.is_told}  # fmt: skip


def bound_of(table: Mapping[str, NDArray[Any]], about: Circumstances, *, raw: NDArray[np.bool_]) -> Bound:
    """Return the bound on the error of a run, or why there is none.

    Args:
        table: Columns of all tiles, as the ledger holds them.
        about: What the run knows besides.
        raw: Which tiles were kept as they are in the source.

    Reference:
        Everink, Tamo Amougou & Pereyra, "Self-supervised conformal prediction for uncertainty quantification in
        imaging problems", 2025 (Stein's estimate in the place of the truth); Tamo Amougou et al., the same for
        Poisson problems, 2025; Bellec & Zhang, Ann. Stat. 2021 (its fluctuation).
    """
    tiles = _with_raw(table, raw)
    why_not = about.objection or _unfit(tiles, about)
    if why_not:
        return Bound(why_not=why_not)
    level, doubt = (1.0, 0.0) if about.is_told else _level_of(tiles, is_counted=about.counts > 0)
    why_not = _implausible(tiles, about, level)
    if why_not:
        return Bound(why_not=why_not)
    error = _mean_error(tiles, about, level, doubt)
    if error.most <= 0:
        return Bound(why_not="the estimate of the error is below zero: the noise is weaker than was believed")
    return Bound(error, "", level, doubt, about.is_told)


def tile_bounds(
    table: Mapping[str, NDArray[Any]], bound: Bound, about: Circumstances, *, raw: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return the root mean square error that each tile has at most, with 95 % each, in grey levels of the source.

    Shape:
        columns [t, z, y, x] -> the same; NaN without a bound.
    """
    if bound.error is None:
        return np.full(np.shape(raw), np.nan)
    tiles = _with_raw(table, raw)
    mean = tiles["err_excess"] + 2 * tiles["err_slope"] + (bound.level - 1) * _leverage(tiles) + about.rounding
    typical = np.nanmean(tiles["err_slope_var"])
    variance = tiles["err_loss_var"] + 4 * np.maximum(tiles["err_slope_var"], typical)
    variance = variance + (bound.level_doubt * _leverage(tiles)) ** 2
    return np.asarray(about.grey_levels * np.sqrt(np.maximum(mean + _QUANTILE * np.sqrt(variance), 0)))


def _with_raw(table: Mapping[str, NDArray[Any]], raw: NDArray[np.bool_]) -> dict[str, NDArray[np.float64]]:
    """Return the columns in full precision; a tile that was kept has the error of its noise."""
    tiles = {name: np.asarray(table[name], np.float64) for name in COLUMNS}
    noise, voxels = tiles["err_noise"], np.maximum(tiles["err_voxels"], 1)
    kept = {"err_slope": noise, "err_excess": -noise, "err_slope_var": 0 * noise, "err_loss_var": 2 * noise**2 / voxels}
    return tiles | {name: np.where(raw, values, tiles[name]) for name, values in kept.items()}


def _counted(tiles: Mapping[str, NDArray[np.float64]]) -> NDArray[np.bool_]:
    return np.nan_to_num(tiles["err_voxels"]) > 0


def _mean(tiles: Mapping[str, NDArray[np.float64]], name: str, weight: str = "err_voxels") -> float:
    shares = np.nan_to_num(tiles[weight]) / max(float(np.nansum(tiles[weight])), 1.0)
    return float((shares * np.nan_to_num(tiles[name])).sum())


def _leverage(tiles: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return by how much the estimate moves when the variance of the noise is changed by its own size."""
    return 2 * tiles["err_slope"] - tiles["err_noise"]


def _unfit(tiles: Mapping[str, NDArray[np.float64]], about: Circumstances) -> str:
    """Return which assumption fails; empty if none does."""
    counted = _counted(tiles)
    unknown = int((~np.isfinite(tiles["err_loss_var"]) & counted).sum())
    cut, counts = _mean(tiles, "cut_share"), _mean(tiles, "err_noise") / max(about.counts, 1e-12) ** 2
    objections = {
        "the noise is correlated, or its law is not known": not about.is_white,
        "no tile holds data": not counted.any(),
        f"the noise estimate is not certain enough (confidence {about.confidence:.2f})": about.confidence < CONFIDENT,
        f"{100 * cut:.2g} % of the values lie at a limit of the detector, where the noise is cut": cut > _CUT,
        f"{counts:.2g} counts a voxel, and the formula needs {_FEWEST_COUNTS:g}": about.counts > 0
        and counts < _FEWEST_COUNTS,
        f"{unknown} of {int(counted.sum())} tiles were learnt on their own pixels, or are of an earlier version: their "
        "error cannot be estimated": unknown > 0,
    }
    return next((objection for objection, holds in objections.items() if holds), "")


def _level_of(tiles: Mapping[str, NDArray[np.float64]], *, is_counted: bool) -> tuple[float, float]:
    """Return the true variance of the noise over the believed one, as flat places tell it, and the standard error.

    Where noise grows with the signal, fine texture in bright places passes for stronger noise: more than was believed
    is taken for more by half a standard error less.
    """
    places = max(float(np.nansum(tiles["flat_places"])), 1.0)
    level = _mean(tiles, "flat_diagonal", "flat_places")
    doubt = level * math.hypot(math.sqrt(2 / places), _LEAST_DOUBT)
    return max(min(level, 1.0), level - doubt / 2) if is_counted else level, doubt


def _implausible(tiles: Mapping[str, NDArray[np.float64]], about: Circumstances, level: float) -> str:
    """Return what speaks against the level of the noise; empty if nothing does."""
    places = float(np.nansum(tiles["flat_places"]))
    diagonal, rows, columns, fourth = (
        _mean(tiles, f"flat_{name}", "flat_places") for name in ("diagonal", "rows", "columns", "fourth")
    )
    if about.is_told:
        weak = places >= _FEWEST_PLACES and diagonal < 1 - 4 * math.sqrt(2 / places) - 0.02
        return "flat places hold less noise than was told" if weak else ""
    if places < _FEWEST_PLACES:
        return "too little of the scan is flat to tell its noise from fine texture"
    if abs(level - 1) > _FARTHEST:
        return f"flat places hold {level:.2f} times the noise variance that was measured before the run"
    mean = (diagonal + rows + columns) / 3
    slack = _SURE * math.sqrt(3 / places) + _LEAST_DOUBT
    textured = (rows + columns) / 2 - diagonal > slack * mean
    textured |= max(rows, columns) - diagonal > (_SURE * math.sqrt(4 / places) + 2 * _LEAST_DOUBT) * mean
    textured |= fourth / (3 * mean**2) - 1 > _SURE * math.sqrt(8 / (9 * places)) + 0.02
    return "flat places hold fine texture beside the noise, or the noise is not white" if textured else ""


def _mean_error(
    tiles: Mapping[str, NDArray[np.float64]], about: Circumstances, level: float, doubt: float
) -> MeanError:
    shares = np.nan_to_num(tiles["err_voxels"]) / np.nansum(tiles["err_voxels"])
    leverage = float(np.nansum(shares * _leverage(tiles)))
    mean = float(np.nansum(shares * (tiles["err_excess"] + 2 * tiles["err_slope"])))
    own = float(np.nansum(shares**2 * (tiles["err_loss_var"] + 4 * tiles["err_slope_var"])))
    return MeanError(
        voxels=float(np.nansum(tiles["err_voxels"])),
        mean=mean + (level - 1) * leverage + about.rounding,
        variance=own + (doubt * leverage) ** 2,
    )
