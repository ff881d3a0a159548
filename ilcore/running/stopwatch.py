"""Where the time of a run goes, stage by stage, and how much of it only moves voxels."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

#: Stages in which voxels are read, blended and written, and nothing is learnt or predicted.
MOVING = ("assemble", "coarsen")


@dataclass
class Stopwatch:
    """Wall-clock seconds of each stage of this run."""

    began: float = field(default_factory=time.monotonic)
    stages: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count what happens here to a stage."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.stages[name] = self.stages.get(name, 0.0) + time.monotonic() - began

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.began


def moving_share(stages: Mapping[str, float], moved: float, worked: float) -> float | None:
    """Return the share of a run's time in which voxels were only moved: read, blended, written.

    Args:
        stages: Seconds of each stage.
        moved: Seconds of workers, within the stage "optimise", for reading tiles and writing them to scratch.
        worked: All seconds of workers in that stage.
    """
    total = sum(stages.values())
    if not total or not worked:
        return None
    return (sum(stages.get(name, 0.0) for name in MOVING) + stages.get("optimise", 0.0) * moved / worked) / total
