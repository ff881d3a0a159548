"""Restore an array in memory: array in, array out, no store, no cluster, no tracking."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ilcore import fit
from ilcore.adapting.weights import SHIPPED, load_denoiser
from ilcore.aims.aim import OperatorOptions
from ilcore.aims.ratios import Number
from ilcore.aims.registry import aim_for
from ilcore.degradations.kernels import Psf
from ilcore.grammar.arrays import Streams, repeated
from ilcore.grammar.devices import device_of
from ilcore.grammar.errors import BadInput
from ilcore.grammar.layers import FILLED, KEPT, MEASURED
from ilcore.grammar.problem import Operator, Problem
from ilcore.grammar.region import Five, five
from ilcore.grammar.step_context import Restoration
from ilcore.grammar.stop_reason import StopReason
from ilcore.methods.catalogue import COPY
from ilcore.methods.entry import Scalar
from ilcore.planning.array_choice import Seen, Way, asked, chosen
from ilcore.planning.array_scale import Scale
from ilcore.qa.explained import explained


def restore(  # noqa: PLR0913 (the whole of what can be asked of an array, by keyword)
    noisy: NDArray[Any] | Tensor,
    method: str | None = None,
    noise_std: float | None = None,
    seed: int = 0,
    *,
    space: int = 2,
    mask: NDArray[np.bool_] | Tensor | None = None,
    weights: Path | str | None = None,
    overrides: Mapping[str, Scalar] | None = None,
    device: str | torch.device | None = None,
    task: str = "denoise",
    scale: Number | Sequence[Number] | None = None,
    psf: Psf | None = None,
) -> Restoration:
    """Return the restoration of an array, its image of the same kind, shape, units and device as `noisy`.

    Image, risk and spread are in the units of `noisy`; a risk over channels of several scales is None. Float64 and
    whole numbers of more than 16 bits come out as float64, all else as float32. Single values far beyond all that
    their neighbourhoods hold, such as those of hot pixels, are not learnt from and stay as they are. The provenance of
    each voxel is told: measured, decided by the prior, filled, or kept.

    Args:
        noisy: Observation; anything before the channel axis is a batch of independent tiles.
        method: Name in the catalogue; None chooses as `il restore` does, and the result says what and why.
        noise_std: Standard deviation of white noise, in the units of `noisy`; None estimates the noise where a method
            must know it, or one is chosen. A pretrained model is applied without fine-tuning where the noise is not
            white.
        seed: The same seed gives the same image.
        space: 2 or 3 spatial axes.
        mask: True where a value is data; others are not learnt from, and filled by methods that can inpaint.
        weights: Weights for methods that start pretrained; None takes the shipped denoiser.
        overrides: Knobs such as {"steps": 100}.
        device: What to compute on, such as "cuda" or "cuda:1"; None takes where `noisy` lies.
        task: denoise, inpaint, or superres: make it finer, and say in `qa` how well the result explains `noisy` and
            which share of it the observation does not decide.
        scale: For superres, by how much: one number for all axes of space, or one for each, such as (2, 1, 1).
        psf: For superres, what a voxel of `noisy` gathers from the finer image: "bicubic" (None), "box", "gaussian:1.6"
            in voxels of the result, or an array.

    Shape:
        noisy [*, channel, *space], [channel, *space] or [*space] -> image, the same; superres: *space times the scale.

    Raises:
        BadInput: For an array that cannot be restored, an unknown task, method or knob, a method that cannot do the
            task, a scale or kernel that is none, a device that is not there.
    """
    aim = aim_for(task, scale=scale, space=space)
    place = _place(noisy, device)
    if noise_std is not None and not 0 < noise_std < np.inf:
        raise BadInput(f"noise_std must be above 0 and finite, got {noise_std}; leave it out to have it estimated")
    values = _checked(noisy, space)
    batch, layout = _as_batch(values, space)
    trusted = torch.isfinite(batch) & (_as_mask(mask, values, layout) if mask is not None else True)
    operator = aim.operator(OperatorOptions(psf=psf, space=space), _Sized.of(batch))
    seen = Seen(Scale.of(batch, trusted), _kind(noisy), noise_std, seed)
    own, knobs = Path(weights) if weights else None, overrides or {}
    bare = seen.without_stripes() if method is None and operator is None else seen
    way = chosen(bare, aim, own, knobs) if method is None else asked(seen, aim, method, own, knobs)
    # What is kept is kept with its stripes.
    seen = seen if way.entry.name == COPY else bare
    problem = _posed(way, seen, place, operator)
    done = _carried_out(way, seen, problem)
    if operator is not None:
        problem = replace(problem, noise=seen.told())
        done = replace(done, qa=explained(problem, done.image))
    kept = seen.scale.wild | (seen.scale.is_flat & trusted)
    if "inpaint" not in way.entry.tasks:
        kept = kept | ~trusted
    stays, before = (repeated(each, done.image.shape[2:]) for each in (kept, batch))
    origin = _origin(aim.provenance(problem, done.image), stays, repeated(trusted, done.image.shape[2:]))
    done = replace(done, provenance=origin)
    return _as_given(done, torch.where(stays, before, seen.scale.restored(done.image)), way, seen, noisy)


def _origin(told: NDArray[np.uint8], stays: Tensor, trusted: Tensor) -> Tensor:
    """Return where each voxel comes from: what an aim tells of it, unless it stays as it is, or was filled besides."""
    of_data = torch.where(stays, MEASURED, torch.from_numpy(told))
    return torch.where(trusted, of_data, torch.where(stays, KEPT, FILLED)).to(torch.uint8)


@dataclass(frozen=True)
class _Sized:
    """An array as the source of an aim, t c z y x; nobody knows the size of its voxels."""

    shape: Five
    scale: tuple[float, float, float, float, float] = (1.0, 1.0, 1.0, 1.0, 1.0)

    @classmethod
    def of(cls, batch: Tensor) -> "_Sized":
        tiles, channels, *space = batch.shape
        return cls(five([tiles, channels, *([1] if len(space) == 2 else []), *space]))


def _posed(way: Way, seen: Seen, place: torch.device, operator: Operator | None) -> Problem:
    scale = seen.scale
    return Problem(
        observed=scale.normalised.to(place),
        trusted=None if bool(scale.trusted.all()) else scale.trusted.to(place),
        noise=way.noise,
        operator=operator,
        value_range=scale.value_range(),
    )


def _carried_out(way: Way, seen: Seen, problem: Problem) -> Restoration:
    entry, start = way.entry, None
    if way.weights is not None:
        network, start = load_denoiser(way.weights)
        entry = entry if way.weights == SHIPPED else entry.with_network(network)
    count = len(problem.observed)
    streams = Streams.of(seen.seed, entry.name, [(row,) for row in range(count)])
    if start is not None and not _is_white(problem):
        image = fit.predict(entry.method, problem, start, streams)
        ended = StopReason.applied("noise is not white: applied as it is")
        return Restoration(image=image, steps=(0,) * count, stopped=(ended,) * count)
    if way.is_shared and count > 1:
        return fit.learn(entry.method, problem, streams, start=start)
    return fit.restore(entry.method, problem, streams, start=start)


def _is_white(problem: Problem) -> bool:
    return problem.noise is not None and all(noise.correlation == "white" for noise in problem.noise)


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
        return values.detach().cpu().double()
    return torch.from_numpy(np.ascontiguousarray(values, np.float64))


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


def _as_given(done: Restoration, image: Tensor, way: Way, seen: Seen, like: NDArray[Any] | Tensor) -> Restoration:
    """Return a restoration in the units, shape, kind and place of the array that was given."""
    scale, space = seen.scale, image.shape[2:]
    floating = torch.float64 if _is_wide(seen.kind) else torch.float32

    def given(values: Tensor, kind: torch.dtype = floating) -> Any:
        shaped = values.reshape((*like.shape[: like.ndim - len(space)], *space)).to(kind)
        return shaped.to(like.device) if isinstance(like, Tensor) else shaped.numpy()

    wild = int(scale.wild.sum())
    return replace(
        done,
        image=given(image),
        provenance=None if done.provenance is None else given(done.provenance, torch.uint8),
        spread=None if done.spread is None else given(done.spread.cpu().double() * scale.span),
        risk=tuple(map(scale.squared, done.risk)),
        risk_before=tuple(map(scale.squared, done.risk_before)),
        method=way.entry.name,
        why=f"{way.why}; {wild} values far beyond all others stay as they are" if wild else way.why,
    )


def _is_wide(kind: np.dtype[Any]) -> bool:
    """Tell whether 32 floating bits do not hold every value."""
    return kind.itemsize > (4 if kind.kind == "f" else 2)


def _kind(noisy: NDArray[Any] | Tensor) -> np.dtype[Any]:
    if not isinstance(noisy, Tensor):
        return np.asarray(noisy).dtype.newbyteorder("=")
    return np.dtype(np.float32) if noisy.dtype == torch.bfloat16 else torch.empty(0, dtype=noisy.dtype).numpy().dtype
