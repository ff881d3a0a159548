"""Train the denoisers that ship with the project: on a device, with torch and NumPy alone, in minutes.

    python -m ilcore.adapting.shipped blind PHOTOS.npy OUT.safetensors --scenes FOLDER --device cuda --seconds 280
    python -m ilcore.adapting.shipped conditioned PHOTOS.npy OUT.safetensors --steps 60000
    python -m ilcore.adapting.shipped scenes FOLDER --count 6000       # beside it, on the CPU: generated scenes

    repeat: crop patches of photographs, at two sizes, and of scenes; turn, flip, invert, dim, darken them
            draw for every patch a noise law, a level, a correlation; some are cut at black and white, in 8 bits
            descend on the squared error, weighed so that no level owns the gradient
    keep an exponential average of the weights; a checkpoint beside OUT, so that a killed run goes on where it was

`blind` is told nothing. `conditioned` sees the noise's standard deviation at every pixel as one more channel and, free
of biases as it is, gives a times the image for a times the noisy image and the map.
"""

import argparse
import math
import multiprocessing
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ilcore.adapting.scenes import scene
from ilcore.adapting.weights import load_weights, save_weights
from ilcore.networks.plain import Plain

#: Seeds of the scenes, apart from those that `il pretrain` draws and measures.
_FIRST_SEED = 40_000_000
#: Largest noise level, on images in [0, 1]; 55/255 is the customary blind range.
_NOISIEST = 55 / 255
#: Seconds between two checkpoints, and between two looks for new scenes.
_PAUSE = 20.0


@dataclass(frozen=True, kw_only=True)
class Course:
    """What is trained, on what, and how long.

    Args:
        conditioned: Whether the network sees a map of the noise's standard deviation.
        depth: Convolutions.
        side: Side of a patch; even.
        photos: Share of patches cut from photographs, the others from scenes.
        steps: Updates in all, if they are counted.
        seconds: Time in all, if that is counted instead.
        start: Weights to start from.
    """

    conditioned: bool = False
    width: int = 64
    depth: int = 12
    batch: int = 128
    side: int = 96
    photos: float = 0.55
    learning_rate: float = 1e-3
    average: float = 0.001
    steps: int = 0
    seconds: float = 0.0
    seed: int = 0
    start: Path | None = None

    @property
    def network(self) -> Plain:
        """Return the network's description, as it is stored with the weights."""
        return Plain(
            width=self.width, depth=self.depth, residual=True, pointwise_end=False, slope=0.0, bias=False, shuffle=2,
            grey=True,
        )  # fmt: skip


class Pool:
    """Images on the device: photographs, the same at half their size, and the scenes that have been made so far."""

    def __init__(self, photos: np.ndarray[Any, Any], scenes: Path | None, device: torch.device) -> None:
        whole = torch.from_numpy(photos).to(device)
        halves = F.avg_pool2d(whole[:, None].float(), 2)[:, 0] / 255
        self.groups = [_stored(whole.float() / 255), _stored(halves)]
        self.folder, self.files, self.scenes = scenes, set[Path](), torch.empty(0)
        self.looked, self.device = -math.inf, device

    def refreshed(self) -> "Pool":
        """Take in scenes that were written since the last look."""
        if self.folder is None or time.monotonic() - self.looked < _PAUSE:
            return self
        self.looked = time.monotonic()
        new = sorted(set(self.folder.glob("*.npy")) - self.files)
        if new:
            self.files |= set(new)
            more = torch.from_numpy(np.concatenate([np.load(path) for path in new])).to(self.device)
            self.scenes = more if not len(self.scenes) else torch.cat([self.scenes, more])
        return self

    def patches(self, course: Course, rng: torch.Generator) -> Tensor:
        """Return clean patches [batch, 1, side, side]."""
        some = len(self.scenes) > 0
        share = course.photos if some else 1.0
        counts = [round(course.batch * share * part) for part in (0.6, 0.4)]
        groups = [*self.groups, self.scenes][: 3 if some else 2]
        counts = [*counts, course.batch - sum(counts)] if some else [counts[0], course.batch - counts[0]]
        cut = [_cut(group, count, course.side, rng) for group, count in zip(groups, counts, strict=True) if count]
        return _toned(torch.cat(cut).float(), rng)[:, None]


