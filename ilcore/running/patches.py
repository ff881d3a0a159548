"""From stored voxels to what a method sees, and back: one normalisation per channel for the whole volume."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from torch import Tensor

from ilcore.degradations.stripes import Direction, offsets_of
from ilcore.grammar.problem import Noise, Problem
from ilcore.grammar.region import Region
from ilcore.planning.depth import stacked
from ilcore.planning.plan import RestorationPlan, Three
from ilcore.volumes.volume import Volume

#: One broken pixel of 1e300 must not become an infinity in 32 bits.
_FARTHEST = 1e5
#: Widths, in voxels, over which data around a hole are averaged, the nearest last; and the least weight that counts.
_NEAR, _FAINT = (8.0, 2.0), 1e-3


@dataclass(frozen=True)
class Patch:
    """One region of the volume, as stored and as seen.

    `brightness` is what each of its planes was divided by; `stripes` are the offsets that were subtracted then.

    Shape:
        All arrays [channel, depth, y, x]; brightness [channel, depth, 1, 1].
    """

    raw: NDArray[Any]
    trusted: NDArray[np.bool_]
    seen: NDArray[np.float32]
    brightness: NDArray[np.float64]
    stripes: NDArray[np.float32]

    @property
    def is_empty(self) -> bool:
        """Tell whether there is nothing to learn from: no data, or one value everywhere."""
        return all(self.is_flat(number) for number in range(len(self.raw)))

    def is_flat(self, channel: int) -> bool:
        """Tell whether a channel holds no data, or one value everywhere."""
        values = self.raw[channel][self.trusted[channel]]
        return values.size == 0 or bool(values.min() == values.max())

    def part(self, place: tuple[slice, ...]) -> "Patch":
        """Return a part, [channel, depth, y, x]."""
        return Patch(
            self.raw[place], self.trusted[place], self.seen[place], self.brightness[place[:2]], self.stripes[place]
        )


def patch_of(volume: Volume, region: Region, plan: RestorationPlan) -> Patch:
    """Read and normalise a region; values that are not data are filled with the mean of the data near them."""
    block = volume.read(region)
    raw, trusted = stacked(block, plan.depth), stacked(volume.valid(region, block), plan.depth)
    brightness = _brightness(region, plan, raw.shape[1])
    seen, stripes = np.empty(raw.shape, np.float32), np.broadcast_to(np.float32(0), raw.shape)
    for number, channel in enumerate(plan.channels):
        # Differences are taken in float64: 16 bits of signal on a large offset must survive.
        scaled = (raw[number].astype(np.float64) - channel.low) / ((channel.high - channel.low) * brightness[number])
        seen[number] = _filled(np.clip(scaled, -_FARTHEST, _FARTHEST), trusted[number])
    if plan.stripes is not None:
        stripes = _stripes(seen, trusted, plan.stripes)
        seen -= stripes
    return Patch(raw, trusted, seen, brightness, stripes)


def _stripes(seen: NDArray[np.float32], trusted: NDArray[np.bool_], direction: Direction) -> NDArray[np.float32]:
    """Return the offsets of every plane, [channel, depth, y, x]."""
    known = np.where(trusted, seen, np.nan).reshape(-1, *seen.shape[2:]).astype(np.float64)
    offsets = [np.broadcast_to(offsets_of(plane, direction), plane.shape) for plane in known]
    return np.asarray(np.stack(offsets).reshape(seen.shape), np.float32)


def _brightness(region: Region, plan: RestorationPlan, depth: int) -> NDArray[np.float64]:
    """Return what the planes of a region are divided by, [channel, depth, 1, 1]."""
    if plan.planes is None:
        return np.ones((len(plan.channels), depth, 1, 1))
    first, last = region[0] if plan.planes.axis == "t" else region[2]
    held = np.array([channel[first:last] for channel in plan.planes.brightness])
    return np.broadcast_to(held, (len(held), depth))[:, :, None, None]


def noise_of(frames: Sequence[Patch], plan: RestorationPlan) -> tuple[Noise, ...]:
    """Return the noise of regions as seen, by channel; planes of several brightnesses count as their mean."""
    means = np.mean([frame.brightness.mean(axis=(1, 2, 3)) for frame in frames], axis=0)
    return tuple(channel.noise.scaled(0.0, float(mean)) for channel, mean in zip(plan.channels, means, strict=True))


def _filled(values: NDArray[np.float64], trusted: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Fill what is not data with a mean of the data around it; far from any data, with the median of all.

    A border of the data must look like more of the same to a method, or it would pull the last voxels its way.
    """
    if trusted.all():
        return values
    known = np.where(trusted, values, 0.0)
    filled = np.where(trusted, values, np.median(values[trusted]) if trusted.any() else 0.5)
    for width in _NEAR:
        weight = gaussian_filter(trusted.astype(np.float64), width, mode="constant", truncate=3)
        near = ~trusted & (weight > _FAINT)
        filled[near] = gaussian_filter(known, width, mode="constant", truncate=3)[near] / weight[near]
    return filled


