"""Train a blind denoiser, measure it on scenes it has not seen, and register it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from prefect import task
from prefect.cache_policies import NO_CACHE

from ilcore.adapting.pretrain import Schooling, pretrain, synthetic_corpus
from ilcore.adapting.scenes import scene
from ilcore.grammar.errors import BadInput
from ilcore.networks.plain import Plain
from ilcore.restoring.arrays import restore
from ilcore.volumes.open import open_volume
from tasks.progress import Progress
from tasks.tracking import CHAMPION, Registered, Tracker

Image = NDArray[np.float32]

#: Noise levels of the customary table, on grey values of 0 to 255.
LEVELS = (15, 25, 50)
#: Seeds of the scenes that are measured; the corpus never reaches them.
UNSEEN = range(900_000_000, 900_000_006)
CROP = 256


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """What to train on, and how long.

    Args:
        archives: Volumes; none for the built-in generator of scenes.
        width: Channels of the network.
        depth: Convolutions of the network.
    """

    out: str
    archives: tuple[str, ...] = ()
    steps: int = 6000
    scenes: int = 600
    batch: int = 16
    width: int = 64
    depth: int = 12
    seed: int = 0

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
    schooling, out = lesson.schooling(), Path(lesson.out)
    if out.suffix != ".safetensors":
        raise BadInput(f"weights must be written to a .safetensors file, got {out.name}; for example mine.safetensors")
    out.parent.mkdir(parents=True, exist_ok=True)
    corpus = archive_corpus(lesson.archives, schooling) if lesson.archives else _generated(schooling)
    with Progress.of("pretrain", schooling.steps, "steps") as progress:
        return pretrain(lesson.network(), schooling, corpus, out, partial(_show, progress))


@task(name="examine", cache_policy=NO_CACHE)
def examine(weights: Path) -> dict[str, float]:
    """Return the PSNR in dB on unseen scenes at each noise level."""
    return {f"psnr_scenes_{level}": _mean_psnr(weights, level / 255) for level in LEVELS}


@task(name="register", cache_policy=NO_CACHE)
def register(weights: Path, metrics: dict[str, float], tracking_uri: str, alias: str = CHAMPION) -> Registered:
    """Put the weights into the model registry."""
    return Tracker(tracking_uri).register_weights(weights, alias=alias, metrics=metrics)


def archive_corpus(archives: Sequence[str], schooling: Schooling) -> list[Image]:
    """Return crops of volumes as images in [0, 1], drawn evenly from all planes and channels.

    Raises:
        BadInput: When no volume is as wide and high as a patch.
    """
    rng = np.random.default_rng(schooling.seed)
    each = -(-schooling.scenes // len(archives))
    crops = [crop for uri in archives for crop in _crops(uri, each, schooling.side, rng)]
    if not crops:
        raise BadInput(f"a corpus must hold planes of at least {schooling.side} pixels a side, got none in {archives}")
    return crops


def _crops(uri: str, count: int, side: int, rng: np.random.Generator) -> list[Image]:
    volume = open_volume(uri)
    times, channels, planes, height, width = volume.shape
    if min(height, width) < side:
        return []
    crops: list[Image] = []
    for _ in range(count):
        t, c, z = (int(rng.integers(length)) for length in (times, channels, planes))
        tall, wide = min(height, CROP), min(width, CROP)
        y, x = int(rng.integers(height - tall + 1)), int(rng.integers(width - wide + 1))
        crops.append(volume.read(((t, t + 1), (c, c + 1), (z, z + 1), (y, y + tall), (x, x + wide)))[0, 0, 0])
    values = np.concatenate([crop.ravel() for crop in crops]).astype(np.float32)
    low, high = np.percentile(values[np.isfinite(values)], (0.1, 99.9))
    return [_in_range(crop, float(low), float(high)) for crop in crops]


def _in_range(crop: NDArray[np.generic], low: float, high: float) -> Image:
    scaled = (crop.astype(np.float32) - low) / max(high - low, 1e-12)
    return np.clip(np.nan_to_num(scaled, nan=0.0), 0, 1)


def _generated(schooling: Schooling) -> list[Image]:
    return synthetic_corpus(schooling.scenes, schooling.seed)


def _show(progress: Progress, step: int, steps: int, loss: float) -> None:
    progress.reach(step, f"loss {loss:.5f}")


def _mean_psnr(weights: Path, noise_std: float) -> float:
    return float(np.mean([_psnr(weights, noise_std, seed) for seed in UNSEEN]))


def _psnr(weights: Path, noise_std: float, seed: int) -> float:
    clean = scene(seed, 128)
    noisy = clean + np.random.default_rng(seed).normal(0, noise_std, clean.shape).astype(np.float32)
    done = restore(noisy, "adapted", weights=weights, overrides={"steps": 0})
    return float(-10 * np.log10(np.mean((np.asarray(done.image) - clean) ** 2)))
