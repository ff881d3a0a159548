"""Does the judge's verdict agree with the truth it never sees? The shipped denoiser, unadapted, on real data.

    python -m tests.bench.verdicts DATA    fluorescence fields, photographs at noise 5 and 25, planes of two volumes

One line an image: what preflight found, the findings of the middle 256 x 256 pixels, mean squared error before and
after where the truth is known, the verdict. A good judge passes what became better and no other.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from skimage.io import imread

from ilcore.degradations.estimate import preflight
from ilcore.qa.blind import judge_tile
from ilcore.qa.verdict import tile_verdict
from tests.bench.quality import denoise

SIDE = 256
Image = NDArray[np.float32]
#: Name, noisy image, truth or None, type of the source.
Case = tuple[str, Image, Image | None, type]


def cases(data: Path) -> Iterator[Case]:
    """Go through all images."""
    for path in sorted((data / "microscopy/fmd/gt").glob("*.png")):
        noisy = imread(data / f"microscopy/fmd/raw/{path.stem}_1.png")
        yield path.stem, noisy.astype(np.float32), imread(path).astype(np.float32), np.uint8
    rng = np.random.default_rng(0)
    for path in sorted((data / "natural/bsd68").glob("*.png"))[:8]:
        clean = imread(path, as_gray=True).astype(np.float32)
        for std in (5, 25):
            yield f"{path.stem} + {std}", clean + std * rng.standard_normal(clean.shape, np.float32), clean, np.float32
    for name, kind in (("nuclei", np.uint16), ("tomo", np.float32)):
        stack = imread(data / f"volumes/{name}.tif")
        for z in (len(stack) // 3, len(stack) // 2):
            yield f"{name} z {z}", stack[z].astype(np.float32), None, kind


def judged(case: Case) -> str:
    """Return the line of one image."""
    name, noisy, clean, kind = case
    found = preflight([noisy[None]], kind).channels[0]
    low, high = np.percentile(noisy, (0.1, 99.9))
    place = tuple(slice(max(0, n // 2 - SIDE // 2), n // 2 + SIDE // 2) for n in noisy.shape)
    seen = ((noisy[place] - low) / (high - low)).astype(np.float32)
    restored = denoise(seen)
    noise = found.noise.scaled(float(low), float(high))
    numbers = judge_tile(
        seen[None, None], restored[None, None], np.ones((1, 1, *seen.shape), bool), [noise],
        confidence=found.confidence, lags=[(found.lag_y, found.lag_x, found.lag_diag)],
    )  # fmt: skip
    told = " ".join(f"{key} {numbers[key]:.2f}" for key in ("residual_level", "residual_structure", "shift"))
    return f"{name:20s} {found.verdict:9s} {found.confidence:.2f}  {told}  {_errors(seen, restored, clean, place, low, high)}{tile_verdict(numbers)[0]}"  # noqa: E501


def _errors(
    seen: Image, restored: Image, clean: Image | None, place: tuple[slice, ...], low: float, high: float
) -> str:  # fmt: skip
    if clean is None:
        return ""
    truth = (clean[place] - low) / (high - low)
    before, after = (float(np.mean((image - truth) ** 2)) for image in (seen, restored))
    return f"error {before:.5f} -> {after:.5f} {'better' if after < before else 'WORSE'}  "


def main() -> None:
    """Print the table."""
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument("data", type=Path, help="folder with microscopy/, natural/ and volumes/")
    for case in cases(given.parse_args().data):
        print(judged(case), flush=True)


if __name__ == "__main__":
    main()
