"""Linear degradations: y = A x before noise, with adjoint A' and pseudo-inverse A+ = A' (A A' + ridge)^-1.

    Identity              A = 1
    Mask(mask)            A hides values;                    A' = A+ = A
    Blur(kernel)          circular convolution;              exact in the Fourier domain
    Imaging(kernel, f)    valid convolution, every f-th;     `ilcore.degradations.imaging`

Everything works on [tile, channel, *space] with two or three space axes, in the dtype of its argument, and every tile
by itself. Each knows three grids: the observed one, the `domain` of x, and the `field`, the part of the domain that is
the result; the rest of the domain is a margin which the kernel sees. They differ for `Imaging` only.

The laws <A x, u> = <x, A' u> and A A+ A = A are tested for all of them; Blur fulfils the second up to the frequencies
it suppresses below `tolerance`, which A+ without a ridge leaves at zero instead of amplifying noise without bound.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from ilcore.grammar.errors import BadInput


class SameGrid:
    """The grids of an operator that keeps every voxel where it is."""

    def domain(self, space: Sequence[int]) -> tuple[int, ...]:
        """Return the shape of x for an observation of this shape."""
        return tuple(space)

    def field(self, space: Sequence[int]) -> tuple[int, ...]:
        """Return the shape of the result for an observation of this shape."""
        return tuple(space)

    def inside(self, image: Tensor) -> Tensor:
        """Return the field of an image of the domain."""
        return image

    def phase(self, axes: int) -> tuple[float, ...]:
        """Return where in the field the middle of the first observed voxel lies, in voxels of the field."""
        return (0.0,) * axes

    def rim(self, axes: int) -> tuple[int, ...]:
        """Return how many observed voxels at each border depend on more than the field."""
        return (0,) * axes


@final
@dataclass(frozen=True)
class Identity(SameGrid):
    """Observe everything as it is."""

    def forward(self, clean: Tensor) -> Tensor:
        """Return x."""
        return clean

    def adjoint(self, observed: Tensor) -> Tensor:
        """Return y."""
        return observed

    def pseudo_inverse(self, observed: Tensor, ridge: float = 0.0) -> Tensor:
        """Return y, smaller by the ridge."""
        return self.solve(observed, ridge)

    def solve(self, residual: Tensor, ridge: float = 0.0) -> Tensor:
        """Return (A A' + ridge)^-1 r."""
        return residual / (1 + ridge) if ridge else residual

    def whitened(self, residual: Tensor, ridge: float = 0.0) -> Tensor:
        """Return (A A' + ridge)^-1/2 r."""
        return residual / (1 + ridge) ** 0.5 if ridge else residual

    def rows(self, rows: Sequence[int]) -> "Identity":
        """Return the operator of some tiles."""
        return self


@final
@dataclass(frozen=True, eq=False)
class Mask(SameGrid):
    """Hide values: what is not observed becomes zero.

    Args:
        mask: True where a value is observed.

    Shape:
        mask [*space], or [tile or 1, channel or 1, *space], bool.
    """

    mask: Tensor

    def forward(self, clean: Tensor) -> Tensor:
        """Return x where observed, else zero."""
        if self.mask.ndim not in (clean.ndim, clean.ndim - 2):
            raise BadInput(
                f"a mask must have the axes of space, or tile and channel besides, got shape {tuple(self.mask.shape)} "
                f"for an image of {tuple(clean.shape)}; add axes of length 1"
            )
        return clean * self.mask.to(clean)

    def adjoint(self, observed: Tensor) -> Tensor:
        """Return y where observed, else zero."""
        return self.forward(observed)

    def pseudo_inverse(self, observed: Tensor, ridge: float = 0.0) -> Tensor:
        """Return y where observed, smaller by the ridge, else zero."""
        return self.solve(observed, ridge)

    def solve(self, residual: Tensor, ridge: float = 0.0) -> Tensor:
        """Return (A A' + ridge)^-1 r where observed, else zero."""
        return self.forward(residual) / (1 + ridge)

    def whitened(self, residual: Tensor, ridge: float = 0.0) -> Tensor:
        """Return (A A' + ridge)^-1/2 r where observed, else zero."""
        return self.forward(residual) / (1 + ridge) ** 0.5

    def rows(self, rows: Sequence[int]) -> "Mask":
        """Return the operator of some tiles; a mask of one tile holds for all."""
        is_common = self.mask.ndim < 4 or len(self.mask) == 1
        return self if is_common else Mask(self.mask[list(rows)])


@final
@dataclass(frozen=True, eq=False)
class Blur(SameGrid):
    """Convolve with a kernel on a circular boundary.

    Args:
        kernel: The point spread function, its centre in the middle.
        tolerance: Frequencies passed by less than this share of the strongest are left at zero by A+ without a ridge.

    Shape:
        kernel [*space], every side odd, none longer than the image.

    Raises:
        BadInput: A side is even: the middle lies between two voxels, and the image would move by half a voxel.
    """

    kernel: Tensor
    tolerance: float = 1e-3

    def __post_init__(self) -> None:
        if any(side % 2 == 0 for side in self.kernel.shape):
            raise BadInput(
                f"the sides of a blur must be odd, or the image moves by half a voxel, got {tuple(self.kernel.shape)}; "
                "resample it with ilcore.degradations.kernels.with_parity(kernel, (1,) * axes)"
            )

    def forward(self, clean: Tensor) -> Tensor:
        """Return the blurred image."""
        return filtered(clean, self._transfer(clean))

    def adjoint(self, observed: Tensor) -> Tensor:
        """Return the image correlated with the kernel."""
        return filtered(observed, self._transfer(observed).conj())

    def pseudo_inverse(self, observed: Tensor, ridge: float = 0.0) -> Tensor:
        """Return the deblurred image; without a ridge, without the frequencies that did not pass."""
        response = self._transfer(observed)
        return filtered(observed, response.conj() * self._power(response, ridge))

    def solve(self, residual: Tensor, ridge: float = 0.0) -> Tensor:
        """Return (A A' + ridge)^-1 r; without a ridge, without the frequencies that did not pass."""
        return filtered(residual, self._power(self._transfer(residual), ridge))

    def whitened(self, residual: Tensor, ridge: float = 0.0) -> Tensor:
        """Return (A A' + ridge)^-1/2 r; without a ridge, without the frequencies that did not pass."""
        return filtered(residual, self._power(self._transfer(residual), ridge).sqrt())

    def rows(self, rows: Sequence[int]) -> "Blur":
        """Return the operator of some tiles."""
        return self

    def _power(self, response: Tensor, ridge: float) -> Tensor:
        return inverse_power(response.abs().square(), ridge, self.tolerance**2)

    def _transfer(self, image: Tensor) -> Tensor:
        return transfer(self.kernel.to(image), tuple(image.shape[2:]))


def transfer(kernel: Tensor, space: tuple[int, ...]) -> Tensor:
    """Return the half-spectrum of a centred kernel on a grid.

    Args:
        kernel: Point spread function, its centre at side // 2.
        space: Shape of the grid.

    Raises:
        BadInput: The kernel has other axes than the grid or does not fit into it.
    """
    if kernel.ndim != len(space) or any(small > large for small, large in zip(kernel.shape, space, strict=True)):
        raise BadInput(f"a kernel must fit into the image, got kernel {tuple(kernel.shape)} for image {space}")
    grid = kernel.new_zeros(space)
    grid[tuple(slice(side) for side in kernel.shape)] = kernel
    centred = grid.roll([-(side // 2) for side in kernel.shape], list(range(kernel.ndim)))
    return torch.fft.rfftn(centred)


def gaussian_kernel(width: float, axes: int = 2) -> Tensor:
    """Return a normalised Gaussian kernel.

    Args:
        width: Standard deviation in pixels, > 0.
        axes: Number of space axes.
    """
    reach = max(1, round(4 * width))
    line = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, dtype=torch.float64) / width) ** 2)
    kernel = line
    for _ in range(axes - 1):
        kernel = kernel[..., None] * line
    return kernel / kernel.sum()


def filtered(image: Tensor, response: Tensor) -> Tensor:
    """Return an image through a response in the Fourier domain, each tile and channel by itself."""
    axes = tuple(range(2, image.ndim))
    # Tile by tile: a transform of several at once rounds otherwise.
    spectra = [torch.fft.rfftn(row, dim=axes) * response for row in image.split(1)]
    return torch.cat([torch.fft.irfftn(spectrum, s=image.shape[2:], dim=axes) for spectrum in spectra])


def inverse_power(power: Tensor, ridge: float, tolerance: float) -> Tensor:
    """Return 1 / (power + ridge); without a ridge 0 where the power is below a share of the strongest."""
    if ridge > 0:
        return 1 / (power + ridge)
    passed = power > tolerance * power.max()
    return torch.where(passed, 1 / torch.where(passed, power, torch.ones_like(power)), torch.zeros_like(power))