def problem_of(frames: Sequence[Patch], plan: RestorationPlan, device: str) -> Problem:
    """Return the problem of several regions of one size."""
    observed = _tensor(np.stack([frame.seen for frame in frames]), plan.space, device)
    trusted = np.stack([frame.trusted for frame in frames])
    return Problem(
        observed=observed,
        trusted=None if trusted.all() else _tensor(trusted, plan.space, device),
        noise=noise_of(frames, plan),
        operator=plan.operator,
        value_range=plan.value_range,
    )


def stored_units(image: NDArray[np.float32], frame: Patch, plan: RestorationPlan) -> NDArray[np.float64]:
    """Return a normalised image of a frame in the units of the source, [channel, depth, y, x].

    Where the source is data, what the method took away is taken away from the stored value, and stripes with it: a
    method that changes nothing returns the source to the last bit, whatever 32 bits of normalised value would have
    rounded. Channels of one value stay as they are. Values that are not data become NaN, which means that the source
    is kept, unless the plan is to fill them.
    """
    if plan.is_finer:
        return _finer_units(image, frame, plan)
    out = as_it_was(frame, plan)
    for number, channel in enumerate(plan.channels):
        if frame.is_flat(number):
            continue
        span, trusted = (channel.high - channel.low) * frame.brightness[number], frame.trusted[number]
        restored = image[number].astype(np.float64)
        out[number] += (restored - frame.seen[number] - frame.stripes[number]) * span
        if plan.task == "inpaint":
            out[number] = np.where(trusted, out[number], restored * span + channel.low)
    return out


def _finer_units(image: NDArray[np.float32], frame: Patch, plan: RestorationPlan) -> NDArray[np.float64]:
    """Return a normalised image on the grid of the result in the units of the source: each voxel was made."""
    out = repeated(as_it_was(frame, plan), plan.factors)
    for number, channel in enumerate(plan.channels):
        if not frame.is_flat(number):
            span = (channel.high - channel.low) * repeated(frame.brightness[number], (plan.factors[0], 1, 1))
            made = image[number].astype(np.float64) * span + channel.low
            out[number] = np.where(np.isnan(out[number]), np.nan, made)
    return out


def repeated(values: NDArray[Any], factors: Three) -> NDArray[Any]:
    """Return an array whose last axes are z, y, x with every value as often as the result is finer."""
    for axis, factor in zip((-3, -2, -1), factors, strict=True):
        values = np.repeat(values, factor, axis) if factor > 1 else values
    return values


def as_it_was(frame: Patch, plan: RestorationPlan) -> NDArray[np.float64]:
    """Return the stored values of a frame; what is not data is NaN, or to be filled the one value of its channel."""
    out = np.where(frame.trusted, frame.raw.astype(np.float64), np.nan)
    for number, trusted in enumerate(frame.trusted):
        if plan.task == "inpaint" and frame.is_flat(number) and trusted.any():
            out[number] = frame.raw[number][trusted][0]
    return out


def to_numpy(image: Tensor) -> NDArray[np.float32]:
    """Return [tile, channel, *space] as [tile, channel, z, y, x]."""
    values: NDArray[np.float32] = image.detach().float().cpu().numpy()
    return values if values.ndim == 5 else values[:, :, None]


def _tensor(values: NDArray[Any], space: int, device: str) -> Tensor:
    return torch.from_numpy(values if space == 3 else values[:, :, 0]).to(device)
