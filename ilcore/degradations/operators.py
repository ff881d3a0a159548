"""Linear degradations: y = A x before noise, with adjoint A' and pseudo-inverse A+.

    Identity            A = 1
    Mask(mask)          A hides values;                A' = A+ = A
    Blur(kernel)        circular convolution;          A+ divides in the Fourier domain
    Shrink(factor)      blur, then every factor-th;    A+ = A' (A A')^-1

Everything works on [tile, channel, *space] with two or three space axes, in the dtype of its argument. The boundary is
circular: that makes A' and A+ exact. Where a real boundary matters, hide a margin of the kernel's reach.

The laws <A x, u> = <x, A' u> and A A+ A = A are tested for all of them; Blur and Shrink fulfil the second up to the
frequencies they suppress below `tolerance`, which A+ leaves at zero instead of amplifying noise without bound.
"""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from ilcore.grammar.errors import BadInput


@final
@dataclass(frozen=True)
class Identity:
    """Observe everything as it is."""

    def forward(self, clean: Tensor) -> Tensor:
        """Return x."""
        return clean

    def adjoint(self, observed: Tensor) -> Tensor:
        """Return y."""
        return observed

    def pseudo_inverse(self, observed: Tensor) -> Tensor:
        """Return y."""
        return observed


@final
@dataclass(frozen=True, eq=False)
class Mask:
    """Hide values: what is not observed becomes zero.

    Args:
        mask: True where a value is observed.

    Shape:
        mask broadcastable to [tile, channel, *space], bool.
    """

    mask: Tensor

    def forward(self, clean: Tensor) -> Tensor:
        """Return x where observed, else zero."""
        return clean * self.mask.to(clean)

    def adjoint(self, observed: Tensor) -> Tensor:
        """Return y where observed, else zero."""
        return self.forward(observed)

    def pseudo_inverse(self, observed: Tensor) -> Tensor:
        """Return y where observed, else zero."""
        return self.forward(observed)


@final
@dataclass(frozen=True, eq=False)
class Blur:
    """Convolve with a kernel on a circular boundary.

    Args:
        kernel: The point spread function, its centre at side // 2 of each axis.
        tolerance: Frequencies passed by less than this share of the strongest are left at zero by A+.

    Shape:
        kernel [*space], no side longer than the image.
    """

    kernel: Tensor
    tolerance: float = 1e-3

    def forward(self, clean: Tensor) -> Tensor:
        """Return the blurred image."""
        return _filtered(clean, self._transfer(clean))

    def adjoint(self, observed: Tensor) -> Tensor:
        """Return the image correlated with the kernel."""
        return _filtered(observed, self._transfer(observed).conj())

    def pseudo_inverse(self, observed: Tensor) -> Tensor:
        """Return the deblurred image without the frequencies that did not pass."""
        return _filtered(observed, _reciprocal(self._transfer(observed), self.tolerance))

    def _transfer(self, image: Tensor) -> Tensor:
        return transfer(self.kernel.to(image), tuple(image.shape[2:]))


@final
@dataclass(frozen=True, eq=False)
class Shrink:
    """Blur, then keep every factor-th value along each space axis.

    Args:
        factor: How many times smaller each side becomes, at least 1.
        kernel: Blur before decimation; None averages the cell of factor x factor (x factor) values.
        tolerance: As in `Blur`.

    Raises:
        BadInput: A side of the image is no multiple of the factor.
    """

    factor: int
    kernel: Tensor | None = None
    tolerance: float = 1e-3

    def __post_init__(self) -> None:
        if self.factor < 1:
            raise BadInput(f"the factor of Shrink must be >= 1, got {self.factor}")

    def forward(self, clean: Tensor) -> Tensor:
        """Return the smaller image."""
        space = tuple(clean.shape[2:])
        if any(side % self.factor for side in space):
            raise BadInput(f"sides must be multiples of the factor {self.factor}, got {space}; crop or pad the image")
        return _filtered(clean, self._transfer(clean, space))[self._kept(len(space))]

    def adjoint(self, observed: Tensor) -> Tensor:
        """Return the larger image: zeros in between, then correlated with the kernel."""
        space = tuple(side * self.factor for side in observed.shape[2:])
        larger = observed.new_zeros((*observed.shape[:2], *space))
        larger[self._kept(len(space))] = observed
        return _filtered(larger, self._transfer(observed, space).conj())

    def pseudo_inverse(self, observed: Tensor) -> Tensor:
        """Return the smallest larger image that shrinks to the observed one."""
        impulse = torch.zeros((1, 1, *observed.shape[2:]), dtype=observed.dtype, device=observed.device)
        impulse[(0, 0, *(0,) * (observed.ndim - 2))] = 1
        gram = torch.fft.rfftn(self.forward(self.adjoint(impulse))[0, 0])
        # A A' is a convolution on the small grid; its eigenvalues are squares of those of A.
        return self.adjoint(_filtered(observed, _reciprocal(gram, self.tolerance**2)))

    def _transfer(self, image: Tensor, space: tuple[int, ...]) -> Tensor:
        kernel = self.kernel
        if kernel is None:
            kernel = torch.full((self.factor,) * len(space), float(self.factor) ** -len(space))
        return transfer(kernel.to(image), space)

    def _kept(self, axes: int) -> tuple[slice, ...]:
        # With the kernel's centre at side // 2 this phase puts the default kernel exactly on its cell.
        start = (self.factor - 1) // 2
        return (slice(None), slice(None), *(slice(start, None, self.factor) for _ in range(axes)))


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


def _filtered(image: Tensor, response: Tensor) -> Tensor:
    axes = tuple(range(2, image.ndim))
    return torch.fft.irfftn(torch.fft.rfftn(image, dim=axes) * response, s=image.shape[2:], dim=axes)


def _reciprocal(response: Tensor, tolerance: float) -> Tensor:
    passed = response.abs() > tolerance * response.abs().max()
    return torch.where(passed, 1 / torch.where(passed, response, torch.ones_like(response)), torch.zeros_like(response))
