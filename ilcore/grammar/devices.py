"""Which device a word names, whether it is there, and what is said when it fails: one rule for all who compute."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ilcore.grammar.errors import BadInput, DeviceError


def device_of(told: str | torch.device) -> torch.device:
    """Return the device that a word names.

    Args:
        told: auto (a GPU where there is one), cpu, cuda, cuda:1, or whatever else torch knows.

    Raises:
        BadInput: When there is no such device here.
    """
    if told == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(told)
    except RuntimeError as error:
        raise BadInput(f"device must be auto, cpu, cuda or cuda:NUMBER, got {told!r}; choose one of them") from error
    if device.type == "cuda":
        _check_cuda(device)
    elif device.type != "cpu":
        # A wrong name is known at once, a backend that is not there only when it is used.
        _check_other(device)
    return device


def kind_of(told: str | torch.device) -> str:
    """Return the kind of a device, by which results may differ: cpu, or the name of a GPU."""
    device = device_of(told)
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


@contextmanager
def computing_on(device: str | torch.device, what: str) -> Iterator[None]:
    """Say in one sentence what failed on which device, where that was no want of memory; nothing is done elsewhere.

    Raises:
        DeviceError: When a computation fails on another device than the CPU.
    """
    try:
        yield
    except RuntimeError as error:
        if str(device) == "cpu" or is_out_of_memory(error):
            raise
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise DeviceError(
            f"{what} must run on {device}, but failed there: {said}; the scan is not at fault: "
            "use --device cpu for now, and report this"
        ) from error


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error says that the device or the machine has no memory left."""
    if isinstance(error, torch.cuda.OutOfMemoryError | MemoryError):
        return True
    words = str(error)
    return isinstance(error, RuntimeError) and ("not enough memory" in words or "t allocate memory" in words)


def _check_cuda(device: torch.device) -> None:
    if not torch.cuda.is_available():
        raise BadInput(f"device {device} needs a GPU, got none here; use cpu, or auto, which takes what there is")
    count = torch.cuda.device_count()
    if device.index is not None and device.index >= count:
        raise BadInput(
            f"device {device} needs {device.index + 1} GPUs, got {count} here; use cuda:0 to cuda:{count - 1}"
        )


def _check_other(device: torch.device) -> None:
    try:
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise BadInput(f"device {device} must hold tensors here, got {str(error).splitlines()[0]}; use cpu") from error


def make_repeatable(threads: int) -> None:
    """Make torch add up in the same order each time: another number of threads would change the last bits."""
    torch.set_num_threads(threads)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
