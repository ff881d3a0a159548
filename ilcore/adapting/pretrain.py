"""Train the blind denoiser that ships with the project, or one of the user's own, on clean-enough images.

    repeat: crop patches of the corpus, turn and flip them
            draw for every patch a noise law, a level and a correlation, all unknown to the network
            descend on the weighted squared error between denoised patch and patch
    keep an exponential average of the weights; checkpoint, so that a killed run goes on where it was

The corpus is any list of scenes: the built-in generator (`scenes.py`, `corpus.py`) or tiles of the user's archive.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ilcore.adapting.weights import save_weights
from ilcore.grammar.arrays import Streams
from ilcore.grammar.devices import device_of
from ilcore.grammar.errors import BadInput
from ilcore.grammar.problem import Problem
from ilcore.grammar.slots import LiveNetwork
from ilcore.networks.plain import Plain

Image = NDArray[np.float32]
#: Called with (step, steps, loss) now and then.
Progress = Callable[[int, int, float], None]


@dataclass(frozen=True, kw_only=True)
class TrainingSet:
    """How a denoiser is pretrained; everything that decides the weights besides the corpus.

    Args:
        steps: Updates in all; the rate is constant, then falls to zero over the last third.
        scenes: Synthetic scenes made when no archive is given.
        noisiest: Largest noise standard deviation on images in [0, 1]; 55/255 is the customary blind range.
        correlated: Share of patches whose noise is blurred by up to one pixel.
        signal_dependent: Share of patches with Poisson-Gaussian noise.
    """

    steps: int = 7000
    batch: int = 16
    side: int = 64
    learning_rate: float = 1e-3
    scenes: int = 600
    noisiest: float = 55 / 255
    correlated: float = 0.2
    signal_dependent: float = 0.3
    seed: int = 0
    checkpoint_every: int = 200


def pretrain(
    network: Plain,
    schooling: TrainingSet,
    corpus: Sequence[Image],
    out: Path,
    progress: Progress | None = None,
    *,
    device: str | torch.device = "cpu",
) -> Path:
    """Train `network` on `corpus` and save the averaged weights as safetensors.

    Args:
        network: A grey residual network; its description is stored with the weights.
        corpus: Images in [0, 1], each at least `schooling.side` wide and high.
        out: Target file; a checkpoint lies beside it until the run is complete, and goes on on any device.
        progress: Called at every checkpoint.
        device: What to compute on; patches and noise are the same on all.

    Raises:
        BadInput: When an image is smaller than a patch, or there is no such device.
    """
    place = device_of(device)
    smallest = min(min(image.shape) for image in corpus)
    if smallest < schooling.side:
        raise BadInput(
            f"images must be at least {schooling.side} pixels wide and high, got {smallest}; use larger ones"
        )
    run = _Run.resumed(network, schooling, out.with_suffix(".checkpoint"), place)
    while run.step < schooling.steps:
        loss = run.advance([part.to(place) for part in _batch(corpus, schooling, run.step)])
        if run.step % schooling.checkpoint_every == 0 or run.step == schooling.steps:
            run.save()
            if progress:
                progress(run.step, schooling.steps, loss)
    save_weights(out, run.averaged(), network)
    run.checkpoint.unlink(missing_ok=True)
    return out


def add_blind_noise(clean: Tensor, schooling: TrainingSet, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Return noisy patches and the noise level of each.

    Shape:
        clean [batch, 1, height, width] -> noisy the same, level [batch].
    """
    count = len(clean)
    level = torch.from_numpy(rng.uniform(0, 1, count).astype(np.float32)) ** 1.3 * schooling.noisiest + 1 / 255
    noise = torch.from_numpy(rng.standard_normal(clean.shape, np.float32))
    for row in np.flatnonzero(rng.random(count) < schooling.correlated):
        noise[row] = _blurred(noise[row : row + 1], float(rng.uniform(0.35, 1.0)))[0]
    counts = torch.from_numpy((rng.random(count) < schooling.signal_dependent).astype(np.float32))
    share = counts * torch.from_numpy(rng.uniform(0.5, 1, count).astype(np.float32))
    share, column = share[:, None, None, None], level[:, None, None, None]
    relative = clean / clean.mean((1, 2, 3), keepdim=True).clamp_min(0.02)
    return clean + noise * column * ((1 - share) + share * relative).sqrt(), level


