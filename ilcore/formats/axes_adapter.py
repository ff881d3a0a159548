"""Sources with axes that a volume does not show: of length 1 and left out, or a line without a y."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ilcore.volumes.axes import LEFT_OUT
from ilcore.volumes.validity import Mask, MaskAround
from ilcore.volumes.volume import Facts, Source


@dataclass(frozen=True)
class Fitted:
    """A source whose axes of length 1 are left out, and whose line is seen as a picture of one row.

    Args:
        source: The source as it is.
        axes: Its axes, `LEFT_OUT` for each that is not shown.
    """

    source: Source
    axes: str

    def read(self, index: tuple[slice, ...]) -> NDArray[Any]:
        return _shaped(self.source.read(_inner(self.axes, index)), index)


@dataclass(frozen=True)
class FittedMask(MaskAround):
    """The same for the mask of a source."""

    mask: Mask
    axes: str

    def read(self, index: tuple[slice, ...]) -> NDArray[np.bool_]:
        return _shaped(self.mask.read(_inner(self.axes, index)), index)


def _inner(axes: str, index: tuple[slice, ...]) -> tuple[slice, ...]:
    asked = dict(zip(shown(axes), index, strict=True))
    return tuple(slice(0, 1) if axis == LEFT_OUT else asked[axis] for axis in axes)


def _shaped(block: NDArray[Any], index: tuple[slice, ...]) -> NDArray[Any]:
    return block.reshape([part.stop - part.start for part in index])


def shown(axes: str) -> str:
    """Return the axes that a volume shows of a source's."""
    kept = axes.replace(LEFT_OUT, "")
    return kept if "y" in kept else "y" + kept


def fitted(source: Source, facts: Facts) -> tuple[Source, Facts]:
    """Return a source and its facts with the axes that a volume shows."""
    axes = shown(facts.axes)
    if axes == facts.axes:
        return source, facts
    own = ("shape", "chunks", "scale", "origin", "units")
    said = {name: _spread(getattr(facts, name), facts.axes, absent) for name, absent in zip(own, _ABSENT, strict=True)}
    mask = None if facts.mask is None else FittedMask(facts.mask, facts.axes)
    return Fitted(source, facts.axes), replace(facts, axes=axes, mask=mask, **said)


_ABSENT = (1, 1, 1.0, 0.0, None)


def _spread(values: Any, axes: str, absent: Any) -> Any:
    if values is None:
        return None
    found = dict(zip(axes, values, strict=True))
    return tuple(found.get(axis, absent) for axis in shown(axes))
