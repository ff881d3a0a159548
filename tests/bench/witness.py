"""What the noise estimate says of labelled images, and what the witnesses beside it say.

    python -m tests.bench.witness [--draws 8] [CLASS ...]

Levels are standard deviations in grey levels. `detail` is the level in the finest detail alone, `preflight` what it
becomes with the witnesses of `ilcore/degradations/witness.py`, `second` what a blind denoiser leaves of it.
"""

import argparse

import numpy as np

from ilcore.benchmark.labelled import CLASSES, labelled
from ilcore.degradations.blocks import smooth_blocks
from ilcore.degradations.estimate import preflight
from ilcore.degradations.levels import smooth_half_mad
from ilcore.degradations.planes import Plane
from ilcore.degradations.wavelets import diagonal_detail
from ilcore.degradations.witness import has_block_grid
from ilcore.restoring.second_opinion import with_second_opinion


def row(label, draw):
    """Return the row of one labelled image."""
    case = labelled(label, draw)
    image = case.seen.astype(np.float64)
    plane = Plane(image, np.ones(image.shape, bool))
    blocks = smooth_blocks([plane], [diagonal_detail(image)])
    found = preflight([image[None, None]], case.seen.dtype)
    first, second = found.channels[0], with_second_opinion(found, [image[None, None]]).channels[0]
    shape = f"{blocks.kurtosis:.2f} | {blocks.skewness:+.2f}" if blocks else "- | -"
    levels = " | ".join(f"{each:.4g}" for each in (_true(case), smooth_half_mad(image), first.level, second.level))
    return f"| {label} {draw} | {first.verdict} | {levels} | {shape} | {'yes' if has_block_grid([plane]) else ''} |"


def _true(case):
    return float(np.sqrt(np.mean((case.seen - case.truth) ** 2)))


def main():
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("classes", nargs="*", metavar="CLASS")
    asked.add_argument("--draws", type=int, default=8)
    told = asked.parse_args()
    print("| image | verdict | true | detail | preflight | second | kurtosis | skewness | coder's blocks |")
    print("|" + " --- |" * 9)
    for label in told.classes or CLASSES:
        for draw in range(told.draws):
            print(row(label, draw), flush=True)


if __name__ == "__main__":
    main()
