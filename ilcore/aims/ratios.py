"""By how much a result is finer than its source: whole numbers, or ratios of small ones, along z, y and x."""

import math
from collections.abc import Sequence
from fractions import Fraction
from numbers import Integral, Rational, Real
from typing import Any, TypeAlias

from ilcore.grammar.errors import BadInput

#: What a user may give for one axis.
Number: TypeAlias = int | float | str | Fraction
#: A factor for each of z, y, x.
Factors: TypeAlias = tuple[Fraction, Fraction, Fraction]
#: Of a ratio p/q at most: tiles are multiples of q, so a larger one makes grids that nothing fits.
LARGEST_Q = 8
#: A number that is this near to a ratio, relative to it, is that ratio: floating numbers round.
_ROUNDING = 1e-9
SAME: Factors = (Fraction(1), Fraction(1), Fraction(1))


def ratio_of(value: Number) -> Fraction:
    """Return a factor as p/q with q at most 8.

    Args:
        value: A number, or words such as "2", "1.5", "3/2".

    Raises:
        BadInput: It is no number of at least 1, or no such ratio; the message tells the nearest one.
    """
    exact = _exact(value)
    if exact < 1:
        raise BadInput(
            f"a scale must be at least 1, got {value}; a result that is coarser than its source is a pyramid"
        )
    nearest = exact.limit_denominator(LARGEST_Q)
    if abs(exact - nearest) > _ROUNDING * nearest:
        raise BadInput(f"a scale must be p/q with q at most {LARGEST_Q}, got {value}; the nearest is {nearest}")
    return nearest


def factors_of(scale: Number | Sequence[Number], space: int) -> Factors:
    """Return the factors along z, y and x.

    Args:
        scale: One number for all axes of space, or one for each, in their order.
        space: 2 (y, x; z keeps its planes) or 3 axes.

    Raises:
        BadInput: There are other axes, a factor is no ratio, or nothing is to become finer.
    """
    given: Any = scale
    numbers: list[Any] = [given] * space if isinstance(given, str | Real) else list(given)
    if len(numbers) != space:
        axes = "z, y, x" if space == 3 else "y, x"
        raise BadInput(f"a scale must be one number or one for each of {axes}, got {len(numbers)}: {scale}")
    z, y, x = ([1] if space == 2 else []) + numbers
    factors = ratio_of(z), ratio_of(y), ratio_of(x)
    if factors == SAME:
        raise BadInput(f"a scale above 1 was wanted along one axis at least, got {scale}; denoise instead")
    return factors


def whole(factors: Sequence[Fraction]) -> tuple[int, ...]:
    """Return factors as whole numbers.

    Raises:
        BadInput: One is a ratio; the message tells whole ones near it.
    """
    if all(factor.denominator == 1 for factor in factors):
        return tuple(int(factor) for factor in factors)
    told = ", ".join(map(str, factors))
    near = ", ".join(str(max(1, round(factor))) for factor in factors)
    raise BadInput(
        f"whole factors were wanted, got {told}; take {near}: a kernel is known at whole voxels of the result only"
    )


def _exact(value: Any) -> Fraction:
    if isinstance(value, bool):
        raise BadInput(f"a scale must be a number, got {value}")
    try:
        if isinstance(value, Real) and not isinstance(value, Rational):
            return Fraction(float(value))
        # The numbers of numpy are rational too, but overflow.
        return Fraction(
            value.strip() if isinstance(value, str) else int(value) if isinstance(value, Integral) else value
        )
    except (TypeError, ValueError, OverflowError, ZeroDivisionError) as error:
        raise BadInput(f"a scale must be a number such as 2 or 3/2, got {value!r}") from error


def steps(factors: Sequence[Fraction]) -> tuple[int, ...]:
    """Return what core, overlap, halo and align must be multiples of along each axis: q of each p/q."""
    return tuple(factor.denominator for factor in factors)


def finer(length: int, factor: Fraction) -> int:
    """Return a length on the result's grid.

    Raises:
        BadInput: It is no whole number there.
    """
    if length % factor.denominator:
        fitting = math.floor(length / factor.denominator) * factor.denominator
        raise BadInput(
            f"a length that is a multiple of {factor.denominator} was wanted for a factor of {factor}, got {length}; "
            f"cut a region of {fitting} with --roi"
        )
    return int(length * factor)
