"""Marks for missing values as files write them, read in the type of the voxels."""

import base64
import binascii
import math
import re
import struct
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from typing import Any, TypeAlias

import numpy as np

Mark: TypeAlias = int | float

#: How C libraries on Windows print what is no number.
_WINDOWS = re.compile(r"([+-]?)1\.#(ind|qnan|snan|nan|inf)\d*", re.IGNORECASE)
#: Digits from which on a text may be the end of a floating type, cut off.
_CUT_DIGITS = 4
#: Whole numbers of more digits are in no type of ours.
_LONGEST = 40


def marks_in(said: Any, dtype: np.dtype[Any], name: str) -> tuple[tuple[Mark, ...], tuple[str, ...]]:
    """Return the marks that a type can hold, and a sentence for each that it cannot hold or nobody can read.

    Args:
        said: A number, a text, a list of them, or nothing.
        dtype: Type of the voxels as stored.
        name: What the source calls it, for the sentences.
    """
    marks: list[Mark] = []
    remarks: list[str] = []
    for one in _each(said):
        number = number_of(one)
        held = () if number is None else _held(one, number, dtype)
        marks += [mark for mark in held if mark not in marks]
        if number is None:
            remarks.append(f"{name} {_short(one)} is no number that we can read: no voxel is taken for missing by it")
        elif not held and not _needs_no_mark(number, dtype):
            remarks.append(f"{name} {_short(one)} cannot be a {dtype.name}: no voxel is taken for missing by it")
    return tuple(marks), tuple(remarks)


def number_of(said: Any) -> Mark | None:
    """Return a number that is written as one, as text, or as xarray writes floats into Zarr v3; None for all else."""
    if isinstance(said, bool | np.bool_):
        return None
    if isinstance(said, int | np.integer):
        return int(said)
    if isinstance(said, float | np.floating):
        return float(said)
    return _of_text(said.strip().strip("\0").strip()) if isinstance(said, str) else None


def numbers_in(said: Any) -> tuple[Mark, ...]:
    """Return all numbers of a number, a text or a list of them; what is no number is left out."""
    return tuple(number for one in _each(said) if (number := number_of(one)) is not None)


def _each(said: Any) -> Iterator[Any]:
    if isinstance(said, np.ndarray):
        said = said.tolist()
    if isinstance(said, list | tuple):
        for one in said:
            yield from _each(one)
    elif isinstance(said, bytes):
        yield from _each(said.decode("utf-8", "replace"))
    elif isinstance(said, str) and number_of(said) is None and len(parts := re.split(r"[,;\s]+", said.strip())) > 1:
        yield from parts if all(number_of(part) is not None for part in parts) else (said,)
    elif said is not None and said != "":
        yield said


def _of_text(text: str) -> Mark | None:
    windows = _WINDOWS.fullmatch(text)
    if windows:
        return float(f"{windows[1]}inf") if windows[2].lower() == "inf" else math.nan
    # "-nan(ind)", "nan(0x7ff8...)".
    if re.fullmatch(r"[+-]?nan\(.*\)", text, re.IGNORECASE):
        return math.nan
    try:
        exact = Decimal(text.replace("_", "x"))
    except InvalidOperation:
        return _of_bytes(text)
    if exact.is_finite() and exact.adjusted() < _LONGEST and exact == exact.to_integral_value():
        return int(exact)
    return float(exact) if not exact.is_nan() else math.nan


def _of_bytes(text: str) -> float | None:
    try:
        return float(struct.unpack("<d", base64.b64decode(text, validate=True))[0])
    except (binascii.Error, struct.error, ValueError):
        return None


def _held(said: Any, number: Mark, dtype: np.dtype[Any]) -> tuple[Mark, ...]:
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        is_whole = math.isfinite(number) and number == int(number)
        return (int(number),) if is_whole and info.min <= number <= info.max else ()
    if not math.isfinite(number):
        return ()
    with np.errstate(over="ignore"):
        value = float(np.asarray(number, np.float64).astype(dtype))
    return tuple(dict.fromkeys(mark for mark in (value, *_end_of_type(said, dtype)) if math.isfinite(mark)))


def _end_of_type(said: Any, dtype: np.dtype[Any]) -> tuple[float, ...]:
    """Return the largest number of a type where a text is that number, printed with too few digits.

    -3.4e38 is a mark of its own; -3.40282e+38 is what a program prints whose voxels hold -3.4028234663852886e+38.
    """
    text = said.strip().strip("\0").strip() if isinstance(said, str) else ""
    digits = len(re.sub(r"\D", "", re.split("e", text, flags=re.IGNORECASE)[0]).strip("0"))
    if digits < _CUT_DIGITS:
        return ()
    most = float(np.finfo(dtype).max)
    number = float(text)
    rounded = float(f"{most:.{digits - 1}e}")
    cut = float(Decimal(most).scaleb(digits - 1 - Decimal(most).adjusted()).to_integral_value("ROUND_DOWN")
                .scaleb(Decimal(most).adjusted() - digits + 1))  # fmt: skip
    return (math.copysign(most, number),) if abs(number) in (rounded, cut) else ()


def _needs_no_mark(number: Mark, dtype: np.dtype[Any]) -> bool:
    """Tell whether a mark is missing by itself: NaN and infinities of floating types."""
    return dtype.kind == "f" and not math.isfinite(number)


def _short(said: Any) -> str:
    return repr(said if isinstance(said, str | int | float) else str(said))[:60]
