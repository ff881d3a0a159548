"""What a computation asks of a device, counted: no clock, hence the same on every machine.

A launch is an operator that computes: views and memory that is only set aside are none. On a GPU an operator starts a
kernel or a few. A graph that is recorded once and played again is not seen.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

#: Operators whose results the host has to know before it goes on: a number, or how long a result is.
_WAITING = frozenset({torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape})
#: Operators that compute nothing, though torch does not call them views.
_IDLE = frozenset({
    "empty", "empty_like", "empty_permuted", "empty_strided", "new_empty", "new_empty_strided", "resize_", "set_",
    "_unsafe_view", "_reshape_alias",
})  # fmt: skip
#: Indexing waits only for a mask: where the voxels are counted that it lets through.
_INDEXING = frozenset({"index", "_unsafe_index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index_put"})
#: What brings values to Python or to the host, and is no operator on a CPU.
_READING = frozenset({Tensor.tolist, Tensor.numpy, Tensor.__array__, Tensor.cpu})


@dataclass
class Counts:
    """What was counted so far.

    Args:
        launches: Operators that compute on the device.
        host_reads: Times the host waited for values of the device: numbers, copies, lengths of results.
        host_drawn_bytes: Of random numbers that were drawn on the host.
    """

    launches: int = 0
    host_reads: int = 0
    host_drawn_bytes: int = 0

    def __sub__(self, other: "Counts") -> "Counts":
        """Return what came to it since `other`."""
        return Counts(
            self.launches - other.launches,
            self.host_reads - other.host_reads,
            self.host_drawn_bytes - other.host_drawn_bytes,
        )


@contextmanager
def counted(device: str | torch.device = "cpu") -> Iterator[Counts]:
    """Count what is computed inside; other threads are not seen.

    Args:
        device: Where the work is done. On a GPU only what touches it is a launch or a read. On a CPU host and device
            are one, so all operators count, and so do reads of numbers that never left the host, such as the step
            number of an optimiser.
    """
    counts = Counts()
    kind = torch.device(device).type
    with _Calls(counts, kind), _Operators(counts, kind):
        yield counts


class _Operators(TorchDispatchMode):
    """Sees every operator, those of the backward pass too."""

    def __init__(self, counts: Counts, kind: str) -> None:
        super().__init__()
        self.counts, self.kind = counts, kind

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        given, made = _tensors((args, kwargs)), _tensors(out)
        if func.namespace not in ("prim", "profiler") and any(one.device.type == self.kind for one in given + made):
            self.counts.launches += _computes(func)
            self.counts.host_reads += self._is_read(func, args, made)
        if torch.Tag.nondeterministic_seeded in func.tags:
            self.counts.host_drawn_bytes += sum(one.nbytes for one in made if one.device.type == "cpu")
        return out

    def _is_read(self, func: Any, args: Any, made: list[Tensor]) -> bool:
        name = func.overloadpacket.__name__
        if name in _INDEXING:
            return any(index.dtype in (torch.bool, torch.uint8) for index in _tensors(args[1]))
        if name in ("_to_copy", "copy_", "copy"):
            source = args[1] if name.startswith("copy") else args[0]
            return self.kind != "cpu" and source.device.type == self.kind and made[0].device.type == "cpu"
        return bool(_WAITING & set(func.tags))


class _Calls(TorchFunctionMode):
    """Sees what Python calls: on a CPU some reads are no operator."""

    def __init__(self, counts: Counts, kind: str) -> None:
        super().__init__()
        self.counts, self.kind = counts, kind

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        before = self.counts.host_reads
        out = func(*args, **(kwargs or {}))
        if self.counts.host_reads == before and self._is_read(func, args, out):
            self.counts.host_reads += 1
        return out

    def _is_read(self, func: Callable[..., Any], args: Any, out: Any) -> bool:
        if func is Tensor.to:
            return self.kind != "cpu" and args[0].device.type == self.kind and out.device.type == "cpu"
        return func in _READING and args[0].device.type == self.kind


def _computes(func: Any) -> bool:
    name = func.overloadpacket.__name__
    return not func.is_view and name not in _IDLE and name != "_local_scalar_dense"


def _tensors(values: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]
