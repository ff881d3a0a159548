"""What a camera does to a finer image: valid convolution with a point spread function, then every factor-th value.

    along one axis, factor 2, kernel 4:

    domain      . 0 1 2 3 4 5 .          what the kernel sees: the field and a margin
    field         0 1 2 3 4 5            the result: the cells of the observed voxels
    observed       0   1   2             the middle of each over the middle of its cell

    domain(n) = f n + k - f,   field(n) = f n,   margin = (k - f) / 2 on each side

The laws A A+ A = A, and A A+ y = y where something is reduced and no detail is lost, hold to rounding for the usual
kernels; of a pure blur (f = 1) up to what it passes by less than a thousandth. There a ridge is the thing to take.

Nothing is wrapped around: what an observed voxel gathers beyond the field is unknown, and found with the rest.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor

from ilcore.degradations.kernels import Kernel, check_kernel
from ilcore.degradations.operators import filtered
from ilcore.grammar.errors import BadInput

#: Conjugate gradients end where the residual is this share of the right side, or after so many steps.
_CLOSE, _STEPS = {torch.float64: 1e-11}, 300
_CLOSE_ENOUGH = 1e-6
#: Frequencies that pass by less than this share of the strongest, in power, count as this much.
_PASSED = 1e-4


@final
@dataclass(frozen=True, eq=False)
class Imaging:
    """Convolve with a kernel, then keep every factor-th value along each axis.

    Args:
        kernel: From `kernel_of`; its sum is 1.
        factors: How many times smaller each side becomes, whole and at least 1, in the order of the axes. A ratio p/q
            would need the kernel between its values, once for each of q phases; an array does not tell them.

    Raises:
        BadInput: A factor is no whole number, or the kernel has other axes or another parity.
    """

    kernel: Kernel
    factors: tuple[int, ...]

    def __post_init__(self) -> None:
        if any(factor != int(factor) or factor < 1 for factor in self.factors):
            told = ", ".join(map(str, self.factors))
            raise BadInput(f"factors of an imaging operator must be whole and at least 1, got {told}; round them")
        object.__setattr__(self, "factors", tuple(int(factor) for factor in self.factors))
        check_kernel(self.kernel, self.factors)

    def domain(self, space: Sequence[int]) -> tuple[int, ...]:
        """Return the shape of x for an observation of this shape.

        Raises:
            BadInput: The kernel is larger than the field, or the observation has other axes.
        """
        field = self.field(space)
        if any(side > length for side, length in zip(self.kernel.shape, field, strict=True)):
            raise BadInput(
                f"a kernel must not be larger than the tile, got kernel {self.kernel.shape} for a tile of {field}; "
                "take larger tiles or cut the rim of the kernel"
            )
        return tuple(length + 2 * margin for length, margin in zip(field, self._margins, strict=True))

    def field(self, space: Sequence[int]) -> tuple[int, ...]:
        """Return the shape of the result for an observation of this shape."""
        if len(space) != len(self.factors):
            raise BadInput(f"factors {self.factors} need as many axes of space, got an image of {tuple(space)}")
        return tuple(factor * length for factor, length in zip(self.factors, space, strict=True))

    def inside(self, image: Tensor) -> Tensor:
        """Return the field of an image of the domain."""
        for axis, margin in enumerate(self._margins, 2):
            image = image.narrow(axis, margin, image.shape[axis] - 2 * margin)
        return image

    def phase(self, axes: int) -> tuple[float, ...]:
        """Return where in the field the middle of the first observed voxel lies, in voxels of the field."""
        return tuple((factor - 1) / 2 for factor in self.factors)

    def rim(self, axes: int) -> tuple[int, ...]:
        """Return how many observed voxels at each border depend on more than the field."""
        return tuple(-(-margin // factor) for margin, factor in zip(self._margins, self.factors, strict=True))

    def rows(self, rows: Sequence[int]) -> "Imaging":
        """Return the operator of some tiles."""
        return self

    def forward(self, clean: Tensor) -> Tensor:
        """Return A x for images of a domain."""
        self._check_domain(tuple(clean.shape[2:]))
        return torch.cat([self._gathered(row) for row in clean.split(1)])

    def adjoint(self, observed: Tensor) -> Tensor:
        """Return A' y, on the domain."""
        self.domain(observed.shape[2:])
        return torch.cat([self._spread(row) for row in observed.split(1)])

    def pseudo_inverse(self, observed: Tensor, ridge: float = 0.0) -> Tensor:
        """Return A' (A A' + ridge)^-1 y: without a ridge the smallest x whose image is the observation."""
        return self.adjoint(self.solve(observed, ridge))

    def solve(self, residual: Tensor, ridge: float = 0.0) -> Tensor:
        """Return (A A' + ridge)^-1 r by conjugate gradients, each tile and channel by itself.

        Reference:
            Hestenes & Stiefel, "Methods of conjugate gradients for solving linear systems", J. Res. NBS 1952; T. Chan,
            "An optimal circulant preconditioner for Toeplitz systems", SIAM J. Sci. Stat. Comput. 1988.
        """
        self.domain(residual.shape[2:])
        nearly = 1 / (self._power(residual) + ridge)
        return torch.cat([self._solved(row, ridge, nearly) for row in residual.split(1)])

    def whitened(self, residual: Tensor, ridge: float = 0.0) -> Tensor:
        """Return (A A' + ridge)^-1/2 r in the Fourier domain; only a residual, never a picture, is wrapped around."""
        self.domain(residual.shape[2:])
        return filtered(residual, (self._power(residual) + ridge).rsqrt())

    @cached_property
    def _margins(self) -> tuple[int, ...]:
        pairs = zip(self.kernel.shape, self.factors, strict=True)
        return tuple(max(0, (side - factor) // 2) for side, factor in pairs)

    @cached_property
    def _taps(self) -> tuple[tuple[Tensor, tuple[int, ...]], ...]:
        """Return each kernel, as large as the cell at least, and the axes it works along."""
        found, first = [], 0
        for tap in self.kernel.taps:
            axes = tuple(range(first, first + tap.ndim))
            short = [max(0, self.factors[axis] - side) // 2 for axis, side in zip(axes, tap.shape, strict=True)]
            found.append((F.pad(tap, [each for one in reversed(short) for each in (one, one)]), axes))
            first += tap.ndim
        return tuple(found)

    def _check_domain(self, space: tuple[int, ...]) -> None:
        margins = self._margins if len(space) == len(self.factors) else ()
        lengths = [length - 2 * margin for length, margin in zip(space, margins, strict=False)]
        if not margins or any(n < 1 or n % factor for n, factor in zip(lengths, self.factors, strict=True)):
            raise BadInput(
                f"an image of a domain was wanted, whole numbers times {self.factors} and margins of {margins}, "
                f"got {space}; crop or pad it"
            )

    def _gathered(self, row: Tensor) -> Tensor:
        """Return A x of one tile [1, channel, *space]: the kernel is turned round, as convolution does."""
        image = row.transpose(0, 1)
        for weight, stride in self._weights(row):
            image = _CONVOLVE[len(self.factors)](image, weight, stride=stride)
        return image.transpose(0, 1)

    def _spread(self, row: Tensor) -> Tensor:
        image = row.transpose(0, 1)
        for weight, stride in reversed(self._weights(row)):
            image = _SPREAD[len(self.factors)](image, weight, stride=stride)
        return image.transpose(0, 1)

    def _weights(self, like: Tensor) -> list[tuple[Tensor, tuple[int, ...]]]:
        """Return each kernel over all axes, and the step along each."""
        count, found = len(self.factors), []
        for tap, axes in self._taps:
            shape = [tap.shape[axes.index(axis)] if axis in axes else 1 for axis in range(count)]
            stride = tuple(self.factors[axis] if axis in axes else 1 for axis in range(count))
            found.append((tap.flip(tuple(range(tap.ndim))).reshape(1, 1, *shape).to(like), stride))
        return found

    def _power(self, like: Tensor) -> Tensor:
        """Return the half-spectrum of A A' on the observed grid, as if it were wrapped around; least values raised."""
        space = tuple(like.shape[2:])
        power = torch.ones((1,) * len(space), dtype=like.dtype, device=like.device)
        for tap, axes in self._taps:
            power = power * _gram(tap.to(like), [self.factors[axis] for axis in axes], space, axes)
        half = power[..., : space[-1] // 2 + 1]
        return half.clamp_min(_PASSED * float(half.max()))

    def _solved(self, row: Tensor, ridge: float, nearly: Tensor) -> Tensor:
        """Solve for one tile [1, channel, *space]; a channel that is done waits for the others unchanged.

        Args:
            row: The right side.
            ridge: As in `solve`.
            nearly: Half-spectrum of the inverse, were the grid wrapped around: the preconditioner.
        """
        axes = tuple(range(2, row.ndim))
        solution, left = torch.zeros_like(row), row.clone()
        best, least = solution, left.square().sum(axes, keepdim=True)
        enough = least * _CLOSE.get(row.dtype, _CLOSE_ENOUGH) ** 2
        direction = filtered(left, nearly)
        slope = (left * direction).sum(axes, keepdim=True)
        for _ in range(_STEPS):
            if not bool((going := least > enough).any()):
                break
            there = self._gathered(self._spread(direction)) + ridge * direction
            curve = (direction * there).sum(axes, keepdim=True)
            # What A does not pass at all has no curvature: no step is made along it.
            step = torch.where(going & (curve > 0), slope / torch.where(curve > 0, curve, 1), 0)
            solution, left = solution + step * direction, left - step * there
            energy = left.square().sum(axes, keepdim=True)
            # Where A passes next to nothing, rounding may lead away again.
            best, least = torch.where(energy < least, solution, best), torch.minimum(energy, least)
            guide = filtered(left, nearly)
            now = (left * guide).sum(axes, keepdim=True)
            turn = now / torch.where(slope > 0, slope, 1)
            direction, slope = torch.where(going, guide + turn * direction, direction), torch.where(going, now, slope)
        return best


_CONVOLVE = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_SPREAD = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


def _gram(tap: Tensor, factors: Sequence[int], space: tuple[int, ...], axes: tuple[int, ...]) -> Tensor:
    """Return the spectrum of A A' on the observed grid along some axes, for a grid that is wrapped around.

    A A' convolves with the kernel's correlation with itself, taken at multiples of the factors.
    """
    sides = [2 * side - 1 for side in tap.shape]
    own = torch.fft.irfftn(torch.fft.rfftn(tap, s=sides).abs().square(), s=sides)
    places = [
        torch.arange(-((side - 1) // factor), (side - 1) // factor + 1)
        for side, factor in zip(tap.shape, factors, strict=True)
    ]
    for axis, (at, factor, side) in enumerate(zip(places, factors, sides, strict=True)):
        own = own.index_select(axis, (at * factor % side).to(own.device))
    wrapped = own
    for axis, (at, whole) in enumerate(zip(places, axes, strict=True)):
        shape = list(wrapped.shape)
        shape[axis] = space[whole]
        wrapped = wrapped.new_zeros(shape).index_add_(axis, (at % space[whole]).to(own.device), wrapped)
    spectrum = torch.fft.fftn(wrapped).real
    return spectrum.reshape([space[axis] if axis in axes else 1 for axis in range(len(space))])
