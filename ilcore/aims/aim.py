"""An aim: what is asked of a scan, and everything about it that is not the same for every kind of restoration.

factors     by how much the result is finer than its source
operator    what lies between the two: y = A f + noise; none for the identity
choose      the method, from what was found of the scan
raw         what stands where nothing passes
classical   what a method has to beat, and where a tile falls back to
limits      on one tile
provenance  where each voxel of the result comes from
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ilcore.aims.choosing import Choice, Expected
from ilcore.aims.ratios import SAME, Factors
from ilcore.aims.words import Prefer
from ilcore.degradations.estimate import Preflight
from ilcore.degradations.kernels import Psf
from ilcore.grammar.arrays import Tiles
from ilcore.grammar.errors import BadInput
from ilcore.grammar.problem import Operator, Problem
from ilcore.grammar.region import Five
from ilcore.methods.catalogue import METHODS
from ilcore.methods.entry import Entry
from ilcore.qa.verdict import TILE_LIMITS, Limit


class Source(Protocol):
    """What an aim must know of a scan; a volume is one."""

    @property
    def shape(self) -> Five:
        """Return the size, t c z y x."""

    @property
    def scale(self) -> tuple[float, float, float, float, float]:
        """Return the size of a voxel along each axis."""


@dataclass(frozen=True, kw_only=True)
class OperatorOptions:
    """What the user gave of the operator.

    Args:
        psf: The point spread function; None takes the aim's usual one.
        space: Axes of space that a method sees at a time: 2 (y, x) or 3.
    """

    psf: Psf | None = None
    space: int = 2


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What was found of a scan before a method is chosen; names as in `choose`."""

    preflight: Preflight
    has_weights: bool = True
    expected: Sequence[Expected] = ()
    refused: Mapping[str, str] = field(default_factory=dict)
    noise_share: float | None = None
    prefer: Prefer = "balance"
    hours: float | None = None


class Aim(ABC):
    """A kind of restoration; frozen dataclasses derive from it."""

    #: As `--task` has it.
    name: ClassVar[str]
    #: Whether candidates are tried on samples before one is chosen.
    tries_candidates: ClassVar[bool] = False
    #: Checks of a run that mean nothing here.
    unasked: ClassVar[frozenset[str]] = frozenset()
    #: Whether a method is told the noise that was measured, where the user says nothing of it.
    tells_noise: ClassVar[bool] = True

    def factors(self, source: Source) -> Factors:
        """Return by how much the result is finer along z, y and x.

        Raises:
            BadInput: The source cannot become so.
        """
        return SAME

    def operator(self, options: OperatorOptions, source: Source) -> Operator | None:
        """Return what lies between result and source; None for the identity.

        Raises:
            BadInput: What the user gave is no operator for this source.
        """
        if options.psf is not None:
            raise BadInput(f"a point spread function serves aims that undo one, got task {self.name}; leave it out")
        return None

    @abstractmethod
    def choose(self, findings: Findings) -> Choice:
        """Return the method for a scan of which this was found."""

    def raw(self, patch: Problem) -> Tiles:
        """Return what stands if nothing passes, [tile, channel, *field]."""
        return patch.observed

    @abstractmethod
    def classical(self, patch: Problem) -> Tiles:
        """Return what is made without learning, [tile, channel, *field]."""

    def limits(self) -> Mapping[str, Limit]:
        """Return the limits on the findings of one tile."""
        return TILE_LIMITS

    def run_limits(self) -> Mapping[str, Limit]:
        """Return the limits on a run that are other than usual, or of checks that only this aim has."""
        return {}

    @abstractmethod
    def provenance(self, patch: Problem, image: Tensor) -> NDArray[np.uint8]:
        """Return where each voxel of an image comes from, as `ilcore.grammar.layers` has it.

        Shape:
            image [tile, channel, *field] -> the same.
        """

    def invents(self, *, has_gaps: bool) -> bool:
        """Tell whether the result may have voxels that nobody observed.

        Args:
            has_gaps: Whether the source may hold voxels that are no data.
        """
        return False

    def serves(self, entry: Entry) -> bool:
        """Tell whether a method can do this."""
        return self.name in entry.tasks

    def check(self, entry: Entry) -> None:
        """Refuse a method that cannot do this.

        Raises:
            BadInput: Naming those that can.
        """
        if self.serves(entry):
            return
        able = ", ".join(sorted(name for name, one in METHODS.items() if self.serves(one)))
        raise BadInput(
            f"{entry.name} can {' and '.join(sorted(entry.tasks))}, got task {self.name}; methods that can: {able}"
        )


def is_trusted(patch: Problem) -> NDArray[np.bool_]:
    """Return where an observation is data."""
    return np.asarray(patch.weight.cpu().numpy() > 0)


def numbers(image: Tensor) -> NDArray[Any]:
    """Return an image as numbers of numpy."""
    return np.asarray(image.detach().cpu().numpy())
