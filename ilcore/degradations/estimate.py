"""Preflight: what noise a volume has, from a few sampled tiles, before anything is restored.

    samples ── planes ── trusted values ─┬─ diagonal detail by signal level ── gain, read noise, offset
                                         └─ smooth blocks ── correlation of neighbours ── verdict

A verdict of `white` allows methods that predict a voxel from its neighbours; any other does not.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ilcore.degradations.blocks import SIDE, SmoothBlocks, cut, smooth_blocks, variance_by_block_level
from ilcore.degradations.counts import COUNTED, are_counts
from ilcore.degradations.planes import (
    Limits,
    Plane,
    Values,
    is_measured,
    limits_of,
    planes_of,
    trusted_plane,
    without_padding,
)
from ilcore.degradations.signal_dependent import Details, fit_line, noise_through
from ilcore.degradations.wavelets import diagonal_detail
from ilcore.degradations.witness import Floor, below_floor, floor_of, has_block_grid, is_like_noise
from ilcore.grammar.problem import Noise

#: A lag above this is correlation; below, it is the uncertainty of one image (Aydin uses the same limit).
CORRELATED = 0.15
#: Lags within this distance of the limit lower the confidence.
_BORDER = 0.07
#: Correlation that reaches three pixels in every direction cannot be told from structure.
_STRUCTURE = 0.25
#: Pixels looked at per channel.
_BUDGET = 2_000_000
#: If less than this share of the measurements is inside the limits, the limits are not believed.
_FEWEST_INSIDE = 0.3


@dataclass(frozen=True, kw_only=True)
class ChannelReport:
    """What preflight found in one channel.

    Args:
        noise: Noise model in the units of the volume; its correlation is the verdict.
        lag_y: Correlation of the noise of vertical neighbours, texture taken out.
        lag_x: The same, horizontal.
        lag_diag: The same, diagonal.
        verdict: white, row (correlated along rows), column, isotropic or unknown.
        saturated_share: Share of measurements at the upper limit.
        empty_share: Share of the area without any variation.
        missing_share: Share of values that are no measurement.
        level: Noise standard deviation at the median signal.
        confidence: 0 (nothing known) to 1.
        notes: Sentences for people.
        is_floor: Whether the level is that of white noise for sure, since half of all directions vary alike.
    """

    noise: Noise
    lag_y: float
    lag_x: float
    lag_diag: float
    verdict: str
    saturated_share: float
    empty_share: float
    missing_share: float
    level: float
    confidence: float
    notes: tuple[str, ...]
    is_floor: bool = False


@dataclass(frozen=True, kw_only=True)
class Preflight:
    """What preflight found, channel by channel."""

    channels: tuple[ChannelReport, ...]

    @property
    def verdict(self) -> str:
        """Return the verdict that rules out most: isotropic, then row and column, unknown, white."""
        found = {channel.verdict for channel in self.channels}
        if {"row", "column"} <= found:
            return "isotropic"
        return next((name for name in ("isotropic", "row", "column", "unknown") if name in found), "white")

    @property
    def confidence(self) -> float:
        """Return the confidence of the least certain channel."""
        return min((channel.confidence for channel in self.channels), default=0.0)


@dataclass(frozen=True)
class _Look:
    """The pixels of one channel and what is wrong with some of them."""

    planes: tuple[Plane, ...]
    limits: Limits
    median: float
    saturated_share: float
    empty_share: float
    missing_share: float
    is_counted: bool


def preflight(
    samples: Sequence[NDArray[Any]], dtype: np.dtype[Any] | type, *, missing: float | None = None
) -> Preflight:
    """Estimate level, signal dependence and correlation of the noise of every channel.

    Args:
        samples: Tiles in the units of the volume, all with the same channels; 16 tiles of 256x256 are plenty.
        dtype: Type of the source, whose extremes are limits of the detector.
        missing: Value that marks missing measurements, besides NaN and inf.

    Shape:
        each sample [C, y, x] or [C, z, y, x]; slices of a stack are looked at one by one.
    """
    channels = max((len(sample) for sample in samples), default=0)
    return Preflight(channels=tuple(_channel(samples, index, np.dtype(dtype), missing) for index in range(channels)))


def _channel(
    samples: Sequence[NDArray[Any]], channel: int, dtype: np.dtype[Any], missing: float | None
) -> ChannelReport:
    look = _look(planes_of(samples, channel, _BUDGET), dtype, missing)
    details = [diagonal_detail(plane.values) for plane in look.planes]
    blocks = smooth_blocks(look.planes, details)
    floor = floor_of(look.planes)
    is_floor = floor is not None and floor.is_flat
    verdict = _verdict(blocks, look.planes, is_floor=is_floor)
    noise, origin = _noise(look, details, blocks, verdict, floor)
    lags = blocks.noise_lags if blocks else (0.0, 0.0, 0.0)
    return ChannelReport(
        noise=noise,
        lag_y=lags[0],
        lag_x=lags[1],
        lag_diag=lags[2],
        verdict=verdict,
        saturated_share=look.saturated_share,
        empty_share=look.empty_share,
        missing_share=look.missing_share,
        level=noise.std_at(look.median),
        confidence=_confidence(verdict, blocks, noise.std_at(look.median), dtype),
        notes=(*_notes(look, verdict, blocks, noise.std_at(look.median), dtype), *origin),
        is_floor=is_floor,
    )


def _look(planes: Sequence[Values], dtype: np.dtype[Any], missing: float | None) -> _Look:
    """Mask what is no measurement and count it."""
    pooled = _pooled(planes)
    measured = pooled[is_measured(pooled, missing)]
    scan = _without_padding(planes, measured, dtype)
    seen = _pooled(scan)
    seen = seen[is_measured(seen, missing)]
    limits = _believable(limits_of(seen, dtype), seen)
    inside = seen[limits.inside(seen)]
    return _Look(
        planes=tuple(trusted_plane(plane, missing, limits) for plane in scan),
        limits=limits,
        median=float(np.median(inside)) if inside.size else 0.0,
        saturated_share=0.0 if limits.ceiling is None else float((measured >= limits.ceiling).mean()),
        empty_share=_empty_share(planes),
        missing_share=1 - measured.size / pooled.size if pooled.size else 1.0,
        is_counted=dtype.kind in "ui" and are_counts(scan),
    )


def _pooled(planes: Sequence[Values]) -> Values:
    return np.concatenate([plane.ravel() for plane in planes]) if planes else np.zeros(0)


def _without_padding(planes: Sequence[Values], measured: Values, dtype: np.dtype[Any]) -> Sequence[Values]:
    """Mask the padding of a mosaic, where most of it is that: whole areas at the floor are no measurements."""
    if not measured.size or limits_of(measured, dtype).inside(measured).mean() >= _FEWEST_INSIDE:
        return planes
    scan = [without_padding(plane, float(measured.min())) for plane in planes]
    left = _pooled(scan)
    left = left[np.isfinite(left)]
    return scan if left.size and left.min() < left.max() else planes


def _believable(limits: Limits, measured: Values) -> Limits:
    """Drop the floor if most of the data lies on it: then it is darkness without counts, not a cut."""
    if measured.size and limits.inside(measured).mean() < _FEWEST_INSIDE:
        return Limits(ceiling=limits.ceiling)
    return limits


def _empty_share(planes: Sequence[Values]) -> float:
    """Return the share of blocks, or of whole small planes, in which all values are equal."""
    flat = [_is_flat(cut(plane)) if min(plane.shape) >= SIDE else _is_flat(plane[None]) for plane in planes]
    return float(np.concatenate(flat).mean()) if flat else 1.0


def _is_flat(blocks: NDArray[Any]) -> NDArray[np.bool_]:
    first = blocks[:, :1, :1]
    return np.asarray(((blocks == first) | ~np.isfinite(blocks)).all((1, 2)))


def _verdict(blocks: SmoothBlocks | None, planes: Sequence[Plane], *, is_floor: bool) -> str:
    """Name the correlation; unknown where there is no noise to judge, or structure looks like it and has no floor."""
    if blocks is None:
        return "unknown"
    lag_y, lag_x, _ = blocks.noise_lags
    structured = "white" if is_floor else "unknown"
    if min(blocks.tail_y, blocks.tail_x) > _STRUCTURE:
        return structured
    along_rows, along_columns = lag_x > CORRELATED, lag_y > CORRELATED
    if (along_rows or along_columns) and (not is_like_noise(blocks) or has_block_grid(planes)):
        return structured
    if along_rows and along_columns:
        return "isotropic"
    return "row" if along_rows else "column" if along_columns else "white"


def _noise(
    look: _Look, details: Sequence[Values], blocks: SmoothBlocks | None, verdict: str, floor: Floor | None
) -> tuple[Noise, tuple[str, ...]]:
    """Fit the noise line where the noise shows: in the fine detail, or in blocks if it is correlated.

    Also returns what is to be told of where it comes from.
    """
    if look.empty_share == 1:
        return Noise(correlation="unknown"), ()
    if look.is_counted and verdict in ("white", "unknown"):
        return replace(COUNTED, correlation=verdict), (
            "the variance of these whole numbers is their mean: taken for counted photons",
        )
    if blocks is None or verdict in ("white", "unknown"):
        pixels = Details.of(look.planes, details)
        fitted = fit_line(pixels)
        noise = below_floor(fitted, pixels.level, floor)
        told = () if noise == fitted else ("fine detail varies more than white noise can here: lowered to its floor",)
        return replace(noise, correlation=verdict), told
    level, variance = variance_by_block_level(look.planes, details, blocks)
    flat = Noise(read_std=float(np.median(variance)) ** 0.5)
    return replace(noise_through(level, variance) or flat, correlation=verdict), ()


def _confidence(verdict: str, blocks: SmoothBlocks | None, level: float, dtype: np.dtype[Any]) -> float:
    """Combine the number of blocks, the share of texture in them and the distance to the limit of correlation."""
    if blocks is None or verdict == "unknown":
        return 0.0
    sampled = blocks.count / (blocks.count + 8)
    clear = 1.0 if verdict != "white" else min(1.0, max(0.1, blocks.whiteness))
    nearest = min(abs(lag - CORRELATED) for lag in blocks.noise_lags[:2])
    distance = 0.5 + 0.5 * min(1.0, nearest / _BORDER)
    coarse = 0.3 if _is_below_steps(level, dtype) else 1.0
    return float(sampled * clear * distance * coarse)


def _is_below_steps(level: float, dtype: np.dtype[Any]) -> bool:
    """Say whether integer steps hide the noise."""
    return dtype.kind in "ui" and level < 0.35


def _notes(
    look: _Look, verdict: str, blocks: SmoothBlocks | None, level: float, dtype: np.dtype[Any]
) -> tuple[str, ...]:
    lags = blocks.noise_lags[:2] if blocks else (0.0, 0.0)
    found = {
        "too few blocks with variation to judge the noise": blocks is None,
        "what varies looks like structure, not noise: the level is an upper bound": blocks and verdict == "unknown",
        f"neighbours are slightly correlated (y {lags[0]:.2f}, x {lags[1]:.2f})": verdict == "white"
        and max(lags) > CORRELATED - _BORDER,
        f"noise of {level:.2g} grey levels is hidden by integer steps": blocks and _is_below_steps(level, dtype),
        f"{look.saturated_share:.1%} of the measurements are saturated": look.saturated_share > 0.001,
        f"{look.missing_share:.1%} of the values are missing": look.missing_share > 0.001,
        f"{look.empty_share:.1%} of the area is empty": look.empty_share > 0.01,
    }
    return tuple(note for note, applies in found.items() if applies)
