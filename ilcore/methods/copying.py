"""The method that changes nothing: for labels and masks that travel with the images of an archive."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

from ilcore.grammar.arrays import Streams, Weights
from ilcore.grammar.problem import Problem
from ilcore.grammar.recipe import DirectMethod
from ilcore.grammar.step_context import Restoration
from ilcore.grammar.stop_reason import StopReason
from ilcore.methods.entry import Entry


@final
@dataclass(frozen=True, kw_only=True)
class Copy(DirectMethod):
    """Everything as it is."""

    def own_complaints(self, problem: Problem) -> Iterator[str]:
        yield from ()

    def halo(self, space: int) -> tuple[int, ...]:
        return (0,) * space

    def restore(self, problem: Problem, streams: Streams, *, start: Weights | None = None) -> Restoration:
        count = len(streams)
        return Restoration(image=problem.observed, steps=(0,) * count, stopped=(StopReason.applied("copied"),) * count)


ENTRY = Entry(
    name="copy",
    method=Copy(),
    summary="nothing: passes everything through unchanged",
    question="none",
    when="For labels, masks and pictures of a palette that shall lie beside restored images.",
    reference="none",
    cost=0,
    tasks=frozenset({"copy"}),
    scopes=frozenset({"tile"}),
)
