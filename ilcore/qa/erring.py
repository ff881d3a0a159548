"""What a tile tells of its own error: the sums from which `ilcore.qa.bounds` makes a bound.

loss        |f - x|^2                                  what nobody knows
estimate    |f - y|^2 - v + 2 v df/dy                  its unbiased estimate, by Stein
variance    4 v |f - y|^2 + 4 tr(v J v J) - 2 v^2      of the one less the other, by Stein's formula once more
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ilcore.degradations.flat_detail import flat_detail
from ilcore.grammar.problem import Noise

#: Length of the probe in noise standard deviations: short enough for restorers whose slope changes with the noise.
PROBE = 0.03

Values = NDArray[Any]


@dataclass(frozen=True)
class Law:
    """Noise of every voxel of a tile, [channel, z, y, x]: std at what was seen, and what is unbiased for its square."""

    std: Values
    unbiased: Values
    weight: Values

    @classmethod
    def of(cls, seen: Values, noise: Sequence[Noise]) -> "Law":
        """Return the noise at observed values."""
        power = np.stack([np.asarray(one.variance(plane), np.float64) for plane, one in zip(seen, noise, strict=True)])
        free = [one.gain * (plane.astype(np.float64) - one.offset) + one.read_std**2 for plane, one in
                zip(seen, noise, strict=True)]  # fmt: skip
        unbiased = np.stack(free)
        weight = np.divide(unbiased, power, out=np.ones_like(power), where=power > 0)
        return cls(np.sqrt(power), unbiased, weight)

    def of_channels(self, numbers: Sequence[int]) -> "Law":
        """Return that of some channels."""
        chosen = list(numbers)
        return Law(self.std[chosen], self.unbiased[chosen], self.weight[chosen])


@dataclass(frozen=True)
class Slope:
    """Sums of one probe over some voxels.

    Args:
        voxels: How many there are.
        mean: Of the noise variance times the restorer's own derivative there.
        square: Of the noise variance times the squared response to a probe of the noise's law.
    """

    voxels: int
    mean: float
    square: float


def moved(seen: Values, law: Law, signs: Values) -> Values:
    """Return what was seen, moved along a probe."""
    return np.asarray(seen + PROBE * law.std * signs, np.float32)


def slope_of(image: Values, other: Values, law: Law, signs: Values, counted: NDArray[np.bool_]) -> Slope:
    """Return the sums of a probe.

    Args:
        image: Restoration of what was seen.
        other: Restoration of what `moved` returned.
        law: Noise of every voxel.
        signs: The probe, -1 or 1; 0 where nothing is data.
        counted: The voxels that count.

    Shape:
        all [channel, z, y, x].

    Reference:
        Ramani, Blu & Unser, TIP 2008, eq. 14; signal-dependent: Le Montagner et al., TIP 2014, eq. 11 (first order).
    """
    response = (other.astype(np.float64) - image) / PROBE
    own = (law.weight * law.std * signs * response)[counted]
    return Slope(int(counted.sum()), float(own.mean()), float((law.std**2 * response**2)[counted].mean()))


def error_sums(
    seen: Values, image: Values, noise: Sequence[Noise], counted: NDArray[np.bool_], slopes: Sequence[Slope]
) -> dict[str, float]:
    """Return the error columns of a tile, in normalised units squared; those of the probe are NaN without one.

    Args:
        seen: What was observed.
        image: Restoration.
        noise: Of each channel.
        counted: The voxels of the tile's core that are data.
        slopes: One over all of them, or two or more over windows of a kind.

    Shape:
        seen, image, counted [channel, z, y, x].

    Reference:
        Bellec & Zhang, "Second-order Stein: SURE for SURE and other applications", Ann. Stat. 2021, eq. 3.2.
    """
    count = max(int(counted.sum()), 1)
    gap = (image.astype(np.float64) - seen) ** 2
    law = Law.of(seen, noise)
    # Read at the restoration, which hardly knows this voxel's own noise: products with the residual are unbiased then.
    variance = np.stack([np.asarray(one.variance(plane), np.float64) for plane, one in zip(image, noise, strict=True)])
    mixed = np.array([(one.gain * one.read_std) ** 2 for one in noise])[:, None, None, None]
    known = (4 * variance * gap - 2 * variance**2 + mixed)[counted].mean() if counted.any() else np.nan
    found = {"err_voxels": float(counted.sum()), "err_noise": _mean(law.unbiased, counted)}
    found |= {"err_excess": _mean(gap - law.unbiased, counted)}
    if not slopes:
        return found
    means, square = np.array([slope.mean for slope in slopes]), float(np.mean([slope.square for slope in slopes]))
    scatter = 2 * max(square - means[0] ** 2, 0) / count if len(slopes) == 1 else float(means.var(ddof=1)) / len(means)
    least = 2 * float((variance**2)[counted].mean()) * 1e-3
    return found | {
        "err_slope": float(means.mean()),
        "err_slope_var": scatter,
        "err_loss_var": max(known + 4 * square, least) / count,
    }


def flat_sums(seen: Values, trusted: NDArray[np.bool_], noise: Sequence[Noise]) -> dict[str, float]:
    """Return the columns of a tile that say how strong the noise is in its flat places; the channels together.

    Shape:
        seen, trusted [channel, z, y, x].
    """
    each = [flat_detail(zip(*pair, strict=True), one) for *pair, one in zip(seen, trusted, noise, strict=True)]
    told = [one for one in each if one.places]
    places = sum(one.places for one in told)
    columns = {"flat_places": float(places)}
    for name in ("diagonal", "rows", "columns", "fourth"):
        values = [one.places * asdict(one)[name] for one in told]
        columns[f"flat_{name}"] = sum(values) / places if places else float("nan")
    return columns


def _mean(values: Values, counted: NDArray[np.bool_]) -> float:
    return float(values[counted].mean()) if counted.any() else float("nan")
