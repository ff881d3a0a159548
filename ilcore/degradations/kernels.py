"""Kernels of an imaging operator: what a voxel that was observed gathers from the finer grid.

    bicubic          antialiased reduction, Keys' cubic (a = -0.5) stretched by the factor
    gaussian:S       a Gaussian of S voxels of the finer grid; gaussian:Sz,Sy,Sx one width an axis, 0 for none
    box              the mean of the cell
    an array         a point spread function as measured, or one for each axis

A kernel and its factor have the same parity along every axis, so that the middle of the kernel lies over the middle of
the cell of each observed voxel, and nothing moves by half a voxel.
"""

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, final

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ilcore.grammar.errors import BadInput

#: How a user names a point spread function: a word, one array over all axes, or one array for each axis.
Psf: TypeAlias = str | NDArray[Any] | Tensor | Sequence[NDArray[Any] | Tensor]
#: A sum this far from 1 is rounding, and nothing to be told.
_ROUNDING = 1e-6
#: A Gaussian ends at so many of its widths.
_REACH = 4.0
#: A kernel whose centre of mass lies farther from its middle, in voxels, is spoken of.
_OFF_CENTRE = 0.1
#: Keys' cubic at -1.5, -0.5, 0.5 and 1.5 samples: the value halfway between neighbours.
_HALFWAY = (-1 / 16, 9 / 16, 9 / 16, -1 / 16)
NAMED = ("bicubic", "box", "gaussian:S")


@final
@dataclass(frozen=True, eq=False)
class Kernel:
    """A kernel whose sum is 1.

    Args:
        name: As the user called it, or "array".
        taps: One kernel [side] for each axis, or a single one over all axes.
        remarks: What was done to it, and what is odd about it; one sentence each.

    Shape:
        taps ([side], ...) one for each axis, or ([*space],); 64 bits.
    """

    name: str
    taps: tuple[Tensor, ...]
    remarks: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """Return its sides, one for each axis."""
        return tuple(side for tap in self.taps for side in tap.shape)

    @property
    def is_separable(self) -> bool:
        """Tell whether it is given axis by axis."""
        return all(tap.ndim == 1 for tap in self.taps)

    @property
    def digest(self) -> str:
        """Return the SHA-256 of its values and shapes, which decide the result."""
        told = hashlib.sha256()
        for tap in self.taps:
            told.update(repr(tuple(tap.shape)).encode())
            told.update(np.ascontiguousarray(tap.numpy(), "<f8").tobytes())
        return told.hexdigest()


def kernel_of(psf: Psf, factors: Sequence[int]) -> Kernel:
    """Return the kernel that a user asked for, its sum 1, its sides of the parity of the factors.

    Args:
        psf: "bicubic", "box", "gaussian:1.6", "gaussian:1.6,0,0", an array over all axes, or one array for each axis.
        factors: Of each axis, in the order of the axes (z y x or y x).

    Raises:
        BadInput: The name is unknown, or the array is no kernel for these axes and factors.
    """
    if isinstance(psf, str):
        return Kernel(psf, _named(psf, tuple(factors)))
    is_whole = isinstance(psf, Tensor) or hasattr(psf, "__array__")
    arrays: Sequence[Any] = [psf] if is_whole else list(psf)
    if len(factors) > 1 and not is_whole and any(np.ndim(each) != 1 for each in arrays):
        raise BadInput(
            "kernels of each axis must have one axis, got " + _shapes(arrays) + "; pass one array for all axes"
        )
    taps, remarks = zip(*(_checked(each) for each in arrays), strict=True) if arrays else ((), ())
    kernel = Kernel("array", tuple(taps), tuple(remark for told in remarks for remark in told))
    check_kernel(kernel, factors)
    return kernel


def check_kernel(kernel: Kernel, factors: Sequence[int]) -> None:
    """Refuse a kernel that does not go with some factors.

    Raises:
        BadInput: It has other axes, or another parity than the factor along one of them.
    """
    if len(kernel.shape) != len(factors):
        raise BadInput(
            f"a kernel must have one side for each of {len(factors)} axes, got {kernel.shape}; "
            "give it in the order of the factors"
        )
    if any((side - factor) % 2 for side, factor in zip(kernel.shape, factors, strict=True)):
        raise BadInput(
            "kernel and factor must both be odd or both be even along every axis, or the image moves by half a voxel; "
            f"got sides {kernel.shape} for factors {tuple(factors)}; resample it with "
            "ilcore.degradations.kernels.with_parity(kernel, factors)"
        )


def with_parity(kernel: NDArray[Any] | Tensor, factors: Sequence[int]) -> Tensor:
    """Return a kernel resampled between its values where its side has not the parity of the factor.

    Keys' cubic halfway between values keeps sum, centre of mass and width; values beside a steep peak may come out
    below zero.

    Args:
        kernel: Over all axes; the middle of the array is its centre.
        factors: One for each axis.

    Shape:
        kernel [*space] -> [*space], a side longer by three where parities differ.

    Raises:
        BadInput: The kernel has other axes.
    """
    held = _numbers(kernel)
    if held.ndim != len(factors):
        raise BadInput(f"a kernel needs one axis for each factor, got shape {tuple(held.shape)} for {tuple(factors)}")
    for axis, factor in enumerate(factors):
        if (held.shape[axis] - factor) % 2:
            wider = torch.movedim(F.pad(torch.movedim(held, axis, -1), (3, 3)), -1, axis)
            length = held.shape[axis] + 3
            held = torch.stack([share * wider.narrow(axis, n, length) for n, share in enumerate(_HALFWAY)]).sum(0)
    return held


