"""What the noise estimate says of labelled images, and what the witnesses beside it say.

    python -m tests.bench.witness [--draws 8] [CLASS ...]

Levels are standard deviations in grey levels: `detail` in the finest detail alone, `preflight` with the witnesses of
`ilcore/degradations/witness.py`, `second` after a blind denoiser's opinion. `flatness` is that of the floor,
`blocks` how far steps at every eighth pixel stand out, `taken` the share of preflight's noise that the
blind denoiser takes away, `tails` those of what it takes from the middle of the image.
"""

import argparse

import numpy as np

from ilcore.adapting.weights import PHOTOS
from ilcore.aims.choosing import CANDIDATES
from ilcore.benchmark.labelled import CLASSES, labelled
from ilcore.degradations.blocks import smooth_blocks
from ilcore.degradations.estimate import preflight
from ilcore.degradations.levels import smooth_half_mad
from ilcore.degradations.planes import Plane
from ilcore.degradations.wavelets import diagonal_detail
from ilcore.degradations.witness import floor_of, grid_strength
from ilcore.planning.array_scale import ArrayChannel
from ilcore.planning.known import range_of
from ilcore.planning.probing import Trial, problems_of
from ilcore.planning.second_opinion import share_taken, with_second_opinion
from ilcore.qa.likeness import inside_limits, likeness


def row(label, draw):
    """Return the row of one labelled image."""
    case = labelled(label, draw)
    image = case.seen.astype(np.float64)
    plane = Plane(image, np.ones(image.shape, bool))
    blocks, floor = smooth_blocks([plane], [diagonal_detail(image)]), floor_of([plane])
    found = preflight([image[None, None]], case.seen.dtype)
    first, second = found.channels[0], with_second_opinion(found, [image[None, None]]).channels[0]
    levels = [f"{each:.4g}" for each in (_true(case), smooth_half_mad(image), first.level, second.level)]
    shape = [f"{blocks.kurtosis:.2f}", f"{blocks.skewness:+.2f}"] if blocks else ["-", "-"]
    cells = [first.verdict, *levels, *shape, f"{floor.flatness:.2f}", f"{grid_strength([plane]):.1f}"]
    return " | ".join(["| " + f"{label} {draw}", *cells, *_blind(image, first.noise)]) + " |"


def _blind(image, noise):
    """Return the share of the noise that the blind denoiser takes away, and the tails of that."""
    _, low, high, _ = range_of(image.ravel())
    noise = noise.scaled(low, high)
    if not noise.read_std and not noise.gain:
        return "-", "-"
    taken = share_taken(noise, (low, high), [image[None, None]])
    channel = ArrayChannel(low, high, is_flat=False, noise=noise)
    (problem,) = problems_of([image[None, None]], [channel], 2)
    seen, restored = (
        each[0, 0].double().numpy()
        for each in (problem.observed, Trial(CANDIDATES["photographs"], PHOTOS, 0).restored(problem))
    )
    std = np.sqrt(np.maximum(noise.variance(restored), 1e-12))
    found = likeness(seen - restored, std, inside_limits(seen, np.isfinite(seen), noise))
    return "-" if taken is None else f"{taken:.2f}", f"{found.tails:.2f}" if found else "-"


def _true(case):
    return float(np.sqrt(np.mean((case.seen - case.truth) ** 2)))


def main():
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("classes", nargs="*", metavar="CLASS")
    asked.add_argument("--draws", type=int, default=8)
    told = asked.parse_args()
    names = ["image", "verdict", "true", "detail", "preflight", "second"]
    names += ["kurtosis", "skewness", "flatness", "blocks", "taken", "tails"]
    print(f"| {' | '.join(names)} |\n|" + " --- |" * len(names))
    for label in told.classes or CLASSES:
        for draw in range(told.draws):
            print(row(label, draw), flush=True)


if __name__ == "__main__":
    main()
