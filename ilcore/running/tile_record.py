"""What is known of a tile once it is restored: how it came about, and what was measured."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ilcore.grammar.layers import PROVENANCE
from ilcore.qa.bounds import COLUMNS

#: Meaning of the numbers in `status`.
STATUS = ("open", "restored", "fell back", "empty", "failed")
#: Meaning of the numbers in `used`: what a tile's values come from.
USED = ("none", "tile", "volume", "pretrained", "classical", "raw")
#: Meaning of the numbers in `reason`: why its fit ended.
REASONS = ("none", "applied", "budget", "held-out", "diverged", "empty", "memory", "error", "rule")
WORDS: Mapping[str, tuple[str, ...]] = {"status": STATUS, "used": USED, "reason": REASONS}
#: Points kept of a loss curve.
CURVE = 32

_WHOLE = {"status": "u1", "used": "u1", "reason": "u1", "steps": "<i4", "digest": "<u8"}
#: Measure that holds the share of each label of provenance in what a tile owns.
SHARES: Mapping[str, str] = {word: f"share_{word}" for word in PROVENANCE}
MEASURES = (
    "residual_level", "residual_structure", "residual_lag", "contrast_loss", "shift", "flux_change", "clipped", "risk",
    "risk_before", "noise_std", "trusted_share", "seconds", "residual_tails", "spread", *COLUMNS,
    "faint_points", "faint_lines", "object_flux", "radiometry", "band_ratio", "bleeding", "flicker", "ghosts",
    "shown_points", "shown_taken", "shown_kept",
    "consistency", "invented_share",
    *SHARES.values(),
)  # fmt: skip
RECORD = np.dtype([*_WHOLE.items(), *((name, "<f4") for name in MEASURES)])


@dataclass(frozen=True, kw_only=True)
class TileRecord:
    """The record of one tile; a word or measure that the ledger does not know is an error, not a gap.

    Args:
        status: One of `STATUS`.
        used: What its values come from, one of `USED`.
        reason: Why its fit ended, one of `REASONS`.
        steps: Updates made.
        digest: Of what was written to scratch.
        curve: Its losses, (step, loss).
        measures: Numbers by the names in `MEASURES`; what is absent or None is not known.
    """

    status: str
    used: str
    reason: str
    steps: int = 0
    digest: int = 0
    curve: Sequence[tuple[int, float]] = ()
    measures: Mapping[str, float | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, words in WORDS.items():
            if getattr(self, name) not in words:
                raise ValueError(f"{name} of a tile must be one of {', '.join(words)}, got {getattr(self, name)!r}")
        unknown = set(self.measures) - set(MEASURES)
        if unknown:
            raise ValueError(
                f"measures of a tile must be among {', '.join(MEASURES)}, got {', '.join(sorted(unknown))}"
            )

    @classmethod
    def of(cls, *, status: str, used: str, reason: str, **told: Any) -> Self:
        """Return a record with its measures told by name, beside the rest."""
        rest = {name: told.pop(name) for name in ("steps", "digest", "curve") if name in told}
        return cls(status=status, used=used, reason=reason, measures=told, **rest)

    @property
    def packed(self) -> tuple[Any, ...]:
        """The record as the ledger stores it, in the order of `RECORD`."""
        words = [known.index(getattr(self, name)) for name, known in WORDS.items()]
        measures = [math.nan if (value := self.measures.get(name)) is None else value for name in MEASURES]
        return (*words, self.steps, self.digest, *measures)

    @property
    def thinned_curve(self) -> NDArray[np.float32]:
        """Some points of the curve, as many as the ledger keeps, the last ones NaN where there are fewer."""
        kept = np.full((CURVE, 2), np.nan, np.float32)
        if self.curve:
            chosen = np.unique(np.linspace(0, len(self.curve) - 1, min(CURVE, len(self.curve))).astype(int))
            kept[: len(chosen)] = np.asarray(self.curve, np.float32)[chosen]
        return kept