def keys(distance: Tensor) -> Tensor:
    """Return Keys' cubic at distances from its middle, in samples.

    Reference:
        Keys, "Cubic convolution interpolation for digital image processing", TASSP 1981, eq. 15 (a = -1/2).
    """
    d = distance.abs()
    near, far = (1.5 * d - 2.5) * d**2 + 1, ((-0.5 * d + 2.5) * d - 4) * d + 2
    return torch.where(d <= 1, near, torch.where(d < 2, far, torch.zeros_like(d)))


def _named(name: str, factors: tuple[int, ...]) -> tuple[Tensor, ...]:
    word, _, numbers = name.partition(":")
    if word == "gaussian":
        pairs = zip(_widths(name, numbers, factors), factors, strict=True)
        return tuple(_sampled(_bell(width), _REACH * width, factor) for width, factor in pairs)
    if word == "bicubic" and not numbers:
        return tuple(_sampled(_stretched(factor), 2.0 * factor, factor) for factor in factors)
    if word == "box" and not numbers:
        return tuple(torch.full((factor,), 1 / factor, dtype=torch.float64) for factor in factors)
    raise BadInput(f"a kernel must be an array or one of {', '.join(NAMED)}, got {name!r}")


def _widths(name: str, numbers: str, factors: tuple[int, ...]) -> tuple[float, ...]:
    """Return the width along each axis; one width holds where something is reduced, or everywhere if nothing is."""
    try:
        widths = tuple(float(each) for each in numbers.split(","))
    except ValueError:
        widths = ()
    if len(widths) not in (1, len(factors)) or not all(0 <= width < math.inf for width in widths) or not any(widths):
        raise BadInput(
            f"a Gaussian needs one width above 0 in voxels of the result, or one >= 0 for each of {len(factors)} axes, "
            f"such as gaussian:1.6, got {name!r}"
        )
    if len(widths) == len(factors):
        return widths
    reduces = max(factors) > 1
    return tuple(widths[0] if factor > 1 or not reduces else 0.0 for factor in factors)


def _bell(width: float) -> Callable[[Tensor], Tensor]:
    # Without a width only the middle is seen: one voxel of an odd factor, two halves of an even one.
    return lambda places: torch.exp(-0.5 * (places / max(width, 1e-3)) ** 2) if width else (places.abs() < 1).double()


def _stretched(factor: int) -> Callable[[Tensor], Tensor]:
    return lambda places: keys(places / factor)


def _sampled(curve: Callable[[Tensor], Tensor], reach: float, factor: int) -> Tensor:
    """Return a curve at the voxels around the middle of a cell, as far as `reach`, its sum 1."""
    count = max(1, math.ceil(2 * reach))
    count += (count - factor) % 2
    places = torch.arange(count, dtype=torch.float64) - (count - 1) / 2
    values = curve(places)
    while len(values) > 2 and values[0] == 0:
        values = values[1:-1]
    return values / values.sum()


def _checked(given: Any) -> tuple[Tensor, tuple[str, ...]]:
    """Return an array as a kernel whose sum is 1, and what is to be said of it."""
    held = _numbers(given)
    if held.ndim == 0 or held.numel() == 0 or not bool(torch.isfinite(held).all()):
        raise BadInput(f"a kernel must hold finite numbers, got {_shapes([held])} with others; look at the file")
    total = float(held.sum())
    if not total > 0:
        raise BadInput(
            f"the values of a kernel must sum to more than 0, got {total:g}; a negative one inverts the image"
        )
    scaled, remarks = held / total, []
    if abs(total - 1) > _ROUNDING:
        remarks.append(f"the kernel's values sum to {total:.6g} and were divided by that")
    off = _off_centre(scaled)
    if max(map(abs, off)) > _OFF_CENTRE:
        moved = ", ".join(f"{each:+.2f}" for each in off)
        remarks.append(f"the kernel's centre of mass lies {moved} voxels from its middle: the result moves by as much")
    return scaled, tuple(remarks)


def _numbers(given: Any) -> Tensor:
    if isinstance(given, Tensor):
        return given.detach().cpu().double()
    try:
        return torch.from_numpy(np.array(given, np.float64))
    except (TypeError, ValueError) as error:
        raise BadInput(f"a kernel must be an array of real numbers, got {type(given).__name__}: {error}") from error


def _off_centre(kernel: Tensor) -> list[float]:
    """Return how far the centre of mass lies from the middle of the array, along each axis."""
    others = [[other for other in range(kernel.ndim) if other != axis] for axis in range(kernel.ndim)]
    lines = [kernel.sum(rest) if rest else kernel for rest in others]
    return [float((line * (torch.arange(len(line)) - (len(line) - 1) / 2)).sum()) for line in lines]


def _shapes(arrays: Sequence[Any]) -> str:
    return ", ".join(str(tuple(np.shape(each))) for each in arrays)
