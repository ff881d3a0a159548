"""Every error the library raises on purpose.

    ILError                    exit 1
    ├── BadInput               exit 2   what was asked cannot be done as asked
    │   ├── BadVolume                   the source is not a volume we can read
    │   ├── BadPlan                     the plan file or its values are wrong
    │   ├── RecipeError                 the parts of a method do not fit together or the problem
    │   ├── MissingKnowledge            the method needs something nobody supplied
    │   ├── UnknownMethod               no such name in the catalogue
    │   ├── BadWeights                  weights missing, of another shape or another hash
    │   └── TilingError                 core, overlap, halo or alignment make no grid
    ├── DivergedError          exit 1   an optimisation left the finite numbers
    ├── CorruptData            exit 1   stored bytes are not what was written
    └── OutsideError           exit 1   a fault of the surroundings: the same work is tried again later
        ├── Busy                        somebody else works on this destination
        ├── DeviceError                 a computation failed on a device that is there, and not for want of memory
        ├── StoreError                  an object store does not answer, or refuses us
        ├── DestinationError            the result cannot be written there
        ├── TrackingError               MLflow does not answer, or does not take what it is given
        └── ClusterError                no scheduler, no workers, or none any more
            └── WorkerDied              a unit of work ended the worker that it was given to

A message says what was wanted; what was got; what to do.
"""

from ilcore.grammar.plain_text import plain


class ILError(Exception):
    """Anything the library refuses or fails at, with the exit code of the command line."""

    exit_code = 1

    def __str__(self) -> str:
        # A sentence repeats names out of files, and is read on terminals and in logs.
        return plain(super().__str__())


class BadInput(ILError):
    """The request itself is wrong."""

    exit_code = 2


class BadVolume(BadInput):
    """The source is missing or is not a volume."""


class BadPlan(BadInput):
    """A plan that cannot be carried out."""


class RecipeError(BadInput):
    """A recipe whose parts contradict each other or the problem."""


class MissingKnowledge(BadInput):
    """A method was asked to work without something it needs."""


class UnknownMethod(BadInput):
    """A name that the catalogue does not hold."""


class BadWeights(BadInput):
    """Weights that are absent, altered or of the wrong shape."""


class TilingError(BadInput):
    """A grid that cannot exist."""


class OutsideError(ILError):
    """A fault of the surroundings, not of what was asked: the same work is tried again later."""


class Busy(OutsideError):
    """The destination is being written by another run."""


class DivergedError(ILError):
    """An optimisation produced values that are not finite."""


class DeviceError(OutsideError):
    """A computation that failed on a device, and not for want of memory."""


class CorruptData(ILError):
    """Stored bytes fail their check."""


class StoreError(OutsideError):
    """An object store does not answer, or refuses us."""


class DestinationError(OutsideError):
    """The destination cannot take the result."""


class TrackingError(OutsideError):
    """MLflow does not answer, or does not take what it is given."""


class ClusterError(OutsideError):
    """There is no scheduler or no worker, or none any more."""


class WorkerDied(ClusterError):
    """A unit of work ended the worker that it was given to."""
