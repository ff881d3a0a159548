"""What was measured of one method on one image, and the file in which scores are kept as they come."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from ilcore.benchmark.lines import Lines


@dataclass(frozen=True, kw_only=True)
class Score:
    """One line of the benchmark.

    Args:
        key: What was asked, as a hash: method, image and settings.
        method: As it was named, with scope and knobs.
        set: Name of the set.
        image: Name of the image in it.
        psnr: In dB, peak 1, on the result clipped to [0, 1].
        ssim: `ilcore.qa.truth.ssim`, mean over channels.
        risk: Mean squared error as the method itself estimated it, in the same units; None where it does not.
        mse: True mean squared error, unclipped, in the same units.
        seconds_per_megapixel: Wall time, from array to array.
        peak_memory_mb: Largest resident memory of the process while it worked.
        steps: Updates made.
        stop_reason: Why it ended, in the method's own words.
        refused: Why there is no result; None where there is one.
        setting: What differs from the published setting, such as "3 steps, crop 64"; empty where nothing does.
        is_final: False where it failed for a reason that another attempt may not meet.
    """

    key: str
    method: str
    set: str
    image: str
    psnr: float | None = None
    ssim: float | None = None
    risk: float | None = None
    mse: float | None = None
    seconds_per_megapixel: float | None = None
    peak_memory_mb: float | None = None
    steps: int | None = None
    stop_reason: str | None = None
    refused: str | None = None
    setting: str = ""
    is_final: bool = True


def key_of(asked: Mapping[str, Any]) -> str:
    """Return a hash of what was asked; the same request has the same key in every process."""
    return hashlib.sha256(json.dumps(asked, sort_keys=True, default=str).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class ScoreFile:
    """Scores as JSON lines, each on disk before the next image is begun: a kill loses at most one image."""

    path: Path

    def add(self, score: Score) -> None:
        """Append one score."""
        Lines(self.path).add(asdict(score))

    def scores(self) -> dict[str, Score]:
        """Return the last score of every key; lines that were cut short are skipped."""
        return {score.key: score for score in self._lines()}

    def done(self) -> set[str]:
        """Return the keys that need not be measured again."""
        return {key for key, score in self.scores().items() if score.is_final}

    def _lines(self) -> Iterator[Score]:
        names = {field.name for field in fields(Score)}
        for found in Lines(self.path).read():
            if {"key", "method", "set", "image"} <= set(found):
                yield Score(**{name: value for name, value in found.items() if name in names})
