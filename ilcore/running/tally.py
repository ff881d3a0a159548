"""What the workers did in one sitting of a run."""

from dataclasses import dataclass

from ilcore.running.tile import UnitReport


@dataclass(frozen=True, kw_only=True)
class Tally:
    """What the workers did in this run; tiles that an earlier run finished are not counted."""

    tiles: int = 0
    fell_back: int = 0
    failed: int = 0
    voxels: int = 0
    seconds: float = 0.0
    moving: float = 0.0

    def plus(self, report: UnitReport) -> "Tally":
        """Return the tally with one more unit."""
        return Tally(
            tiles=self.tiles + report.tiles,
            fell_back=self.fell_back + report.fell_back,
            failed=self.failed + report.failed,
            voxels=self.voxels + report.voxels,
            seconds=self.seconds + report.seconds,
            moving=self.moving + report.moving,
        )
