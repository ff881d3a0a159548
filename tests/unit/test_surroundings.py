"""Faults of the surroundings are told from faults of a scan."""

import errno

import pytest

from ilcore.grammar.errors import BadVolume, Busy, CorruptData, DivergedError, StoreError, TrackingError
from ilcore.grammar.surroundings import is_outside


def raised_from(error: Exception, cause: BaseException) -> Exception:
    try:
        raise error from cause
    except Exception as told:
        return told


class OutOfMemoryError(RuntimeError):
    """Named like torch's."""


Foreign = type("HTTPStatusError", (Exception,), {"__module__": "httpx._exceptions"})


@pytest.mark.parametrize(
    "error",
    [
        StoreError("away"), TrackingError("away"), Busy("held"), MemoryError(), ConnectionResetError(), TimeoutError(),
        OSError(errno.ENOSPC, "full"), OSError(errno.ESTALE, "stale"), PermissionError(errno.EACCES, "closed"),
        OutOfMemoryError("cuda"), Foreign("500"),
        # A source on a disk that fails is a bad volume in words only.
        raised_from(BadVolume("cannot be read"), OSError(errno.EIO, "input/output error")),
    ],
)  # fmt: skip
def test_what_comes_from_outside(error):
    assert is_outside(error)


@pytest.mark.parametrize(
    "error",
    [
        BadVolume("garbage"), DivergedError("nan"), CorruptData("crc"), ValueError("shape"), ZeroDivisionError(),
        OSError("no numbers"), raised_from(BadVolume("no TIFF"), ValueError("magic")),
        raised_from(BadVolume("cut off"), FileNotFoundError(errno.ENOENT, "zarr.json")),
    ],
)  # fmt: skip
def test_what_is_the_scans_own(error):
    assert not is_outside(error)


def test_an_error_that_was_raised_in_a_circle_ends():
    one, two = ValueError("1"), ValueError("2")
    one.__cause__, two.__cause__ = two, one
    assert not is_outside(one)