def _stored(images: Tensor) -> Tensor:
    return images.half()


def _cut(images: Tensor, count: int, side: int, rng: torch.Generator) -> Tensor:
    """Cut squares at random places, turned and flipped at random."""
    number = _whole(len(images), count, rng)
    spans = [_whole(length - side + 1, count, rng)[:, None] for length in images.shape[1:]]
    steps = torch.arange(side, device=images.device)[None]
    flips = [_whole(2, count, rng)[:, None].bool() for _ in range(3)]
    rows, columns = (
        span + torch.where(flip, side - 1 - steps, steps) for span, flip in zip(spans, flips[:2], strict=True)
    )
    patch = images[number[:, None, None], rows[:, :, None], columns[:, None, :]]
    return torch.where(flips[2][..., None], patch.transpose(1, 2), patch)


def _toned(patch: Tensor, rng: torch.Generator) -> Tensor:
    """Invert a few patches, darken some as fluorescence is dark, dim some."""
    column = (len(patch), 1, 1)
    patch = torch.where(_chance(0.1, column, rng), 1 - patch, patch)
    patch = torch.where(_chance(0.25, column, rng), patch.clamp_min(0) ** (1 + 2 * _uniform(column, rng)), patch)
    return torch.where(_chance(0.3, column, rng), patch * (0.2 + 0.8 * _uniform(column, rng)), patch)


