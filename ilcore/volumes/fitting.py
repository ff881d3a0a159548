"""Sources with axes that a volume does not show: of length 1 and left out, or a line without a y."""

from dataclasses import dataclass, replace
from typing import Any

from numpy.typing import NDArray

from ilcore.volumes.axes import LEFT_OUT
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
        asked = dict(zip(shown(self.axes), index, strict=True))
        inner = tuple(slice(0, 1) if axis == LEFT_OUT else asked[axis] for axis in self.axes)
        block = self.source.read(inner)
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
    return Fitted(source, facts.axes), replace(facts, axes=axes, **said)


_ABSENT = (1, 1, 1.0, 0.0, None)


def _spread(values: Any, axes: str, absent: Any) -> Any:
    if values is None:
        return None
    found = dict(zip(axes, values, strict=True))
    return tuple(found.get(axis, absent) for axis in shown(axes))
