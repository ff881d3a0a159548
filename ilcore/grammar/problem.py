"""What is known about a restoration before it starts. There is no field for the truth."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from ilcore.grammar.arrays import Mask, Tiles, repeated

Value = TypeVar("Value", float, Any)


@dataclass(frozen=True, kw_only=True)
class Noise:
    """Noise of one channel: var(y | x) = gain * (x - offset) + read_std**2.

    Args:
        gain: Grey levels per count, >= 0; 0 means purely Gaussian noise.
        read_std: Standard deviation of the signal-independent part, grey levels.
        offset: Grey level of zero light.
        correlation: white, row, column, isotropic or unknown.
        lags: Correlation of the noise of neighbours along y and along x; zeros where nobody measured it.

    Reference:
        Foi et al., "Practical Poissonian-Gaussian noise modeling", TIP 2008, eq. 5.
    """

    gain: float = 0.0
    read_std: float = 0.0
    offset: float = 0.0
    correlation: str = "white"
    lags: tuple[float, float] = (0.0, 0.0)

    def variance(self, signal: Any) -> Any:
        """Return the noise variance at a signal level (float, numpy array or tensor)."""
        above = signal - self.offset
        return self.gain * above * (above > 0) + self.read_std**2

    def std_at(self, level: float) -> float:
        """Return the noise standard deviation at one signal level."""
        return float(self.variance(float(level)) ** 0.5)

    def scaled(self, low: float, high: float) -> "Noise":
        """Return the same noise in units where low is 0 and high is 1."""
        span = high - low
        return Noise(
            gain=self.gain / span,
            read_std=self.read_std / span,
            offset=(self.offset - low) / span,
            correlation=self.correlation,
            lags=self.lags,
        )


class Operator(Protocol):
    """A linear degradation: y = A x before noise.

    The unknown x lies on the `domain` of an observation; its `field` is the part that is the result.
    """

    def domain(self, space: Sequence[int]) -> tuple[int, ...]:
        """Return the shape of x for an observation of this shape."""

    def field(self, space: Sequence[int]) -> tuple[int, ...]:
        """Return the shape of the result for an observation of this shape."""

    def inside(self, image: Tensor) -> Tensor:
        """Return the field of an image of the domain."""

    def phase(self, axes: int) -> tuple[float, ...]:
        """Return where in the field the middle of the first observed voxel lies, in voxels of the field."""

    def rim(self, axes: int) -> tuple[int, ...]:
        """Return how many observed voxels at each border depend on more than the field."""

    def rows(self, rows: Sequence[int]) -> "Operator":
        """Return the operator of some tiles of the batch."""

    def forward(self, clean: Tensor) -> Tensor:
        """Return A x."""

    def adjoint(self, observed: Tensor) -> Tensor:
        """Return A' y."""

    def pseudo_inverse(self, observed: Tensor, ridge: float = 0.0) -> Tensor:
        """Return A' (A A' + ridge)^-1 y."""

    def solve(self, residual: Tensor, ridge: float = 0.0) -> Tensor:
        """Return (A A' + ridge)^-1 r."""

    def whitened(self, residual: Tensor, ridge: float = 0.0) -> Tensor:
        """Return (A A' + ridge)^-1/2 r."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One batch of tiles and everything known about how they were degraded.

    Args:
        observed: Normalised observation; untrusted values are already filled with something harmless.
        noise: One entry per channel in the same units, or None where nobody knows.
        trusted: True where a value may be learnt from; None means everywhere.
        operator: None means the identity.
        value_range: Range in which restored values are expected, with headroom.

    Shape:
        observed [tile, channel, *space] float32; trusted the same, bool.
    """

    observed: Tiles
    noise: tuple[Noise, ...] | None = None
    trusted: Mask | None = None
    operator: Operator | None = None
    value_range: tuple[float, float] = (0.0, 1.0)

    @property
    def space(self) -> tuple[int, ...]:
        """Return the spatial shape of the observation."""
        return tuple(self.observed.shape[2:])

    @property
    def domain(self) -> tuple[int, ...]:
        """Return the spatial shape of the unknown: what a network makes."""
        return self.space if self.operator is None else self.operator.domain(self.space)

    @property
    def field(self) -> tuple[int, ...]:
        """Return the spatial shape of the result."""
        return self.space if self.operator is None else self.operator.field(self.space)

    def inside(self, image: Tensor) -> Tensor:
        """Return the field of images of the domain, [tile, channel, *space]."""
        return image if self.operator is None else self.operator.inside(image)

    def plain(self) -> Tiles:
        """Return what stands where nothing else does: the observation, or on another grid its nearest voxels.

        Shape:
            [tile, channel, *field].
        """
        return repeated(self.observed, self.field)

    @property
    def channels(self) -> int:
        """Return the number of channels."""
        return int(self.observed.shape[1])

    @property
    def weight(self) -> Tensor:
        """Return the trusted mask as float, all ones where nothing is known."""
        if self.trusted is None:
            return torch.ones_like(self.observed)
        return self.trusted.to(self.observed.dtype)

    def noise_std(self, signal: Tensor) -> Tensor:
        """Return the noise standard deviation at every voxel of `signal`, which has the shape of observed."""
        if self.noise is None:
            raise ValueError("noise_std needs a noise model, got none; check problem.noise first")
        planes = [model.variance(signal[:, c]).clamp_min(0).sqrt() for c, model in enumerate(self.noise)]
        return torch.stack(planes, 1)

    def unbiased_variance(self) -> Tensor:
        """Return at every voxel what has the noise variance there as its mean, over the noise: not cut at zero.

        Where the signal is dark and read noise takes the observation below zero light, it may be negative.
        """
        if self.noise is None:
            raise ValueError("unbiased_variance needs a noise model, got none; check problem.noise first")
        seen = self.observed
        return torch.stack([m.gain * (seen[:, c] - m.offset) + m.read_std**2 for c, m in enumerate(self.noise)], 1)

    def rows(self, rows: Sequence[int]) -> "Problem":
        """Return the problem of some tiles of the batch."""
        chosen = list(rows)
        trusted = None if self.trusted is None else self.trusted[chosen]
        return Problem(
            observed=self.observed[chosen],
            noise=self.noise,
            trusted=trusted,
            operator=None if self.operator is None else self.operator.rows(chosen),
            value_range=self.value_range,
        )
