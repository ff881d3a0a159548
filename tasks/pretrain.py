"""Train a blind denoiser, measure it on scenes it has not seen, and register it."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from prefect import task
from prefect.cache_policies import NO_CACHE

from ilcore.adapting.corpus import Image, archive_corpus, synthetic_corpus
from ilcore.adapting.pretrain import Schooling, pretrain
from ilcore.adapting.scenes import scene
from ilcore.grammar.devices import device_of
from ilcore.grammar.errors import BadInput
from ilcore.networks.plain import Plain
from ilcore.running.arrays import restore
from tasks.progress import Progress
from tasks.tracking.champions import Registered
from tasks.tracking.client import CHAMPION, Tracker

#: Noise levels of the customary table, on grey values of 0 to 255.
LEVELS = (15, 25, 50)
#: Seeds of the scenes that are measured; the corpus never reaches them.
UNSEEN = range(900_000_000, 900_000_006)


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """What to train on, and how long.

    Args:
        archives: Volumes, or folders of them; none for the built-in generator of scenes.
        width: Channels of the network.
        depth: Convolutions of the network.
        device: What to train on; auto takes a GPU where there is one.
    """

    out: str
    archives: tuple[str, ...] = ()
    steps: int = 7000
    scenes: int = 600
    batch: int = 16
    width: int = 64
    depth: int = 12
    seed: int = 0
    device: str = "auto"

    def schooling(self) -> Schooling:
        """Return the same as the library wants it."""
        often = max(1, min(200, self.steps // 20))
        return Schooling(
            steps=self.steps, scenes=self.scenes, batch=self.batch, seed=self.seed, checkpoint_every=often
        )  # fmt: skip

    def network(self) -> Plain:
        """Return the network: bias-free, so that noise levels outside the lesson are met too."""
        return Plain(
            width=self.width, depth=self.depth, residual=True, pointwise_end=False, slope=0.0, bias=False,
            shuffle=2, grey=True,
        )  # fmt: skip


@task(name="school", cache_policy=NO_CACHE)
def school(lesson: Lesson) -> Path:
    """Train, and return the weight file; a killed run goes on at its last checkpoint."""
    schooling, out, device = lesson.schooling(), Path(lesson.out), device_of(lesson.device)
    if out.suffix != ".safetensors":
        raise BadInput(f"weights must be written to a .safetensors file, got {out.name}; for example mine.safetensors")
    out.parent.mkdir(parents=True, exist_ok=True)
    corpus = gather(lesson)
    with Progress.of("pretrain", schooling.steps, "steps") as progress:
        return pretrain(lesson.network(), schooling, corpus, out, partial(_show, progress), device=device)


@task(name="examine", cache_policy=NO_CACHE)
def examine(weights: Path) -> dict[str, float]:
    """Return the PSNR in dB on unseen scenes at each noise level."""
    return {f"psnr_scenes_{level}": _mean_psnr(weights, level / 255) for level in LEVELS}


@task(name="register", cache_policy=NO_CACHE)
def register(weights: Path, metrics: dict[str, float], tracking_uri: str, alias: str = CHAMPION) -> Registered:
    """Put the weights into the model registry."""
    return Tracker(tracking_uri).register_weights(weights, alias=alias, metrics=metrics)


def gather(lesson: Lesson) -> list[Image]:
    """Return the corpus of a lesson, its archives in equal shares."""
    if not lesson.archives:
        return synthetic_corpus(lesson.scenes, lesson.seed)
    each, side = -(-lesson.scenes // len(lesson.archives)), lesson.schooling().side
    # A cut is twice a patch, so that a patch can be drawn from it at many places.
    return [cut for archive in lesson.archives for cut in archive_corpus(Path(archive), each, 2 * side, lesson.seed)]


def _show(progress: Progress, step: int, steps: int, loss: float) -> None:
    progress.reach(step, f"loss {loss:.5f}")


def _mean_psnr(weights: Path, noise_std: float) -> float:
    return float(np.mean([_psnr(weights, noise_std, seed) for seed in UNSEEN]))


def _psnr(weights: Path, noise_std: float, seed: int) -> float:
    clean = scene(seed, 128)
    noisy = clean + np.random.default_rng(seed).normal(0, noise_std, clean.shape).astype(np.float32)
    done = restore(noisy, "adapted", weights=weights, overrides={"steps": 0})
    return float(-10 * np.log10(np.mean((np.asarray(done.image) - clean) ** 2)))
