"""Is light kept: sums over objects, levels, ratios of bands?

    objects   sums over bright connected objects less the background around each, before and after
    levels    mean of what was taken away where the picture is dark, ..., where it is bright
    ratios    the same, of one channel against another

Each number is what is left beyond a few standard errors of the noise.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ilcore.grammar.problem import Noise
from ilcore.qa.faint_plane import halved

Values: TypeAlias = NDArray[Any]

#: A bias counts only beyond so many standard errors.
_SURE = 3.0
#: An object is brighter than the median by this part of the way to the brightest, and by so many noise std.
_BRIGHT, _BRIGHTEST, _OVER_NOISE = 0.3, 0.998, 2.0
#: Pixels of the smallest object, and part of a plane that the largest may cover.
_SMALLEST, _LARGEST = 5, 0.1
#: Sides of the boxes that grow an object to its aperture, to the inner edge of its ring, to the outer edge.
_APERTURE, _INNER, _OUTER = 5, 7, 13
#: Least share of a ring that must be free of other objects.
_FREE = 0.3
#: Classes of levels, and the side (pixels) of the box whose mean tells a level: kept noise must not choose the class.
_CLASSES, _BOX = 6, 11
#: Pixels that tell a median or a quantile well enough.
_ENOUGH = 10_000
#: Levels below this part of the value range have no ratio.
_DARK = 0.1


@dataclass(frozen=True)
class Light:
    """What was taken away from one channel, what was restored, the noise variance, the weight, all [z, y, x].

    Args:
        taken: Residual, 0 where nothing is known.
        picture: Restored picture.
        variance: Of the noise.
        weight: 1 where something is known, else 0.
        zero: Level of no light.
        inflation: Factor on the standard error of a mean over many pixels: neighbours may share noise.
    """

    taken: Values
    picture: Values
    variance: Values
    weight: Values
    zero: float
    inflation: float

    @cached_property
    def level(self) -> Values:
        """Return the level around every pixel."""
        return np.asarray(ndimage.uniform_filter(self.picture, (1, _BOX, _BOX)))

    @classmethod
    def of(
        cls, noisy: Values, restored: Values, trusted: NDArray[np.bool_], noise: Noise, zero: float = 0.0
    ) -> "Light":
        """Return what one channel holds."""
        picture = np.nan_to_num(restored.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
        taken = np.where(trusted, noisy - picture, 0).astype(np.float32)
        variance = np.broadcast_to(np.asarray(noise.variance(picture), np.float32), picture.shape)
        # An estimate may be too small; the typical residual is believed then.
        some = taken[trusted]
        typical = float(np.median(np.abs(some[:: max(1, some.size // _ENOUGH)]))) / 0.6745
        variance = np.maximum(variance, typical**2) * trusted
        along = [(1 + lag) / (1 - lag) for lag in np.clip(noise.lags, 0.0, 0.9)]
        spread = float(np.sqrt(np.prod(along))) if noise.correlation != "white" else 1.0
        return cls(taken, picture, variance, trusted.astype(np.float32), zero, spread)


def photometry(lights: Sequence[Light]) -> dict[str, float]:
    """Return how far sums, levels and ratios moved; what cannot be measured is absent.

    Args:
        lights: One for each channel.

    Returns:
        object_flux: relative change of the sum over objects; 0.05: they lost a twentieth of their light.
        radiometry: largest change of a level, in parts of the value range.
        band_ratio: largest relative change of the ratio of two channels, over levels.

    Reference:
        Howell, "Two-dimensional aperture photometry", PASP 1989: sums less the local sky, with their errors.
    """
    found: dict[str, float] = {}
    fluxes = [flux for light in lights if (flux := object_flux(light)) is not None]
    if fluxes:
        found["object_flux"] = max(fluxes, key=abs)
    classes = level_classes(lights)
    levels = [value for light in lights for value in level_changes(light, classes)]
    if levels:
        found["radiometry"] = max(levels, key=abs)
    ratios = [value for pair in combinations(lights, 2) for value in ratio_changes(*pair, classes)]
    if ratios:
        found["band_ratio"] = max(ratios, key=abs)
    return found


def object_flux(light: Light) -> float | None:
    """Return the relative change of the sum over all objects of a channel; None where there is none."""
    sums = np.zeros(3)
    for z in range(len(light.picture)):
        sums += _sums(*(values[z] for values in (light.taken, light.picture, light.variance, light.weight)))
    lost, flux, variance = sums
    if flux <= 0:
        return None
    return beyond(lost / flux, light.inflation * float(np.sqrt(variance)) / flux)


def beyond(value: float, error: float) -> float:
    """Return a value less what its error may make of it."""
    return float(np.sign(value) * max(abs(value) - _SURE * error, 0.0))


def level_classes(lights: Sequence[Light]) -> Values:
    """Return the class of every pixel by its level over all channels; -1 where nothing is known.

    Shape:
        [z, y, x].
    """
    known = np.logical_and.reduce([light.weight > 0 for light in lights])
    level = np.mean([light.level for light in lights], axis=0)
    if not known.any():
        return np.full(level.shape, -1)
    some = level[known]
    low, high = np.quantile(some[:: max(1, some.size // _ENOUGH)], (0.01, 0.99))
    steps = np.linspace(low, high, _CLASSES + 1)[1:-1]
    return np.where(known, np.searchsorted(steps, level), -1)


def level_changes(light: Light, classes: Values) -> list[float]:
    """Return by how much each class of levels changed, beyond its error."""
    changes, errors, _, some = _by_class(light, classes)
    return [beyond(float(change), float(error)) for change, error in zip(changes[some], errors[some], strict=True)]


def ratio_changes(one: Light, two: Light, classes: Values) -> list[float]:
    """Return by which share the ratio of two channels changed in each class of levels, beyond its error."""
    parts = []
    for light in (one, two):
        changes, errors, levels, some = _by_class(light, classes)
        above = levels - light.zero
        lit = some & (above > _DARK)
        parts.append((changes / np.where(lit, above, 1), errors / np.where(lit, above, 1), lit))
    (change, error, lit), (other, doubt, shines) = parts
    both = zip((change - other)[lit & shines], np.hypot(error, doubt)[lit & shines], strict=True)
    return [beyond(float(value), float(wrong)) for value, wrong in both]


def _by_class(light: Light, classes: Values) -> tuple[Values, Values, Values, NDArray[np.bool_]]:
    """Return for each class the mean residual, its error, the mean level, and whether there is enough of it."""
    chosen = classes.ravel() + 1

    def sums(values: Values) -> Values:
        return np.bincount(chosen, values.ravel(), _CLASSES + 1)[1:]

    count = sums(light.weight)
    some, most = count >= 200, np.maximum(count, 1)
    changes, levels = sums(light.taken) / most, sums(light.picture * light.weight) / most
    errors = light.inflation * np.sqrt(sums(light.variance)) / most
    return changes, errors + _chosen_by_noise(light, levels) / _SURE, levels, some


def _chosen_by_noise(light: Light, levels: Values) -> Values:
    """Return what kept noise alone can make of the mean residual of a class: a share k of it gives k (1 - k)."""
    inside = light.weight > 0
    noise = light.inflation**2 * float(light.variance[inside].mean()) / _BOX**2
    level = light.level[inside]
    return np.asarray(noise / 4 / max(float(level.var()), 1e-12) * np.abs(levels - float(level.mean())))


def _sums(taken: Values, picture: Values, variance: Values, weight: Values) -> Values:
    """Return light lost, light, and variance of the loss, summed over the objects of a plane."""
    labels = _objects(picture, variance, weight)
    count = int(labels.max(initial=0))
    if not count:
        return np.zeros(3)
    aperture, inner, outer = (ndimage.maximum_filter(labels, side) for side in (_APERTURE, _INNER, _OUTER))
    aperture, ring = np.where(weight > 0, aperture, 0), np.where((weight > 0) & (inner == 0), outer, 0)

    def sums(where: Values, values: Values) -> Values:
        return np.bincount(where.ravel(), values.ravel(), count + 1)[1:]

    area, around = sums(aperture, weight), sums(ring, weight)
    good = (around > _FREE * area) & (area > 0)
    scale = np.where(good, area / np.maximum(around, 1), 0)
    lost, flux = (sums(aperture, values) - scale * sums(ring, values) for values in (taken, picture))
    spread = sums(aperture, variance) + scale**2 * sums(ring, variance)
    good &= flux > 0
    return np.array([lost[good].sum(), flux[good].sum(), spread[good].sum()])


def _objects(picture: Values, variance: Values, weight: Values) -> Values:
    """Return the bright objects of a plane, numbered from 1."""
    known = weight > 0
    if known.sum() < 100:
        return np.zeros(picture.shape, int)
    smooth = halved(halved(picture))
    ground, top = np.quantile(smooth[known], (0.5, _BRIGHTEST))
    noise = float(np.sqrt(variance[known].mean()))
    level = ground + max(_BRIGHT * (top - ground), _OVER_NOISE * noise)
    labels, count = ndimage.label((smooth > level) & known)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    fit = (sizes >= _SMALLEST) & (sizes <= _LARGEST * picture.size)
    fit[0] = False
    return np.asarray((np.cumsum(fit) * fit)[labels])
