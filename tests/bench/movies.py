"""Frames as context, and frames that fade: what each choice gains on one generated movie.

    python -m tests.bench.movies [--frames 24] [--side 96] [--steps 400]

Cells that drift by a fifth of a pixel a frame and bleach to a third of their light; photon counts on an offset of 100.
One row a choice: RMSE over all frames and over the last quarter, in counts, as a share of the noisy movie's.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from ilcore.formats.open import open_volume
from ilcore.planning.make import plan_restoration
from ilcore.running.local import carry_out
from tests.scenes import scene

OFFSET, COUNTS = 100, 80.0
CHOICES: dict[str, dict[str, Any]] = {
    "`nl_ridge`, frame by frame": {"method": "nl_ridge", "depth": "none"},
    "`frame_pairs --depth t`": {"method": "frame_pairs", "depth": "t", "scope": "volume"},
    "`frame_pairs --depth t --per-plane t`": {
        "method": "frame_pairs", "depth": "t", "scope": "volume", "per_plane": "t",
    },
    "the same with two frames more on the far side": {
        "method": "frame_pairs", "depth": "t", "scope": "volume", "per_plane": "t",
        "overrides": {"views.neighbours": 2, "network.reach": 2},
    },
}  # fmt: skip


def made(frames: int, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the movie without noise and with it, [t, y, x]."""
    still = COUNTS * (0.2 + scene("cells", (side, side)).astype(float))
    fading = np.exp(-np.log(3) * np.arange(frames) / (frames - 1))
    drifted = (ndimage.shift(still, (0.2 * t, 0.1 * t), mode="nearest", order=1) for t in range(frames))
    clean = np.stack(list(drifted)) * fading[:, None, None]
    return clean, np.random.default_rng(0).poisson(clean).astype("u2") + np.uint16(OFFSET)


def rmse(values: np.ndarray, clean: np.ndarray) -> float:
    return float(np.sqrt(np.mean((values.astype(float) - OFFSET - clean) ** 2)))


def restored(source: Path, target: Path, wishes: dict[str, Any], steps: int) -> tuple[np.ndarray, str]:
    knobs = dict(wishes.get("overrides", {})) | ({"stop.steps": steps} if wishes["method"] == "frame_pairs" else {})
    plan = plan_restoration(str(source), str(target), axes="tyx", **wishes | {"overrides": knobs})
    verdict = carry_out(plan).verdict
    level = target / "0" if target.exists() else Path(f"{target}.il/staging.ome.zarr/0")
    volume = open_volume(str(level))
    return volume.read(tuple((0, n) for n in volume.shape))[:, 0, 0], verdict


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--side", type=int, default=96)
    parser.add_argument("--steps", type=int, default=400)
    asked = parser.parse_args()
    clean, noisy = made(asked.frames, asked.side)
    last = -(asked.frames // 4)
    before = rmse(noisy, clean), rmse(noisy[last:], clean[last:])
    print(f"noisy: RMSE {before[0]:.2f} counts, last quarter {before[1]:.2f}\n")
    print("| choice | all frames | last quarter | verdict |\n| --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "movie.npy"
        np.save(source, noisy)
        for number, (name, wishes) in enumerate(CHOICES.items()):
            found, verdict = restored(source, Path(folder) / f"{number}.ome.zarr", wishes, asked.steps)
            shares = rmse(found, clean) / before[0], rmse(found[last:], clean[last:]) / before[1]
            print(f"| {name} | {shares[0]:.2f} | {shares[1]:.2f} | {verdict} |", flush=True)


if __name__ == "__main__":
    main()
