"""Which voxels are data: marks, a valid range, a mask; and how new values stay what they are, data."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ilcore.volumes.marks import Mark


class Mask(ABC):
    """Where there are voxels, in the axes of the source that it belongs to. Picklable."""

    @property
    def has_holes(self) -> bool:
        """Tell whether it hides anything, as far as can be told without reading it: who wrote it had a reason."""
        return True

    @property
    def remark(self) -> str | None:
        """Tell of what is not there; None where there is nothing to tell."""
        return None

    @abstractmethod
    def read(self, index: tuple[slice, ...]) -> NDArray[np.bool_]:
        """Return True where a voxel is data."""


class MaskAround(Mask):
    """A mask that shows another one in other axes or from another place on."""

    mask: Mask

    @property
    def has_holes(self) -> bool:
        return self.mask.has_holes

    @property
    def remark(self) -> str | None:
        return self.mask.remark


class MaskOfMany(Mask):
    """A mask made of several."""

    masks: tuple[Mask, ...]

    @property
    def has_holes(self) -> bool:
        return any(mask.has_holes for mask in self.masks)

    @property
    def remark(self) -> str | None:
        return "; ".join(mask.remark for mask in self.masks if mask.remark) or None


@dataclass(frozen=True)
class Validity:
    """What stored values are data, going by the values alone; NaN and infinities never are.

    Args:
        marks: Values that mean "no data".
        low: Least valid value; None for any.
        high: Largest valid value; None for any.
    """

    marks: tuple[Mark, ...] = ()
    low: Mark | None = None
    high: Mark | None = None

    def holds(self, values: NDArray[Any]) -> NDArray[np.bool_]:
        """Return where stored values are data."""
        found = np.isfinite(values) if values.dtype.kind == "f" else np.ones(values.shape, np.bool_)
        for mark in self.marks:
            found &= values != mark
        if self.low is not None:
            found &= values >= self.low
        if self.high is not None:
            found &= values <= self.high
        return found

    def kept_valid(self, values: NDArray[Any], wanted: NDArray[np.float64]) -> NDArray[Any]:
        """Return new values as data: into the valid range, and off every mark to the nearest value that is none.

        Args:
            values: Of the type of the voxels; all of them are meant as data.
            wanted: The same before they were rounded, which decides the side.
        """
        if self == Validity():
            return values
        low, high = _ends(values.dtype, self)
        inside = np.clip(values, low, high).astype(values.dtype)
        kept = inside
        for mark in self.marks:
            met = inside == mark
            if met.any():
                below, above = _beside(mark, -1, inside.dtype, self), _beside(mark, 1, inside.dtype, self)
                kept = np.where(met, _nearer(wanted, mark, below, above), kept)
        return kept.astype(values.dtype)


def _ends(dtype: np.dtype[Any], rule: Validity) -> tuple[Mark, Mark]:
    info: Any = np.iinfo(dtype) if dtype.kind in "iu" else None
    least, most = (int(info.min), int(info.max)) if info else (-np.inf, np.inf)
    low, high = least if rule.low is None else rule.low, most if rule.high is None else rule.high
    return max(low, least), min(high, most)


def _beside(mark: Mark, step: int, dtype: np.dtype[Any], rule: Validity) -> Mark | None:
    """Return the next value up or down that is data; None where there is none."""
    low, high = _ends(dtype, rule)
    value: Mark = mark
    while low <= value <= high and value in rule.marks:
        value = (
            int(value) + step
            if dtype.kind in "iu"
            else float(np.nextafter(dtype.type(value), dtype.type(step * np.inf)))
        )
    return value if low <= value <= high and np.isfinite(value) else None


def _nearer(wanted: NDArray[np.float64], mark: Mark, below: Mark | None, above: Mark | None) -> Any:
    if below is None or above is None:
        return mark if below is None and above is None else (above if below is None else below)
    return np.where(wanted < mark, below, above)


def data_in(values: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[Any]:
    """Return values with NaN where they are no data; whole numbers become floating ones only where that is needed."""
    if valid.all():
        return values
    kind = values.dtype if values.dtype.kind == "f" else np.dtype(np.float64)
    return np.where(valid, values, np.nan).astype(kind)


@dataclass(frozen=True)
class MovedMask(MaskAround):
    """The mask of a part that begins at `starts`."""

    mask: Mask
    starts: tuple[int, ...]

    def read(self, index: tuple[slice, ...]) -> NDArray[np.bool_]:
        moved = [slice(part.start + by, part.stop + by) for part, by in zip(index, self.starts, strict=True)]
        return self.mask.read(tuple(moved))


@dataclass(frozen=True)
class BothMasks(MaskOfMany):
    """What every one of several masks shows."""

    masks: tuple[Mask, ...]

    def read(self, index: tuple[slice, ...]) -> NDArray[np.bool_]:
        return np.logical_and.reduce([mask.read(index) for mask in self.masks])


@dataclass(frozen=True)
class StackedMask(MaskOfMany):
    """The masks of sources that are the channels of one, which come first."""

    masks: tuple[Mask, ...]

    def read(self, index: tuple[slice, ...]) -> NDArray[np.bool_]:
        return np.stack([mask.read(index[1:]) for mask in self.masks[index[0]]])


def all_of(masks: Sequence[Mask | None]) -> Mask | None:
    """Return one mask for several; None where there is none."""
    held = tuple(mask for mask in masks if mask is not None)
    return held[0] if len(held) == 1 else BothMasks(held) if held else None
