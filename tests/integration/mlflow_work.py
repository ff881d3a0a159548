"""One of several flows that record at once; run by test_mlflow_server.py."""

import sys

from tasks.tracking.client import DEGRADED, NIGHT, Sheet, Tracker, VolumeRun


def main(uri: str, number: str) -> None:
    tracker = Tracker(uri)
    for scan in range(3):
        volume = VolumeRun(
            name=f"flow{number}-scan{scan}", source="s", target=f"t{number}-{scan}", fingerprint=f"f{number}-{scan}",
            digest="d",
        )  # fmt: skip
        run_id = tracker.begin(volume, Sheet(params={"method": "nlm"}, tags={NIGHT: "week 1", DEGRADED: "no"}))
        curve = [(step, 1 / (step + 1)) for step in range(1500)]
        rows = [{"tile": str(tile), "risk": 0.1 * tile} for tile in range(50)]
        tracker.note(run_id, Sheet(curves={"loss": curve}, tables={"tiles/tiles.json": rows}))
        tracker.end(run_id, "FINISHED")


if __name__ == "__main__":
    main(*sys.argv[1:])
