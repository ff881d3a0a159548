"""How far the blind stop of Deep Image Prior stays behind the best iterate, which only the truth knows.

    python -m tests.bench.stopping [DATA] [--images N] [--steps N] [--rule vote]

Crops of 64 x 64 (of the test images under DATA, else generated scenes), 4 noise levels, 3 noise laws (white Gaussian,
Poisson-Gaussian, Gaussian blurred by 0.7 pixels), the noise given to the rule as a scan of known instrument has it.
Best iterate and choice are both averages of outputs as the method reads them out.
"""

import argparse
import itertools
from collections.abc import Sequence, Set
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from skimage.io import imread

from ilcore import fit
from ilcore.degradations.noise import add_noise
from ilcore.grammar.arrays import Streams
from ilcore.grammar.problem import Noise, Problem
from ilcore.grammar.slots import Readout, Stop
from ilcore.methods.catalogue import METHODS
from ilcore.methods.entry import configure
from ilcore.readouts.means import MovingAverage
from tests.scenes import KINDS, scene

LEVELS = (10, 15, 25, 50)
LAWS = ("gaussian", "poisson", "correlated")


def law(name: str, level: float, mean: float) -> Noise:
    """Return a noise of a given standard deviation at the mean of the image."""
    std = level / 255
    if name == "poisson":
        return Noise(gain=0.9 * std**2 / mean, read_std=0.1**0.5 * std)
    # Neighbours of noise blurred by 0.7 pixels are correlated by exp(-1 / (4 * 0.7^2)).
    return Noise(read_std=std) if name == "gaussian" else Noise(read_std=std, correlation="isotropic", lags=(0.6, 0.6))


@dataclass(frozen=True)
class Witnessed(Readout):
    """The moving average, and its error at every step against the truth."""

    truth: torch.Tensor = field(compare=False)
    errors: list[float] = field(default_factory=list, compare=False)

    def start(self, problem):
        return _Witnessed(self)


class _Witnessed:
    def __init__(self, spec):
        self.spec, self.inner = spec, MovingAverage(0.99).start(None)

    def observe(self, trial, best: Set[int]):
        self.inner.observe(trial, best)
        self.spec.errors.append(float((self.inner.means[0].clamp(0, 1) - self.spec.truth[0]).square().mean()))

    def result(self, rows: Sequence[int], predict):
        return self.inner.result(rows, predict)


@dataclass(frozen=True)
class Onwards(Stop):
    """The same rule, but the fit goes on to its budget, so that the best iterate of all steps is known."""

    rule: Stop
    steps: int

    def start(self, problem, streams, *, shared=False):
        return _Onwards(self, self.rule.start(problem, streams, shared=shared))


class _Onwards:
    def __init__(self, spec, inner):
        self.spec, self.inner, self.ended, self.images = spec, inner, None, ()

    def training_problem(self):
        return self.inner.training_problem()

    def judge(self, trial):
        judged = self.inner.judge(trial)
        if self.ended is not None:
            judged = replace(judged, best=(False,))
        elif judged.reasons[0]:
            ended = judged.reasons[0]
            self.ended, self.images = replace(ended, words=f"{trial.step}: {ended}"), judged.images
        return replace(judged, reasons=(self.ended if trial.step >= self.spec.steps else None,), images=self.images)


def crops(data: Path | None, count: int):
    """Yield named clean crops."""
    if data is None:
        for number in range(count):
            kind = sorted(set(KINDS) - {"constant"})[number % 5]
            yield f"{kind} {number}", torch.from_numpy(scene(kind, (64, 64), number))[None, None]
        return
    for path in sorted((data / "natural/set12").glob("*.png"))[:count]:
        image = torch.from_numpy(imread(path).astype(np.float32) / 255)
        y, x = image.shape[0] // 2 - 32, image.shape[1] // 2 - 32
        yield path.stem, image[None, None, y : y + 64, x : x + 64].contiguous()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--images", type=int, default=5)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--rule", default="vote")
    parser.add_argument("--only", nargs=3, action="append", metavar=("IMAGE", "LAW", "LEVEL"), help="these cases only")
    asked = parser.parse_args()
    print("| image | law | level | noisy | best iterate | chosen | behind | best step | ended at |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    behind, harmed = [], 0
    knobs = {"stop": asked.rule, "steps": asked.steps, "network.width": 16, "network.scales": 4}
    seeds = itertools.count()
    for name, clean in crops(asked.data, asked.images):
        for kind in LAWS:
            for level in LEVELS:
                seed = next(seeds)
                if asked.only and [name, kind, str(level)] not in asked.only:
                    continue
                noise = law(kind, level, float(clean.mean()))
                generator = torch.Generator().manual_seed(seed)
                problem = Problem(observed=add_noise(clean, noise, generator), noise=(noise,), value_range=(-0.3, 1.3))
                recipe = configure(METHODS["dip"], knobs).method
                witness = Witnessed(clean)
                done = fit.restore(
                    replace(recipe, readout=witness, stop=Onwards(recipe.stop, asked.steps)),
                    problem,
                    Streams.of(0, "stopping", [(0,)]),
                )
                chosen = float((done.image.clamp(0, 1) - clean).square().mean())
                noisy = float((problem.observed.clamp(0, 1) - clean).square().mean())
                best = min(witness.errors)
                behind.append(10 * np.log10(chosen / best))
                harmed += chosen > noisy
                decibels = [f"{-10 * np.log10(value):.2f}" for value in (noisy, best, chosen)]
                print(
                    f"| {name} | {kind} | {level} | {' | '.join(decibels)} | {behind[-1]:.2f} | "
                    f"{np.argmin(witness.errors)} | {done.stopped[0]} |",
                    flush=True,
                )
    share = np.mean(np.array(behind) <= 0.3)
    print(f"\n{share:.0%} of {len(behind)} within 0.3 dB of the best iterate, {harmed} below the noisy input")


if __name__ == "__main__":
    main()