def _blurred(noise: Tensor, width: float) -> Tensor:
    taps = torch.exp(-0.5 * (torch.arange(-3, 4) / width) ** 2)
    taps = taps / taps.norm()
    kernel = taps[:, None] * taps[None]
    padded = torch.nn.functional.pad(noise, (3, 3, 3, 3), mode="circular")
    return torch.nn.functional.conv2d(padded, kernel[None, None])


def _batch(corpus: Sequence[Image], schooling: TrainingSet, step: int) -> tuple[Tensor, Tensor, Tensor]:
    rng = np.random.default_rng((schooling.seed, step))
    clean = torch.from_numpy(np.stack([_patch(corpus, schooling.side, rng) for _ in range(schooling.batch)]))[:, None]
    noisy, level = add_blind_noise(clean, schooling, rng)
    return clean, noisy, level


def _patch(corpus: Sequence[Image], side: int, rng: np.random.Generator) -> Image:
    image = corpus[int(rng.integers(len(corpus)))]
    top, left = (int(rng.integers(length - side + 1)) for length in image.shape)
    patch = np.rot90(image[top : top + side, left : left + side], int(rng.integers(4)))
    return np.ascontiguousarray(patch[:, ::-1] if rng.random() < 0.5 else patch)


class _Run:
    """A training run that can be put down and taken up again."""

    def __init__(self, network: Plain, schooling: TrainingSet, checkpoint: Path, device: torch.device) -> None:
        self.schooling, self.checkpoint, self.step = schooling, checkpoint, 0
        probe = Problem(observed=torch.zeros(1, 1, schooling.side, schooling.side))
        streams = Streams.of(schooling.seed, "pretrain", [(0,)])
        self.model: LiveNetwork = network.build(probe, 1, streams, shared=True)
        _widen(self.model)
        self.model.to(device)
        self.adam = torch.optim.Adam(self.model.parameters(), lr=schooling.learning_rate)
        self.average = {name: value.detach().clone() for name, value in self.model.named_parameters()}

    @classmethod
    def resumed(cls, network: Plain, schooling: TrainingSet, checkpoint: Path, device: torch.device) -> "_Run":
        run = cls(network, schooling, checkpoint, device)
        if checkpoint.exists():
            # By way of the CPU: it may have been written on a device that is not here.
            state = torch.load(checkpoint, "cpu", weights_only=True)
            run.model.load_state_dict(state["model"])
            run.adam.load_state_dict(state["adam"])
            run.average = {name: value.to(device) for name, value in state["average"].items()}
            run.step = state["step"]
        return run

    def advance(self, batch: Sequence[Tensor]) -> float:
        clean, noisy, level = batch
        for group in self.adam.param_groups:
            group["lr"] = self._rate()
        error = (self.model(noisy, range(len(noisy))) - clean).square().mean((1, 2, 3))
        # Without the weight the noisiest patches would own the gradient.
        loss = (error / (level + 0.02)).mean()
        self.adam.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 0.5)
        self.adam.step()
        self.step += 1
        for name, value in self.model.named_parameters():
            self.average[name].lerp_(value.detach(), 0.005 if self.step > 200 else 0.1)
        return float(loss.detach())

    def _rate(self) -> float:
        left = (self.schooling.steps - self.step) / self.schooling.steps
        return self.schooling.learning_rate * min(1.0, 3 * left, (self.step + 1) / 100)

    def averaged(self) -> dict[str, Tensor]:
        return {name: value[0].cpu().clone() for name, value in self.average.items()}

    def save(self) -> None:
        partial = self.checkpoint.with_suffix(".partial")
        adam, model = self.adam.state_dict(), self.model.state_dict()
        torch.save({"model": model, "adam": adam, "average": self.average, "step": self.step}, partial)
        partial.replace(self.checkpoint)


def _widen(model: LiveNetwork) -> None:
    """Scale the initial weights up to He's rule, without which twelve bias-free layers start almost silent."""
    with torch.no_grad():
        for name, value in model.named_parameters():
            if name.endswith("weight"):
                value.mul_(6**0.5)
