"""How well the trial on samples knows which candidate is best: estimated against true risk.

    python -m tests.bench.choosing DATA [--set NAME ...] [--image NAME ...] [--crop 192]

The rows are images of the benchmark's sets. Noise is estimated by preflight, nothing is told.
"""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from ilcore.adapting.weights import SHIPPED, load_denoiser
from ilcore.benchmark.sets import gather
from ilcore.degradations.estimate import preflight
from ilcore.grammar.problem import Problem
from ilcore.methods.catalogue import find
from ilcore.methods.entry import configure
from ilcore.restoring.channels import channel_plans
from ilcore.restoring.choose import CANDIDATES
from ilcore.restoring.probing import _restorer, estimated_risks
from ilcore.restoring.sampling import sampled
from ilcore.volumes.open import open_volume

SETS = ("set12", "correlated", "poisson", "fmd")


def trial(noisy, truth):
    """Return the verdict, and for each candidate its estimated and its true risk."""
    with tempfile.TemporaryDirectory() as folder:
        np.save(f"{folder}/noisy.npy", noisy)
        volume = open_volume(f"{folder}/noisy.npy", axes="yx")
        samples = sampled(volume, 0)
        found = preflight(samples, volume.dtype)
        channels = channel_plans(samples, found, volume)
        estimated = estimated_risks(samples, channels, space=2, seed=0)
    low, span = channels[0].low, channels[0].high - channels[0].low
    observed = torch.from_numpy((noisy - low) / span)[None, None].float()
    room = (float(observed.min()) - 0.05, float(observed.max()) + 0.05)
    problem = Problem(observed=observed, noise=(channels[0].noise,), value_range=room)
    true = {name: _true(name, problem, (truth - low) / span) for name in estimated}
    return found.verdict, estimated, true


def _true(name, problem, truth):
    entry = configure(find(CANDIDATES[name].method), CANDIDATES[name].overrides)
    weights = load_denoiser(SHIPPED)[1] if "weights" in entry.needs else None
    image = _restorer(entry.method, weights, replace(problem))(problem.observed)[0, 0].numpy()
    return float(np.mean((image - truth) ** 2))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--set", action="append", dest="sets")
    parser.add_argument("--image", action="append", default=[])
    parser.add_argument("--crop", type=int, default=192)
    asked = parser.parse_args()
    names, lost = [name for name in CANDIDATES if name != "adapted"], []
    print(f"| image | noise | {' | '.join(f'{name}: estimated, true' for name in names)} | taken | lost |")
    print("| --- | --- |" + " --- |" * (len(names) + 2))
    for picture in gather(asked.sets or SETS, data=asked.data, only=asked.image):
        case = picture.load(asked.crop)
        verdict, estimated, true = trial(case.noisy, case.truth)
        taken = min(estimated, key=estimated.get)
        lost.append(10 * np.log10(true[taken] / min(true.values())))
        pairs = [_pair(estimated, true, name) for name in names]
        print(
            f"| {picture.set} {picture.name} | {verdict} | {' | '.join(pairs)} | {taken} | {lost[-1]:.2f} |", flush=True
        )
    right = sum(value == 0 for value in lost)
    print(f"\n{right} of {len(lost)} right; {np.mean(lost):.2f} dB lost on average, {max(lost):.2f} at most")


def _pair(estimated, true, name):
    if name not in estimated:
        return "-"
    values = [risks[name] / risks["adapted"] for risks in (estimated, true)]
    return ", ".join(f"{-10 * np.log10(value):+.2f}" if value > 0 else "?" for value in values)


if __name__ == "__main__":
    main()
