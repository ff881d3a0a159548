"""Parts around other parts: what the one inside offers, the one outside offers too."""

from abc import abstractmethod
from collections.abc import Iterator

from ilcore.grammar.capability import Capability, missing
from ilcore.grammar.problem import Problem
from ilcore.grammar.recipe import Recipe
from ilcore.grammar.slots import Network, Part, Views

_NOTHING: frozenset[Capability] = frozenset()


class Wrapper(Part):
    """A part around another of the same slot."""

    @property
    @abstractmethod
    def wrapped(self) -> Part:
        """Return the part inside."""

    @property
    def adds(self) -> frozenset[Capability]:
        """Return what it offers that the part inside does not."""
        return _NOTHING

    @property
    def takes_away(self) -> frozenset[Capability]:
        """Return what the part inside offers and it does not."""
        return _NOTHING

    @property
    def asks(self) -> frozenset[Capability]:
        """Return what the part inside must offer."""
        return _NOTHING

    @property
    def offers(self) -> frozenset[Capability]:
        return (self.wrapped.offers - self.takes_away) | self.adds

    @property
    def requires(self) -> frozenset[Capability]:
        return _NOTHING

    def complaints(self, recipe: Recipe, problem: Problem) -> Iterator[str]:
        yield from missing(self, self.asks, self.wrapped.offers, self.wrapped)


class WrappedNetwork(Wrapper, Network):
    """A network around another."""

    inner: Network

    @property
    def wrapped(self) -> Network:
        return self.inner

    def halo(self, space: int) -> tuple[int, ...]:
        return self.inner.halo(space)

    def align(self, space: int) -> tuple[int, ...]:
        return self.inner.align(space)


class WrappedViews(Wrapper, Views):
    """Views around others."""

    @property
    @abstractmethod
    def wrapped(self) -> Views:
        """Return the views inside."""

    def input_channels(self, problem: Problem) -> int:
        return self.wrapped.input_channels(problem)
