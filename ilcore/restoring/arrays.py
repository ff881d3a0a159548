"""Restore an array in memory: array in, array out, no store, no cluster, no tracking."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ilcore import fit
from ilcore.adapting.weights import SHIPPED, load_denoiser
from ilcore.degradations.estimate import preflight
from ilcore.grammar.arrays import Streams
from ilcore.grammar.devices import device_of
from ilcore.grammar.errors import BadInput
from ilcore.grammar.problem import Noise, Problem
from ilcore.grammar.trial import Restoration
from ilcore.methods.catalogue import find
from ilcore.methods.entry import Entry, Scalar, configure


def restore(  # noqa: PLR0913 (the whole of what can be asked of an array, by keyword)
    noisy: NDArray[Any] | Tensor,
    method: str = "zs_n2n",
    noise_std: float | None = None,
    seed: int = 0,
    *,
    space: int = 2,
    mask: NDArray[np.bool_] | Tensor | None = None,
    weights: Path | str | None = None,
    overrides: Mapping[str, Scalar] | None = None,
    device: str | torch.device | None = None,
) -> Restoration:
    """Return the restoration of an array, its image of the same kind, shape, units and device as `noisy`.

    Args:
        noisy: Observation; anything before the channel axis is a batch of independent tiles.
        method: Name in the catalogue.
        noise_std: Standard deviation of white noise, in the units of `noisy`; None estimates the noise where a method
            must know it. A pretrained model is applied without fine-tuning where the noise is not white.
        seed: The same seed gives the same image.
        space: 2 or 3 spatial axes.
        mask: True where a value is data; others are not learnt from, and filled by methods that can inpaint.
        weights: Weights for methods that start pretrained; None takes the shipped denoiser.
        overrides: Knobs such as {"steps": 100}.
        device: What to compute on, such as "cuda" or "cuda:1"; None takes where `noisy` lies.

    Shape:
        noisy [*, channel, *space], [channel, *space] or [*space] -> image, same.

    Raises:
        BadInput: For an array that cannot be restored, an unknown method or knob, a device that is not there.
    """
    place = _place(noisy, device)
    values = _checked(noisy, space)
    batch, layout = _as_batch(values, space)
    trusted = torch.isfinite(batch) & (_as_mask(mask, values, layout) if mask is not None else True)
    scale = _Scale.of(batch, trusted)
    start, entry = None, configure(find(method), overrides or {})
    if "weights" in entry.needs:
        network, start = load_denoiser(Path(weights) if weights else SHIPPED)
        entry = entry.with_network(network) if weights else entry
    problem = Problem(
        observed=scale.filled(batch, trusted).to(place),
        trusted=None if bool(trusted.all()) else trusted.to(place),
        noise=_noise(batch, trusted, scale, noise_std) if noise_std or _asks_noise(entry, overrides or {}) else None,
        value_range=scale.value_range(batch, trusted),
    )
    streams = Streams.of(seed, method, [(row,) for row in range(len(batch))])
    if start is not None and not _is_white(problem):
        done = _applied(entry, problem, start, streams)
    else:
        done = fit.restore(entry.method, problem, streams, start=start)
    image = scale.restored(done.image.cpu())
    if "inpaint" not in entry.tasks:
        image = torch.where(trusted, image, batch)
    return _with_image(done, image.reshape(values.shape), noisy)


def _asks_noise(entry: Entry, overrides: Mapping[str, Scalar]) -> bool:
    """Tell whether the method must know the noise, or a stopping rule or a change of units that was asked for."""
    return "noise" in entry.needs or bool({"stop", "stabilise"} & set(overrides))


def _noise(batch: Tensor, trusted: Tensor, scale: "_Scale", noise_std: float | None) -> tuple[Noise, ...]:
    """Return the noise of every channel in normalised units, as told or as measured."""
    spans, lows = scale.span.flatten().tolist(), scale.low.flatten().tolist()
    if noise_std is not None:
        return tuple(Noise(read_std=noise_std / span) for span in spans)
    values = torch.where(trusted, batch, torch.tensor(torch.nan)).numpy()
    measured = preflight(list(values), np.dtype(np.float32)).channels
    return tuple(
        replace(one.noise, correlation=one.verdict, lags=(one.lag_y, one.lag_x)).scaled(low, low + span)
        for one, low, span in zip(measured, lows, spans, strict=True)
    )


def _is_white(problem: Problem) -> bool:
    return problem.noise is not None and all(noise.correlation == "white" for noise in problem.noise)


def _applied(entry: Entry, problem: Problem, start: fit.Weights, streams: Streams) -> Restoration:
    image, count = fit.predict(entry.method, problem, start, streams), len(streams)
    return Restoration(image=image, steps=(0,) * count, stopped=("noise is not white: applied as it is",) * count)


@dataclass(frozen=True)
class _Scale:
    """Percentiles of every channel over the whole array, [1, channel, *1]."""

    low: Tensor
    span: Tensor

    @classmethod
    def of(cls, batch: Tensor, trusted: Tensor) -> "_Scale":
        lows, spans = [], []
        for channel in range(batch.shape[1]):
            values = batch[:, channel][trusted[:, channel]].numpy()
            low, high = np.percentile(values, (0.1, 99.9)) if values.size else (0.0, 1.0)
            lows.append(float(low))
            spans.append(float(high - low) or 1.0)
        shape = (1, -1, *(1,) * (batch.ndim - 2))
        return cls(torch.tensor(lows).reshape(shape), torch.tensor(spans).reshape(shape))

    def filled(self, batch: Tensor, trusted: Tensor) -> Tensor:
        """Return normalised values, half grey where there is no data."""
        return torch.where(trusted, (batch - self.low) / self.span, torch.tensor(0.5))

    def restored(self, image: Tensor) -> Tensor:
        return image * self.span + self.low

    def value_range(self, batch: Tensor, trusted: Tensor) -> tuple[float, float]:
        values = self.filled(batch, trusted)
        low, high = float(values.min()), float(values.max())
        room = 0.05 * (high - low)
        return low - room, high + room


def _place(noisy: NDArray[Any] | Tensor, device: str | torch.device | None) -> torch.device:
    if device is None:
        return noisy.device if isinstance(noisy, Tensor) else torch.device("cpu")
    return device_of(device)


def _checked(noisy: NDArray[Any] | Tensor, space: int) -> Tensor:
    values = noisy if isinstance(noisy, Tensor) else np.asarray(noisy)
    kind = str(values.dtype).removeprefix("torch.")
    if not kind.startswith(("float", "int", "uint", "bfloat")):
        raise BadInput(f"an image must hold real numbers, got {kind}; convert it first")
    if space not in (2, 3) or values.ndim < space or 0 in values.shape:
        raise BadInput(
            f"an image must have shape [*, channel, *space] with {space} spatial axes and no empty axis, "
            f"got shape {tuple(values.shape)}; pass space=3 for volumes"
        )
    if isinstance(values, Tensor):
        return values.detach().cpu().float()
    return torch.from_numpy(np.ascontiguousarray(values, np.float32))


def _as_batch(values: Tensor, space: int) -> tuple[Tensor, tuple[int, ...]]:
    channels = values.shape[-space - 1] if values.ndim > space else 1
    layout = (-1, channels, *values.shape[-space:])
    return values.reshape(layout), layout


def _as_mask(mask: NDArray[np.bool_] | Tensor, values: Tensor, layout: tuple[int, ...]) -> Tensor:
    flags = (mask.cpu() if isinstance(mask, Tensor) else torch.as_tensor(np.asarray(mask))).bool()
    try:
        return flags.expand_as(values).reshape(layout)
    except RuntimeError as error:
        raise BadInput(
            f"a mask must have a shape that broadcasts to {tuple(values.shape)}, got {tuple(flags.shape)}"
        ) from error


def _with_image(done: Restoration, image: Tensor, like: NDArray[Any] | Tensor) -> Restoration:
    kind = image.to(like.device) if isinstance(like, Tensor) else image.numpy()
    return Restoration(
        image=kind,  # type: ignore[arg-type]  # numpy in, numpy out
        steps=done.steps, stopped=done.stopped, curves=done.curves, risk=done.risk,
        risk_before=done.risk_before, weights=done.weights,
    )  # fmt: skip
