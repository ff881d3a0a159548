"""Why a fit ended: a kind to decide by, and words to read."""

from dataclasses import dataclass
from typing import Literal

#: budget    all steps were made
#: held-out  the risk on held-out pixels has not fallen any more
#: rule      another rule of the method was met
#: applied   nothing was learnt: a formula, or weights as they are
#: diverged  the finite numbers were left
StopKind = Literal["budget", "held-out", "rule", "applied", "diverged"]


@dataclass(frozen=True)
class StopReason:
    """Why a fit ended; prints as its words.

    Args:
        kind: What is decided by.
        words: One clause for people.
    """

    kind: StopKind
    words: str

    @classmethod
    def budget(cls, steps: int) -> "StopReason":
        """Say that all steps were made."""
        return cls("budget", f"budget of {steps} steps")

    @classmethod
    def applied(cls, words: str) -> "StopReason":
        """Say that nothing was learnt, and what was done instead."""
        return cls("applied", words)

    @property
    def has_diverged(self) -> bool:
        """Tell whether there is no result to judge."""
        return self.kind == "diverged"

    def __str__(self) -> str:
        return self.words
