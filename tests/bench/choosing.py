"""How well the trial on samples knows which candidate is best, and what candidates cost.

    python -m tests.bench.choosing DATA [--set NAME ...] [--image NAME ...] [--crop 192]    expected and true gain, dB
    python -m tests.bench.choosing --seconds                                                CPU seconds a megavoxel

The rows are images of the benchmark's sets. Noise is estimated by preflight, nothing is told.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from ilcore.adapting.weights import SHIPPED
from ilcore.aims.choosing import CANDIDATES, able
from ilcore.benchmark.sets import gather
from ilcore.degradations.estimate import preflight
from ilcore.formats.open import open_volume
from ilcore.grammar.problem import Noise, Problem
from ilcore.planning.channels import channel_plans
from ilcore.planning.known import live_channels
from ilcore.planning.probing import Trial, expected_gains
from ilcore.planning.sampling import sampled
from tests.scenes import noisy, scene

SETS = ("set12", "correlated", "poisson", "fmd")
NAMES = list(CANDIDATES)


def trial(image, truth):
    """Return the verdict, and for each candidate its expected and its true gain in dB."""
    with tempfile.TemporaryDirectory() as folder:
        np.save(f"{folder}/noisy.npy", image)
        volume = open_volume(f"{folder}/noisy.npy", axes="yx")
        samples = sampled(volume, 0)
        found = preflight(samples, volume.dtype)
        channels = channel_plans(samples, found, volume)
        candidates = able(live_channels(found, channels))
        expected = expected_gains(samples, channels, candidates, space=2, seed=0)
    low, span = channels[0].low, channels[0].high - channels[0].low
    observed = torch.from_numpy((image - low) / span)[None, None].float()
    room = (float(observed.min()) - 0.05, float(observed.max()) + 0.05)
    problem = Problem(observed=observed, noise=(channels[0].noise,), value_range=room)
    clean = (truth - low) / span
    true = {name: _gain(Trial(CANDIDATES[name], SHIPPED, 0).restored(problem), observed, clean) for name in expected}
    return found.verdict, expected, true


def _gain(image, observed, clean):
    return 10 * np.log10(_error(observed, clean) / _error(image, clean))


def _error(image, clean):
    return float(np.mean((image[0, 0].numpy() - clean) ** 2))


def seconds():
    """Yield a row for each candidate: CPU seconds of one thread a megavoxel, of planes and of stacks."""
    torch.set_num_threads(1)
    yield "| candidate | a megapixel | a megavoxel of a stack | declared |"
    yield "| --- | --- | --- | --- |"
    for name, one in CANDIDATES.items():
        taken = [_taken(Trial(one, SHIPPED, 0), shape) for shape in ((256, 256), (8, 128, 128))]
        yield f"| {name} | {taken[0]:.1f} | {taken[1]:.1f} | {one.seconds[0]:g}, {one.seconds[1]:g} |"


def _taken(trial, shape):
    clean = np.broadcast_to(scene("cells", shape[-2:]), shape)
    observed = torch.from_numpy(noisy(clean, std=0.1).astype(np.float32))[None, None]
    problem = Problem(observed=observed, noise=(Noise(gain=0.005, read_std=0.1),), value_range=(-0.5, 1.5))
    trial.restored(Problem(observed=observed[..., :32, :32], noise=problem.noise, value_range=problem.value_range))
    began = time.process_time()
    trial.restored(problem)
    return (time.process_time() - began) / observed.numel() * 1e6


def gains(data, sets, images, crop):
    """Yield a row for each image: expected and true gain of every candidate, and what the choice loses."""
    yield f"| image | noise | {' | '.join(f'{name}: expected, true' for name in NAMES)} | taken | lost |"
    yield "| --- | --- |" + " --- |" * (len(NAMES) + 2)
    lost = []
    for picture in gather(sets, data=data, only=images):
        case = picture.load(crop)
        verdict, expected, true = trial(case.noisy, case.truth)
        if not expected:
            yield f"| {picture.set} {picture.name} | {verdict} |" + " - |" * len(NAMES) + " not tried | |"
            continue
        taken = max(expected, key=expected.get)
        lost.append(max(true.values()) - true[taken])
        pairs = [f"{expected[name]:.2f}, {true[name]:.2f}" if name in expected else "-" for name in NAMES]
        yield f"| {picture.set} {picture.name} | {verdict} | {' | '.join(pairs)} | {taken} | {lost[-1]:.2f} |"
    right = sum(value == 0 for value in lost)
    yield f"\n{right} of {len(lost)} right; {np.mean(lost):.2f} dB lost on average, {max(lost):.2f} at most"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--seconds", action="store_true")
    parser.add_argument("--set", action="append", dest="sets")
    parser.add_argument("--image", action="append", default=[])
    parser.add_argument("--crop", type=int, default=192)
    asked = parser.parse_args()
    lines = seconds() if asked.seconds else gains(asked.data, asked.sets or SETS, asked.image, asked.crop)
    for line in lines:
        print(line, flush=True)


if __name__ == "__main__":
    main()
