"""What the checks of faint structure, light, channels and frames find: in good restorations, and in made-up faults.

    python -m tests.bench.faint points      how often good restorations are flagged; dots and lines that were lost
    python -m tests.bench.faint family      dots of which half was lost, told as a family
    python -m tests.bench.faint light       sums over objects, levels, ratios of bands, bleeding
    python -m tests.bench.faint frames      flicker and ghosts
    python -m tests.bench.faint cost        seconds a megavoxel, of one core

Scenes are generated, photographs those of scikit-image; noise is white of 2, 5 and 10 % of the range, or counts with
read noise; methods are the shipped denoiser of photographs, non-local means, total variation and groups of similar
patches. Dots and lines are lost on purpose: a share of them is left out of a good restoration of the scene. Half an
hour on one core; `--quick` takes a sixth of the pictures.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import skimage.data
import torch
from numpy.typing import NDArray
from scipy import ndimage
from skimage.io import imread

from ilcore import fit
from ilcore.adapting.scenes import KINDS
from ilcore.adapting.weights import PHOTOS, load_denoiser
from ilcore.benchmark.images import Law
from ilcore.grammar.arrays import Streams
from ilcore.grammar.problem import Noise, Problem
from ilcore.methods.catalogue import METHODS
from ilcore.qa.bleeding import bleeding
from ilcore.qa.faint import Faint, Trace, counted, search
from ilcore.qa.faint_family import Family
from ilcore.qa.faithful import faithful
from ilcore.qa.flicker import movie_checks
from ilcore.qa.photometry import Light, photometry
from ilcore.qa.verdict import RUN_LIMITS, TILE_LIMITS

Image = NDArray[np.float64]
SIDE = 192
LAWS = {"2 %": Law(std=0.02), "5 %": Law(std=0.05), "10 %": Law(std=0.1), "counts": Law(std=0.01, gain=0.01)}
METHODS_TRIED = ("pretrained", "nlm", "tv", "nl_ridge")
PHOTOGRAPHS = (
    "camera.png", "moon.png", "coins.png", "brick.png", "grass.png", "gravel.png", "cell.png", "chelsea.png",
    "astronaut.png", "rocket.jpg", "ihc.png", "retina.jpg", "coffee.png", "page.png",
)  # fmt: skip
COLOURED = ("astronaut.png", "coffee.png", "chelsea.png", "retina.jpg", "ihc.png", "rocket.jpg")
#: Widths of the dots: one pixel, then Gaussians.
DOTS = (0.0, 0.7, 1.0, 1.5)


@dataclass(frozen=True)
class Case:
    """A clean image under a law of noise, and a restoration."""

    law: str
    method: str
    clean: Image
    noisy: Image
    restored: Image
    noise: Noise


def photograph(name: str) -> Image:
    """Return the middle of a photograph of scikit-image, [channel, y, x] in [0, 1]."""
    image = np.atleast_3d(imread(Path(skimage.data.__file__).parent / name))[..., :3] / 255
    rows, columns = (max(0, length // 2 - SIDE // 2) for length in image.shape[:2])
    return np.moveaxis(image[rows : rows + SIDE, columns : columns + SIDE], -1, 0)


def cleans() -> Iterator[tuple[str, Image]]:
    """Go through all clean images: generated scenes, photographs, and nothing at all."""
    for seed in range(4):
        for kind, make in KINDS.items():
            yield f"{kind} {seed}", make(np.random.default_rng(500 + seed), SIDE).astype(np.float64)
        yield f"flat {seed}", np.full((SIDE, SIDE), 0.2 + 0.2 * seed)
    for name in PHOTOGRAPHS:
        yield name, photograph(name).mean(axis=0)


def cases(every: int, methods: tuple[str, ...] = METHODS_TRIED, only: tuple[str, ...] = ("",)) -> Iterator[Case]:
    """Go through images whose names begin so, under all laws, restored by all methods."""
    chosen = [clean for name, clean in cleans() if name.startswith(only)]
    for number, clean in enumerate(chosen[::every]):
        for law_name, law in LAWS.items():
            noisy, noise = noisy_of(clean, law, number)
            for method in methods:
                yield Case(law_name, method, clean, noisy, denoised(noisy, noise, method), noise)


def noisy_of(clean: Image, law: Law, seed: int) -> tuple[Image, Noise]:
    """Return an image under a law of noise, and that law."""
    noisy = law.add(np.asarray(clean, np.float32), seed).astype(np.float64)
    return noisy, Noise(gain=law.gain, read_std=law.std)


def denoised(noisy: Image, noise: Noise, method: str) -> Image:
    """Return a plane restored by a method that is told the noise, or by the shipped denoiser."""
    problem = Problem(observed=torch.from_numpy(noisy.astype(np.float32))[None, None], noise=(noise,))
    streams = Streams.of(0, "bench", [(0,)])
    if method == "pretrained":
        network, start = pretrained()
        done = fit.predict(METHODS["adapted"].with_network(network).method, problem, start, streams)
    else:
        done = fit.restore(METHODS[method].method, problem, streams).image
    return done[0, 0].numpy().astype(np.float64)


@cache
def pretrained() -> tuple[object, fit.Weights]:
    """Return the shipped denoiser of photographs."""
    return load_denoiser(PHOTOS)


def traces_of(noisy: Image, restored: Image, noise: Noise) -> tuple[Trace, ...]:
    """Return what was taken away from a plane."""
    return faint_of(noisy, restored, noise).traces


def faint_of(noisy: Image, restored: Image, noise: Noise) -> Faint:
    """Return what was taken away from a plane, and which faint points it still shows."""
    return search(noisy[None, None], restored[None, None], np.ones((1, 1, *noisy.shape), bool), [noise])


def light(noisy: Image, restored: Image, noise: Noise) -> Light:
    """Return what one channel holds; [y, x] or [frame, y, x]."""
    stacks = [image.reshape(-1, *image.shape[-2:]) for image in (noisy, restored)]
    return Light.of(stacks[0], stacks[1], np.ones(stacks[0].shape, bool), noise)


def points(every: int) -> None:
    """Print how often good restorations are flagged, and lost dots and lines found."""
    flagged: dict[str, list[tuple[bool, bool, bool]]] = {}
    for case in cases(every):
        found = traces_of(case.noisy, case.restored, case.noise)
        lost = any(truly_lost(case, trace) for trace in found)
        told = (bool(found), bool(found) and not lost, any(trace.kind == "line" for trace in found))
        for key in (case.method, case.law, "all"):
            flagged.setdefault(key, []).append(told)
    print("good restorations: flagged, flagged where the truth lost less than 2.5 noise std, with a line; pictures")
    for key, told in flagged.items():
        print(f"  {key:14s} {'  '.join(f'{share:.3f}' for share in np.mean(told, 0))}  {len(told)}", flush=True)
    losses(every)


def truly_lost(case: Case, trace: Trace) -> bool:
    """Tell whether the truth lost at least 2.5 noise std there, under the nearest Gaussian."""
    _, _, y, x = trace.place
    width = max(trace.size if trace.kind == "point" else 1.0, 0.3)
    difference = case.clean - case.restored
    cut = (slice(max(0, y - 12), y + 13), slice(max(0, x - 12), x + 13))
    spread = np.sqrt(np.asarray(case.noise.variance(case.restored[y, x])) / (4 * np.pi * width**2))
    lost = ndimage.gaussian_filter(difference[cut], width)[y - cut[0].start, x - cut[1].start]
    return bool(np.sign(trace.strength) * lost / spread > 2.5)


def losses(every: int) -> None:
    """Print how often lost dots and lines are found, in pictures with one of them, and with ten."""
    pools = {"flat grounds and cells": ("flat", "cells"), "all scenes": ("",)}
    for title, only in pools.items():
        chosen = list(cases(2 if every == 1 else 4, ("pretrained",), only))
        print(f"lost on purpose, {title}: share of pictures flagged")
        for kind, response in (("dot", 6.0), ("dot", 8.0), ("dot", 10.0), ("line", 3.0)):
            for share in (0.5, 0.75, 1.0):
                one, ten = (flagged_with(chosen, kind, response, share, count) for count in (1, 10))
                print(f"  {kind} {response:g}, {share:.0%} lost: one {one:.2f}, ten {ten:.2f}", flush=True)


def flagged_with(pool: list[Case], kind: str, response: float, share: float, count: int) -> float:
    """Return in which share of pictures with some lost dots or lines at least one is found."""
    rng, found = np.random.default_rng(7), []
    for _ in range(-(-60 // len(pool))):
        for case in pool:
            shape = sum(one_of(kind, response, case, rng) for _ in range(count))
            hits = traces_of(case.noisy + shape, case.restored + (1 - share) * shape, case.noise)
            found.append(any(abs(shape[place(hit)]).max(initial=0) > 0 for hit in hits))
    return float(np.mean(found))


def family(every: int) -> None:
    """Print how often dots are told to have lost contrast: of good restorations, and where they lost half."""
    told = [(case.method, is_told(case.noisy, case.restored, case.noise)) for case in cases(every)]
    for method in METHODS_TRIED:
        print(f"good, {method}: {np.mean([yes for name, yes in told if name == method]):.3f}", flush=True)
    for title, only, step in (("flat", ("flat",), 2), ("cells", ("cells",), 2), ("all scenes", ("",), every)):
        pool = list(cases(step, ("pretrained",), only))
        for count in (1, 2, 5, 10):
            rng, found = np.random.default_rng(7), []
            for case in pool * -(-40 // len(pool)):
                shape = sum(one_of("dot", 6.0, case, rng) for _ in range(count))
                found.append(is_told(case.noisy + shape, case.restored + 0.5 * shape, case.noise))
            print(f"{title}, {count} dots of 6 that lost half: {np.mean(found):.2f} of {len(found)}", flush=True)


def is_told(noisy: Image, restored: Image, noise: Noise) -> bool:
    """Tell whether the faint points that a plane still shows have lost too much, as a family."""
    lost = Family.of(counted(faint_of(noisy, restored, noise))).lost
    return lost is not None and lost > RUN_LIMITS["faint contrast"].passes[1]


def place(trace: Trace) -> tuple[slice, slice]:
    """Return the pixels around a finding."""
    reach = 2 if trace.kind == "point" else 9
    _, _, y, x = trace.place
    return slice(max(0, y - reach), y + reach + 1), slice(max(0, x - reach), x + reach + 1)


def one_of(kind: str, response: float, case: Case, rng: np.random.Generator) -> Image:
    """Return a dot with a matched-filter response, or a line of 20 to 40 pixels so many noise std above its ground."""
    y, x = rng.integers(20, SIDE - 20, 2)
    std = np.sqrt(np.asarray(case.noise.variance(case.restored)) * np.ones(case.clean.shape))
    rows, columns = np.mgrid[:SIDE, :SIDE]
    if kind == "line":
        angle, length = rng.uniform(0, np.pi), rng.integers(20, 41)
        steps = np.arange(-length / 2, length / 2, 0.25)
        line = np.zeros((SIDE, SIDE))
        down, across = (
            np.round(at + steps * part).astype(int) for at, part in ((y, np.sin(angle)), (x, np.cos(angle)))
        )
        line[np.clip(down, 0, SIDE - 1), np.clip(across, 0, SIDE - 1)] = 1
        return response * std * line
    width = DOTS[rng.integers(len(DOTS))]
    distance = (rows - y) ** 2 + (columns - x) ** 2
    dot = np.where(distance < 49, np.exp(-distance / (2 * max(width, 0.1) ** 2)), 0)
    return np.asarray(response * std[y, x] / np.sqrt((dot**2).sum()) * dot)


def coloured() -> Iterator[tuple[str, Image]]:
    """Go through images of three channels."""
    for name in COLOURED:
        yield name, photograph(name)
    for seed in range(4):
        one, two, three = (
            KINDS[kind](np.random.default_rng(seed + 9), SIDE) for kind in ("cells", "filaments", "coast")
        )
        yield f"stains {seed}", np.stack([one, two, three]).astype(np.float64)
        yield f"bands {seed}", np.stack([three, 0.6 * three + 0.2 * one, three**1.5]).astype(np.float64)


def dimmed(image: Image) -> Image:
    """Take a twentieth of their light from what is brighter than the median."""
    ground = np.median(image)
    return np.where(image > ground, ground + 0.95 * (image - ground), image)


def light_checks(every: int) -> None:
    """Print what the checks of light and channels say of good restorations, and of each fault."""
    rows: dict[str, list[dict[str, float]]] = {}
    for number, (_, clean) in enumerate(coloured()):
        if number % every:
            continue
        for law in LAWS.values():
            noisy, noise = noisy_of(clean, law, number)
            for method in METHODS_TRIED[:3]:
                good = np.stack([denoised(channel, noise, method) for channel in noisy])
                for title, image in faults(good).items():
                    lights = [light(*each, noise) for each in zip(noisy, image, strict=True)]
                    found = photometry(lights) | {"bleeding": bleeding(lights) or 0.0}
                    rows.setdefault(title, []).append(found)
    told(rows)


def faults(good: Image) -> dict[str, Image]:
    """Return a good restoration of three channels, and what may be wrong with it."""
    leaked, faded = good.copy(), good.copy()
    leaked[0] += 0.1 * good[1]
    faded[1] *= 0.95
    return {
        "good": good, "objects lost 5 % of their light": np.stack([dimmed(channel) for channel in good]),
        "levels bent by 3 %": good - 0.03 * np.clip(good, 0, 1) ** 2,
        "10 % of another channel": leaked, "one channel 5 % fainter": faded,
    }  # fmt: skip


def told(rows: dict[str, list[dict[str, float]]]) -> None:
    """Print, of each kind of restoration and check, quantiles and how many do not pass."""
    for title, found in rows.items():
        print(f"{title}: median, 95 % and largest of the number; share that does not pass")
        for name in TILE_LIMITS:
            values = [abs(row[name]) for row in found if name in row]
            if values:
                wrong = np.mean([TILE_LIMITS[name].judge(row[name]) != "pass" for row in found if name in row])
                middle, most, largest = np.quantile(values, (0.5, 0.95, 1))
                print(f"  {name:12s} {middle:.3f} {most:.3f} {largest:.3f}   {wrong:.2f} of {len(values)}", flush=True)


def frame_checks(every: int) -> None:
    """Print what the checks of movies say: things that move on a ground that stands still."""
    rows: dict[str, list[dict[str, float]]] = {}
    for seed, speed in enumerate((0.0, 0.5, 1.0, 2.0, 3.0, 4.0)[:: min(every, 2)]):
        for kind in ("cells", "filaments", "leaves"):
            clean = movie(kind, seed, speed)
            for law in LAWS.values():
                noisy, noise = noisy_of(clean, law, seed)
                good = np.stack([denoised(frame, noise, "pretrained") for frame in noisy])
                for title, image in movie_faults(good, noise, seed).items():
                    speed_told = "" if "good" in title else f", {speed:g} pixels a frame"
                    rows.setdefault(title + speed_told, []).append(movie_checks([light(noisy, image, noise)]))
    told(rows)


def movie(kind: str, seed: int, speed: float, frames: int = 8, side: int = 96) -> Image:
    """Return a scene that moves over another one."""
    moving, ground = (KINDS[of](np.random.default_rng(seed), side + 64).astype(np.float64) for of in (kind, "coast"))
    moved = [ndimage.shift(moving, (speed * t, speed * t / 2), order=1, mode="wrap") for t in range(frames)]
    return 0.3 * ground[32:-32, 32:-32] + 0.7 * np.stack(moved)[:, 32:-32, 32:-32]


def movie_faults(good: Image, noise: Noise, seed: int) -> dict[str, Image]:
    """Return a movie restored frame by frame, and what may be wrong with it."""
    wide = np.concatenate([good[:1], good, good[-1:]])
    std = float(np.sqrt(np.mean(np.asarray(noise.variance(good)))))
    swing = np.random.default_rng(seed).normal(0, 0.3 * std, (len(good), 1, 1))
    return {
        "good": good, "mean of three frames": (wide[:-2] + wide[1:-1] + wide[2:]) / 3,
        "a quarter of the last frame": 0.75 * good + 0.25 * wide[:-2], "frames off by 0.3 noise std": good + swing,
    }  # fmt: skip


def cost(_: int) -> None:
    """Print the seconds that all checks take on a megavoxel."""
    for side in (96, 256, 1024):
        noisy, noise = noisy_of(np.tile(photograph("camera.png").mean(axis=0), (6, 6))[:side, :side], LAWS["5 %"], 0)
        restored = ndimage.gaussian_filter(noisy, 1)
        given = (noisy[None, None], restored[None, None], np.ones((1, 1, side, side), bool), [noise])
        faithful(*given)
        began, times = time.process_time(), max(1, 2**20 // side**2)
        for _ in range(times):
            faithful(*given)
        print(f"{side} x {side}: {(time.process_time() - began) / times / side**2 * 2**20:.2f} s", flush=True)


PARTS: dict[str, Callable[[int], None]] = {
    "points": points,
    "family": family,
    "light": light_checks,
    "frames": frame_checks,
    "cost": cost,
}


def main() -> None:
    """Print one of the tables."""
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument("part", choices=PARTS)
    given.add_argument("--quick", action="store_true", help="a sixth of the pictures")
    wanted = given.parse_args()
    torch.set_num_threads(1)
    PARTS[wanted.part](6 if wanted.quick else 1)


if __name__ == "__main__":
    main()
