"""What restorers make of noise alone: where the limits of the null test in `ilcore/qa/verdict.py` come from.

    python -m tests.bench.null [--methods NAME ...] [--seeds N] [--side N] [--device cuda]
    python -m tests.bench.null --cost [--methods NAME ...]      # what a small tile costs beside its voxels

Good restorers under the noise they cope with, and bad ones: smoothing over about a pixel, whose grain looks like worms,
a denoiser told a third of the noise, one that is sharpened afterwards, one that invents an object, one that does
nothing.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from ilcore import fit
from ilcore.adapting.weights import PHOTOS, SHIPPED, load_denoiser
from ilcore.grammar.arrays import Streams
from ilcore.grammar.draws import noise_on
from ilcore.grammar.problem import Noise, Problem
from ilcore.methods.catalogue import find
from ilcore.methods.entry import Entry, configure
from ilcore.qa.null import law_of, null_numbers

LEVELS = (0.1, 0.4, 0.8)
LAWS = {
    "white 0.02": Noise(read_std=0.02),
    "white 0.1": Noise(read_std=0.1),
    "white 0.2": Noise(read_std=0.2),
    "counts 200": Noise(gain=0.005, read_std=0.005),
    "counts 50": Noise(gain=0.02, read_std=0.01),
    "counts 10": Noise(gain=0.1, read_std=0.002),
    "row 0.5": Noise(read_std=0.05, correlation="row", lags=(0.0, 0.5)),
    "row 0.78": Noise(read_std=0.1, correlation="row", lags=(0.0, 0.78)),
    "isotropic 0.3": Noise(read_std=0.05, correlation="isotropic", lags=(0.3, 0.3)),
    "isotropic 0.6": Noise(read_std=0.1, correlation="isotropic", lags=(0.6, 0.6)),
    "isotropic 0.8": Noise(read_std=0.1, correlation="isotropic", lags=(0.8, 0.8)),
}
#: Those that take seconds.
QUICK = ("adapted", "photographs", "nlm", "tv", "wavelet", "nl_ridge", "nl_ridge stabilised")

Field = NDArray[np.float64]


class Fields:
    """Noise on three levels, as the null test of a run draws it."""

    def __init__(self, law: str, seed: int, side: int = 64, device: str = "cpu") -> None:
        self.noise, self.device, self.levels = LAWS[law], device, np.array(LEVELS)
        flat = torch.tensor(LEVELS)[:, None, None, None].expand(-1, 1, side, side)
        self.tiles = noise_on(flat, [self.noise], self.streams(seed, "null test")).float()
        self.seen = self.tiles.double().numpy()
        self.stds = np.sqrt(self.noise.variance(self.levels))

    def streams(self, seed: int, name: str) -> Streams:
        return Streams.of(seed, name, [(n,) for n in range(len(LEVELS))])

    def through(self, name: str, told: Noise | None = None) -> Field:
        """Return what a method makes of them, told their noise or another."""
        entry, weights = entry_of(name)
        problem = Problem(observed=self.tiles.to(self.device), noise=(told or self.noise,), value_range=(-0.1, 1.1))
        streams = self.streams(0, name)
        if weights is not None:
            image = fit.predict(entry.method, problem, weights, streams)
        else:
            strategy = "grouped" if self.device != "cpu" else "sequential"
            image = fit.restore(entry.method, problem, streams, strategy=strategy).image
        return image.detach().double().cpu().numpy()

    def numbers(self, restored: Field) -> dict[str, float]:
        return null_numbers(self.seen, restored, self.levels, self.stds)


def entry_of(name: str) -> tuple[Entry, fit.Weights | None]:
    """Return a configured method, and its weights where it is applied as it is."""
    word, *knobs = name.split()
    if word in ("adapted", "photographs"):
        network, weights = load_denoiser(SHIPPED if word == "adapted" else PHOTOS)
        return find("adapted").with_network(network), weights
    overrides = {"stabilise": True} if "stabilised" in knobs else {"stop": "vote"} if "vote" in knobs else {}
    return configure(find(word), overrides), None


def smoothed(width: float) -> Callable[[Fields], Field]:
    return lambda fields: ndimage.gaussian_filter(fields.seen, (0, 0, width, width))


def told_a_third(name: str) -> Callable[[Fields], Field]:
    def restored(fields: Fields) -> Field:
        noise = fields.noise
        return fields.through(name, replace(noise, gain=noise.gain / 9, read_std=noise.read_std / 3))

    return restored


def sharpened(fields: Fields) -> Field:
    flat = ndimage.gaussian_filter(fields.seen, (0, 0, 1.5, 1.5))
    return flat + 3 * (flat - ndimage.gaussian_filter(flat, (0, 0, 3, 3)))


def with_blobs(fields: Fields) -> Field:
    """Return a flat image on which the largest bump of the noise has become an object."""
    bumps = ndimage.gaussian_filter(fields.seen - fields.levels[:, None, None, None], (0, 0, 1, 1))
    grain = bumps.std((2, 3), keepdims=True)
    inner = bumps[..., 8:-8, 8:-8]
    spots = np.pad((inner == inner.max((2, 3), keepdims=True)).astype(float), ((0, 0), (0, 0), (8, 8), (8, 8)))
    shape = ndimage.gaussian_filter(spots, (0, 0, 2.5, 2.5)) * 2 * np.pi * 2.5**2
    return fields.levels[:, None, None, None] + 7.5 * grain * shape


#: Name -> what it makes of fields; every one must be caught, whatever the noise.
BAD: dict[str, Callable[[Fields], Field]] = {
    "smoothed over 0.7": smoothed(0.7),
    "smoothed over 1": smoothed(1.0),
    "nlm told a third": told_a_third("nlm"),
    "tv told a third": told_a_third("tv"),
    "sharpened": sharpened,
    "blobs invented": with_blobs,
    "nothing done": lambda fields: fields.seen,
    "a quarter of the noise brighter": lambda fields: (
        0 * fields.seen + (fields.levels + 0.25 * fields.stds)[:, None, None, None]
    ),
}


def copes(name: str, noise: Noise) -> bool:
    entry, _ = entry_of(name)
    return noise.correlation in entry.copes_with and not ("stabilised" in name and noise.gain == 0)


def rows(
    methods: tuple[str, ...], seeds: int, side: int, device: str
) -> Iterator[tuple[str, str, list[dict[str, float]]]]:
    """Yield law, restorer and the numbers of every seed."""
    for law, noise in LAWS.items():
        drawn = [Fields(law, seed, side, device) for seed in range(seeds)]
        for name in methods:
            if copes(name, noise):
                yield law, name, [fields.numbers(fields.through(name)) for fields in drawn]
        for name, restore in BAD.items():
            yield law, f"BAD {name}", [fields.numbers(restore(fields)) for fields in drawn]


def beside(name: str) -> float:
    """Return what a tile costs beside its voxels, in voxels: from the times of a small field and of a large one."""
    small, large = 40, 160
    taken = []
    for side in (small, small, large):
        fields = Fields("white 0.1", 0, side)
        began = time.process_time()
        fields.through(name)
        taken.append((time.process_time() - began) / len(LEVELS))
    a_voxel = (taken[2] - taken[1]) / (large**2 - small**2)
    return taken[1] / a_voxel - small**2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="*", default=QUICK)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--cost", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.cost:
        for name in given.methods:
            print(f"{name}: {beside(name):.0f} voxels", flush=True)
        return
    print("| noise | limits of | restorer | null noise | null worms | null lump | null bias |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for law, name, found in rows(tuple(given.methods), given.seeds, given.side, given.device):
        # Of good ones what they reached at most, of bad ones the least.
        worst = min if name.startswith("BAD") else max
        cells = [f"{worst(abs(one[check]) for one in found):.2f}" for check in found[0]]
        print(f"| {law} | {law_of(LAWS[law])} | {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
