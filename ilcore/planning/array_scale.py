"""Normalisation of an array, channel by channel, that neither offsets nor a few wild values change.

array ── 64 bits ── minus `low` ── over `span` ── 32 bits ── method ── 64 bits ── times `span` ── plus `low`
"""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from ilcore.grammar.errors import BadInput
from ilcore.grammar.problem import Noise
from ilcore.planning.known import range_of

#: A value is wild that lies this many times the range of all neighbourhoods, and this many times the deviation from
#: them, beyond that range.
_RANGES, _DEVIATIONS = 1.0, 20.0
#: More than this share of the values, and more than so many, are not wild but what the image shows.
_MOST_WILD, _FEW = 1e-3, 4
#: Normalised values are rounded to so many steps, so that the same array in other units has the same ones to the bit:
#: what a network does with the last bits of its input is chaos.
_STEPS = 2**22
#: Robust deviation of a normal variable over its standard deviation.
_MAD = 0.6745


@dataclass(frozen=True)
class ArrayChannel:
    """Normalisation of one channel, `low` and `high` become 0 and 1, and its noise in such units, where it is known."""

    low: float
    high: float
    is_flat: bool
    noise: Noise = field(default_factory=Noise)


@dataclass(frozen=True)
class Scale:
    """Normalisation of every channel over the whole array.

    Args:
        batch: Values, 64 bits; wild ones have the median of their neighbourhood.
        trusted: Where they are data.
        wild: Where they were wild.
        channels: One for each channel.

    Shape:
        batch, trusted, wild [tile, channel, *space].
    """

    batch: Tensor
    trusted: Tensor
    wild: Tensor
    channels: tuple[ArrayChannel, ...]

    @classmethod
    def of(cls, batch: Tensor, trusted: Tensor) -> "Scale":
        """Look at all values that are data.

        Raises:
            BadInput: When values lie too far apart.
        """
        wild, tame = torch.zeros_like(trusted), batch.clone()
        channels = []
        for number in range(batch.shape[1]):
            values, known = batch[:, number].numpy(), trusted[:, number].numpy()
            around = _neighbourhoods(values, known)
            odd = _wild(values, around, known)
            wild[:, number] = torch.from_numpy(odd)
            tame[:, number] = torch.from_numpy(np.where(odd, around, values))
            channels.append(_channel(tame[:, number].numpy()[known]))
        return cls(tame, trusted, wild, tuple(channels))

    @property
    def low(self) -> Tensor:
        """Return what becomes 0, [1, channel, *1]."""
        return self._each([channel.low for channel in self.channels])

    @property
    def span(self) -> Tensor:
        """Return how many units become 1, [1, channel, *1]."""
        return self._each([channel.high - channel.low for channel in self.channels])

    @property
    def is_flat(self) -> Tensor:
        """Tell which channels hold one value only, [1, channel, *1]."""
        return self._each([channel.is_flat for channel in self.channels]).bool()

    @cached_property
    def normalised(self) -> Tensor:
        """Return normalised values, half grey where there is no data, 32 bits."""
        exact = torch.where(self.trusted, (self.batch - self.low) / self.span, 0.5)
        return ((exact * _STEPS).round() / _STEPS).float()

    @property
    def known(self) -> Tensor:
        """Return the values with NaN where there is no data."""
        return torch.where(self.trusted, self.batch, torch.nan)

    def restored(self, image: Tensor) -> Tensor:
        """Return a normalised image in the units of the array, 64 bits."""
        return image.cpu().double() * self.span + self.low

    def value_range(self) -> tuple[float, float]:
        """Return the range of normalised values, and a little room."""
        low, high = float(self.normalised.min()), float(self.normalised.max())
        room = 0.05 * (high - low)
        return low - room, high + room

    def squared(self, risk: float | None) -> float | None:
        """Return a mean squared error over all channels in the units of the array; None where these differ in scale."""
        spans = self.span.flatten()
        return None if risk is None or bool((spans != spans[0]).any()) else risk * float(spans[0]) ** 2

    def _each(self, values: list[float]) -> Tensor:
        return torch.tensor(values, dtype=torch.float64).reshape(1, -1, *(1,) * (self.batch.ndim - 2))


def _channel(values: NDArray[np.float64]) -> ArrayChannel:
    floor, low, high, ceiling = range_of(values)
    if not np.isfinite(ceiling - floor):
        raise BadInput(f"values that differ by less than 1e308 were wanted, got {floor:g} to {ceiling:g}; rescale them")
    return ArrayChannel(low, high, is_flat=ceiling <= floor)


def _neighbourhoods(values: NDArray[np.float64], known: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the median of every 3 x 3 pixels, plane by plane."""
    filled = np.where(known, values, np.median(values[known]) if known.any() else 0.0)
    return np.asarray(ndimage.median_filter(filled, (*(1,) * (filled.ndim - 2), 3, 3), mode="mirror"))


def _wild(values: NDArray[np.float64], around: NDArray[np.float64], known: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Tell which values lie far beyond all that any neighbourhood agrees on, as those of hot and dead pixels do."""
    if not known.any():
        return np.zeros_like(known)
    floor, ceiling = float(around[known].min()), float(around[known].max())
    deviation = float(np.median(np.abs(values - around)[known])) / _MAD
    far = _RANGES * (ceiling - floor) + _DEVIATIONS * deviation
    found = known & ((values > ceiling + far) | (values < floor - far))
    return found if found.sum() <= max(_FEW, _MOST_WILD * known.sum()) else np.zeros_like(known)