def noisy_of(clean: Tensor, rng: torch.Generator, *, conditioned: bool) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return noisy patches, the level of each, and what a conditioned network is told of the noise.

    Shape:
        clean [batch, 1, y, x] -> the same, [batch, 1, 1, 1], [batch, 1, y, x] or None.
    """
    column = (len(clean), 1, 1, 1)
    level = _uniform(column, rng) ** 1.4 * _NOISIEST + 0.3 / 255
    counted = _chance(0.2 if conditioned else 0.4, column, rng)
    share = counted * (0.5 + 0.5 * _uniform(column, rng))
    gain = share * level.square() / clean.mean((1, 2, 3), keepdim=True).clamp_min(0.02)
    # Shot noise is drawn as counts where there is some, so that it is as lopsided as it really is.
    light = clean.clamp_min(0)
    safe = torch.where(counted, gain, 1.0).clamp_min(1e-6)
    shot = torch.where(counted, torch.poisson(light / safe, rng) * safe - light, torch.zeros_like(clean))
    noise = shot + torch.randn(clean.shape, generator=rng, device=clean.device) * level * (1 - share).sqrt()
    if conditioned:
        noisy = clean + noise
        smooth = F.avg_pool2d(noisy, 5, 1, 2, count_include_pad=False).clamp_min(0)
        return noisy, level, (level.square() * (1 - share) + gain * smooth).sqrt().expand_as(clean)
    noisy = clean + torch.where(_chance(0.2, column, rng), _blurred(noise, rng), noise)
    cut = (noisy.clamp(0, 1) * 255).round() / 255
    return torch.where(_chance(0.15, column, rng), cut, noisy), level, None


def _blurred(noise: Tensor, rng: torch.Generator) -> Tensor:
    """Blur the noise of every patch by a width of its own; of one in four along one axis only; its level stays."""
    count, taps = len(noise), torch.arange(-3, 4, device=noise.device)
    width = 0.35 + 0.65 * _uniform((count, 1), rng)
    kernel = torch.exp(-0.5 * (taps / width) ** 2)
    kernel = kernel / kernel.norm(dim=1, keepdim=True)
    single = F.one_hot(torch.full((count,), 3, device=noise.device), 7).float()
    kind = _uniform((count, 1), rng)
    down = torch.where(kind < 0.125, single, kernel)
    across = torch.where((kind >= 0.125) & (kind < 0.25), single, kernel)
    flat = F.pad(noise.transpose(0, 1), (3, 3, 3, 3), mode="circular")
    once = F.conv2d(flat, down[:, None, :, None], groups=count)
    return F.conv2d(once, across[:, None, None, :], groups=count).transpose(0, 1)


class Net(nn.Module):
    """The plain stack on sub-images, residual, with the noise map beside them where there is one."""

    def __init__(self, course: Course) -> None:
        super().__init__()
        inputs = 5 if course.conditioned else 4
        widths = [inputs, *[course.width] * (course.depth - 1), 4]
        layers = [nn.Conv2d(a, b, 3, padding=1, bias=False) for a, b in zip(widths, widths[1:], strict=False)]
        for layer in layers:
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        with torch.no_grad():
            layers[-1].weight.mul_(0.1)
        self.conv = nn.ModuleList(layers)

    def forward(self, noisy: Tensor, told: Tensor | None) -> Tensor:
        small = F.pixel_unshuffle(noisy, 2)
        hidden = small if told is None else torch.cat([small, F.avg_pool2d(told, 2)], 1)
        hidden = hidden.contiguous(memory_format=torch.channels_last)
        for layer in self.conv[:-1]:
            hidden = F.relu(layer(hidden), inplace=True)
        return noisy - F.pixel_shuffle(self.conv[-1](hidden), 2).float()


class Training:
    """A run that can be put down and taken up again."""

    def __init__(self, course: Course, device: torch.device, checkpoint: Path) -> None:
        self.course, self.device, self.checkpoint = course, device, checkpoint
        torch.manual_seed(course.seed)
        self.net = Net(course)
        if course.start:
            self.net.load_state_dict(load_weights(course.start))
        self.net = self.net.to(device)
        self.adam = torch.optim.Adam(self.net.parameters(), lr=course.learning_rate, fused=device.type == "cuda")
        self.average = [value.detach().clone() for value in self.net.parameters()]
        self.rng = torch.Generator(device).manual_seed(course.seed)
        self.step, self.spent = 0, 0.0
        if checkpoint.exists():
            state = torch.load(checkpoint, device, weights_only=True)
            self.net.load_state_dict(state["net"])
            self.adam.load_state_dict(state["adam"])
            self.average, self.step, self.spent = state["average"], state["step"], state["spent"]
            self.rng.set_state(state["rng"].cpu())

    def share_done(self) -> float:
        """Return how much of the course is behind us."""
        course = self.course
        return self.step / course.steps if course.steps else self.spent / course.seconds

    def advance(self, pool: Pool) -> Tensor:
        """Make one update and return its loss."""
        course, done = self.course, self.share_done()
        rate = course.learning_rate * min(1.0, (self.step + 1) / 300) * (0.5 + 0.5 * math.cos(math.pi * min(1, done)))
        for group in self.adam.param_groups:
            group["lr"] = rate
        clean = pool.refreshed().patches(course, self.rng)
        noisy, level, told = noisy_of(clean, self.rng, conditioned=course.conditioned)
        # The last tenth is computed in full precision.
        half = self.device.type == "cuda" and done < 0.9
        with torch.autocast(self.device.type, torch.bfloat16, enabled=half):
            image = self.net(noisy, told)
        loss = ((image - clean).square().mean((1, 2, 3), keepdim=True) / (level + 0.01)).mean()
        self.adam.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.net.parameters(), 0.5, foreach=True)
        self.adam.step()
        self.step += 1
        with torch.no_grad():
            torch._foreach_lerp_(self.average, list(self.net.parameters()), max(course.average, 1 / (self.step + 10)))
        return loss.detach()

    def save(self) -> None:
        """Write the checkpoint in one step."""
        partial = self.checkpoint.with_suffix(".partial")
        state = {"net": self.net.state_dict(), "adam": self.adam.state_dict(), "average": self.average}
        torch.save({**state, "step": self.step, "spent": self.spent, "rng": self.rng.get_state()}, partial)
        partial.replace(self.checkpoint)


def train(course: Course, pool: Pool, out: Path, device: torch.device) -> Path:
    """Carry out a course and save the averaged weights."""
    run = Training(course, device, out.with_suffix(".checkpoint"))
    began, told = time.monotonic() - run.spent, time.monotonic()
    while run.share_done() < 1:
        loss = run.advance(pool)
        if run.step % 50 == 0:
            # Asking for a number waits for the device, so that its time is counted.
            float(loss)
            run.spent = time.monotonic() - began
        if time.monotonic() - told > _PAUSE:
            told = time.monotonic()
            run.save()
            _say(f"{run.step} steps, {run.spent:.0f} s, {len(pool.scenes)} scenes, loss {float(loss):.6f}")
    names = [name for name, _ in run.net.named_parameters()]
    save_weights(out, {n: v.cpu() for n, v in zip(names, run.average, strict=True)}, course.network)
    run.checkpoint.unlink(missing_ok=True)
    _say(f"{out}: {run.step} steps, {time.monotonic() - began:.0f} s")
    return out


def make_scenes(folder: Path, count: int, processes: int) -> None:
    """Write generated scenes, 24 a file; what is there stays."""
    folder.mkdir(parents=True, exist_ok=True)
    wanted = [number for number in range(math.ceil(count / 24)) if not (folder / f"{number:05d}.npy").exists()]
    with multiprocessing.get_context("spawn").Pool(processes) as workers:
        for _ in workers.imap_unordered(_write_scenes, [(folder, number) for number in wanted]):
            pass


def _write_scenes(job: tuple[Path, int]) -> None:
    folder, number = job
    scenes = np.stack([scene(_FIRST_SEED + number * 24 + n) for n in range(24)]).astype(np.float16)
    partial = folder / f"{number:05d}.partial"
    with partial.open("wb") as file:
        np.save(file, scenes)
    partial.replace(folder / f"{number:05d}.npy")


def _say(words: str) -> None:
    sys.stdout.write(words + "\n")
    sys.stdout.flush()


def _whole(most: int, count: int, rng: torch.Generator) -> Tensor:
    return torch.randint(most, (count,), generator=rng, device=rng.device)


def _uniform(shape: tuple[int, ...], rng: torch.Generator) -> Tensor:
    return torch.rand(shape, generator=rng, device=rng.device)


def _chance(share: float, shape: tuple[int, ...], rng: torch.Generator) -> Tensor:
    return _uniform(shape, rng) < share


def main() -> None:
    """Make scenes, or train one denoiser."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["blind", "conditioned", "scenes"])
    parser.add_argument("places", nargs="+", type=Path, help="PHOTOS.npy OUT.safetensors, or FOLDER")
    parser.add_argument("--scenes", type=Path)
    parser.add_argument("--start", type=Path)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--count", type=int, default=6000)
    parser.add_argument("--processes", type=int, default=multiprocessing.cpu_count())
    for name, value in (("steps", 0), ("batch", 128), ("side", 96), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--seconds", type=float, default=0.0)
    parser.add_argument("--rate", type=float, default=1e-3)
    asked = parser.parse_args()
    if asked.what == "scenes":
        make_scenes(asked.places[0], asked.count, asked.processes)
        return
    conditioned = asked.what == "conditioned"
    course = Course(
        conditioned=conditioned, depth=15 if conditioned else 12, batch=asked.batch, side=asked.side, seed=asked.seed,
        steps=asked.steps, seconds=asked.seconds, start=asked.start, learning_rate=asked.rate,
    )  # fmt: skip
    device = torch.device(asked.device)
    torch.backends.cudnn.benchmark = True
    pool = Pool(np.load(asked.places[0]), asked.scenes, device)
    train(course, pool, asked.places[1], device)


if __name__ == "__main__":
    main()
