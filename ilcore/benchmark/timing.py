"""The clock and the memory of a device, and what it does at its best."""

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch

from ilcore.benchmark.page import processor

Result = TypeVar("Result")
#: Of a square matrix, on a GPU and elsewhere: large enough that nothing but the product counts.
_SIDES = (8192, 1024)
#: Numbers that are copied, on a GPU and elsewhere: more than any cache holds.
_COPIED = (2**28, 2**24)


@dataclass(frozen=True, kw_only=True)
class Ceiling:
    """What a device does at its best.

    Args:
        tflops: 1e12 operations a second of a large matrix product, by precision.
        precision: The one in which torch convolves there.
        bandwidth: Bytes read and written a second by a large copy.
    """

    tflops: dict[str, float]
    precision: str
    bandwidth: float

    @property
    def rate(self) -> float:
        """Return the rate beside which methods are shown."""
        return self.tflops[self.precision]


def ceiling_of(device: torch.device) -> Ceiling:
    """Measure what a device does at its best."""
    on_gpu = device.type == "cuda"
    tflops = {"float32": _product_rate(device, torch.float32)}
    if on_gpu:
        with _products_in_tf32():
            tflops["TF32"] = _product_rate(device, torch.float32)
        tflops["bfloat16"] = _product_rate(device, torch.bfloat16)
    convolves_in = torch.backends.cudnn.conv.fp32_precision  # type: ignore[attr-defined]
    precision = "TF32" if on_gpu and convolves_in == "tf32" else "float32"
    return Ceiling(tflops=tflops, precision=precision, bandwidth=_copy_rate(device))


def name_of(device: torch.device) -> str:
    """Return what a device is called, with its memory or its threads."""
    if device.type == "cuda":
        memory = torch.cuda.get_device_properties(device).total_memory / 1e9
        return f"{torch.cuda.get_device_name(device)}, {memory:.0f} GB"
    return f"{processor()}, threads: {torch.get_num_threads()}" if device.type == "cpu" else device.type


def timed(work: Callable[[], Result], device: torch.device) -> tuple[Result, float]:
    """Return what a work returns, and the seconds until the device has done it."""
    _settle(device)
    began = time.perf_counter()
    done = work()
    _settle(device)
    return done, time.perf_counter() - began


def forget_peak(device: torch.device) -> None:
    """Begin to look anew for the most memory that is taken."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_bytes(device: torch.device) -> int | None:
    """Return the most memory of a GPU that was taken at once; None elsewhere: a process does not shrink again."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None


def free(device: torch.device) -> None:
    """Give back memory that nobody holds any more."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def _product_rate(device: torch.device, dtype: torch.dtype) -> float:
    side = _SIDES[device.type != "cuda"]
    one, two = (torch.rand(side, side, device=device).to(dtype) for _ in range(2))
    return 2 * side**3 / _best_seconds(lambda: one @ two, device) / 1e12


def _copy_rate(device: torch.device) -> float:
    source = torch.zeros(_COPIED[device.type != "cuda"], device=device)
    target = torch.empty_like(source)
    return 2 * source.nbytes / _best_seconds(lambda: target.copy_(source), device)


def _best_seconds(work: Callable[[], object], device: torch.device) -> float:
    return min(timed(work, device)[1] for _ in range(6))


def _settle(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type != "cpu":
        torch.accelerator.synchronize(device)


@contextmanager
def _products_in_tf32() -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
