"""Every way in which a method is carried out, on any device: what the tests and `tests.bench.device` run."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from ilcore import fit
from ilcore.adapting.weights import SHIPPED, load_denoiser
from ilcore.degradations.noise import add_noise
from ilcore.fit import Strategy
from ilcore.grammar.arrays import Streams
from ilcore.grammar.problem import Noise, Problem
from ilcore.methods.catalogue import METHODS
from ilcore.methods.entry import Entry, apply, configure
from ilcore.methods.stopping import RULES
from tests.quick import STACKS, quick
from tests.scenes import scene

WHITE = Noise(read_std=0.1)
COUNTED = Noise(gain=0.01, read_std=0.05, offset=0.02)
CORRELATED = Noise(read_std=0.1, correlation="isotropic", lags=(0.4, 0.4))
#: Takes the device and returns the image.
Case = Callable[[torch.device], Tensor]


def problem_of(shape: tuple[int, ...], noise: Noise = WHITE, *, holes: bool = False) -> Problem:
    """Return tiles [tile, channel, *space] of a generated scene, on the CPU."""
    clean = torch.stack([torch.from_numpy(scene("cells", shape[2:], n)) for n in range(shape[0] * shape[1])])
    noises = (noise,) * shape[1]
    observed = add_noise(clean.reshape(shape), noises, Streams.of(0, "scene", [(n,) for n in range(shape[0])]))
    trusted = torch.rand(shape, generator=torch.Generator().manual_seed(3)) > 0.1
    trusted[..., 2:5, 3:7] = False
    return Problem(
        observed=torch.where(trusted, observed, 0.5) if holes else observed,
        noise=noises, trusted=trusted if holes else None, value_range=(-0.3, 1.3),
    )  # fmt: skip


def moved(problem: Problem, device: torch.device) -> Problem:
    """Return the same problem on a device."""
    trusted = None if problem.trusted is None else problem.trusted.to(device)
    return replace(problem, observed=problem.observed.to(device), trusted=trusted)


def start_of(entry: Entry) -> fit.Weights | None:
    """Return the weights a method starts from."""
    return load_denoiser(SHIPPED)[1] if "weights" in entry.needs else None


def streams(name: str, count: int) -> Streams:
    """Return the random streams of so many tiles."""
    return Streams.of(7, name, [(n, 0) for n in range(count)])


def restored(entry: Entry, problem: Problem, strategy: Strategy, device: torch.device) -> Tensor:
    """Return the image of every tile, restored on a device."""
    there, tiles = moved(problem, device), streams(entry.name, len(problem.observed))
    return fit.restore(entry.method, there, tiles, start=start_of(entry), strategy=strategy).image


def learnt(entry: Entry, problem: Problem, device: torch.device) -> Tensor:
    """Return the image of every tile from one model of them all."""
    there, tiles = moved(problem, device), streams(entry.name, len(problem.observed))
    weights = fit.learn(entry.method, there, tiles, start=start_of(entry), batch=2).weights or {}
    kept = {name: value.cpu() for name, value in weights.items()}
    if entry.can_apply:
        return apply(entry, there, kept, tiles)
    return fit.restore(entry.method, there, tiles, start=kept, strategy="grouped").image


def shape_for(name: str, count: int, channels: int, side: int) -> tuple[int, ...]:
    """Return a shape that the method can restore."""
    return (count, channels, 4, side, side) if name in STACKS else (count, channels, side, side)


def cases(name: str, side: int = 24, steps: int = 3) -> dict[str, Case]:
    """Return every way in which a method is carried out, by name; a combination that makes no sense is refused."""
    entry, plain = quick(name, steps=steps), problem_of(shape_for(name, 2, 1, side))
    found: dict[str, Case] = {
        "holes, channels, counts": partial(
            restored, entry, problem_of(shape_for(name, 1, 2, side), COUNTED, holes=True), "grouped"
        ),
        "correlated": partial(restored, entry, problem_of(shape_for(name, 1, 1, side), CORRELATED), "grouped"),
        "3-D": partial(restored, entry, problem_of((1, 1, 3, side, side - 5), holes=True), "grouped"),
        "stabilised": partial(
            restored, configure(entry, {"stabilise": True}), problem_of(shape_for(name, 1, 1, side), COUNTED), "grouped"
        ),
        "diverging": partial(restored, entry, _broken(plain), "grouped"),
    }  # fmt: skip
    if METHODS[name].method.budget:
        found |= {strategy: partial(restored, entry, plain, strategy) for strategy in ("sequential", "grouped", "vmap")}
    else:
        found["plain"] = partial(restored, entry, plain, "sequential")
    if "volume" in entry.scopes:
        found["one model"] = partial(learnt, entry, plain)
    return found


def stop_cases(name: str, side: int = 24, steps: int = 3) -> dict[str, Case]:
    """Return a method ended by every stopping rule."""
    holes = problem_of(shape_for(name, 2, 1, side), holes=True)
    return {
        rule: partial(restored, configure(quick(name, steps=steps), {"stop": rule}), holes, "grouped") for rule in RULES
    }


def _broken(problem: Problem) -> Problem:
    observed = problem.observed.clone()
    observed[-1] = torch.inf
    return replace(problem, observed=observed)
