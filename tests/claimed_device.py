"""Tensors that claim to lie on a GPU, for machines without one: whatever mixes them with CPU tensors fails.

    with claimed_device() as device:             # torch.device("cuda", 0)
        image = torch.rand(3, 4).to(device)      # numbers on the CPU, image.device says cuda:0
        image + torch.rand(3, 4)                 # Mixture

A claimed tensor wraps a CPU tensor. Every operation computes on what is inside, so values are right, data-dependent
branches work, and autograd, vmap and optimisers run as ever. The rules of the real device are kept:

    allowed   .to, .cpu, copy_, item, tolist; CPU tensors without axes in pointwise operations;
              a claimed tensor indexed by CPU indices
    refused   any other mixture; a CPU tensor indexed by claimed indices; numpy; a generator of the other side

Below the operations C++ believes in the CPU, so only two things are out of reach: `.device` read within vmap says cpu,
and a gradient does not notice that it crosses.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map

DEVICE = torch.device("cuda", 0)
_AnyGenerator = torch.Generator
_ATEN = torch.ops.aten
#: Lazy views, which nobody would resolve: what resolves them lies above this.
_AT_ONCE = {_ATEN._conj.default: _ATEN._conj_physical.default, _ATEN._neg_view.default: _ATEN.neg.default}
#: Operations that carry values from one side to the other.
_CROSSINGS = {_ATEN._to_copy, _ATEN.copy_, _ATEN.copy}
_INDEXED = {_ATEN.index, _ATEN._unsafe_index, _ATEN.index_put, _ATEN.index_put_, _ATEN._index_put_impl_}
_FILLED = {_ATEN.masked_fill, _ATEN.masked_fill_, _ATEN.fill, _ATEN.fill_, _ATEN.index_fill, _ATEN.index_fill_}


class Mixture(RuntimeError):
    """What a real device refuses."""


class Claimed(Tensor):
    """A tensor whose numbers lie on the CPU and which says that they do not."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> "Claimed":
        made = torch.Tensor._make_wrapper_subclass(
            cls, inner.size(), strides=inner.stride(), storage_offset=inner.storage_offset(), dtype=inner.dtype,
            layout=inner.layout, device=torch.device("cpu"),
        )  # fmt: skip
        made.inner = inner
        return made

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return DEVICE

    @property
    def is_cuda(self) -> bool:  # type: ignore[override]
        return True

    def __repr__(self, **_: Any) -> str:
        return f"Claimed({self.inner!r})"

    def __reduce_ex__(self, protocol: Any) -> Any:
        # A file written on a device is read to the CPU, as `map_location` asks.
        return self.detach().inner.__reduce_ex__(protocol)

    # With these two, `Module.to` exchanges parameters; else it would write into the old ones, which have real storage.
    def __tensor_flatten__(self) -> tuple[list[str], None]:
        return ["inner"], None

    @staticmethod
    def __tensor_unflatten__(inner: dict[str, Tensor], *_: Any) -> "Claimed":
        return Claimed(inner["inner"])

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        done = _BY_HAND.get(func)
        if done is not None:
            return done(*args, **(kwargs or {}))
        with torch._C.DisableTorchFunctionSubclass():
            return func(*args, **(kwargs or {}))

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _computed(func, args, kwargs or {})


@contextmanager
def claimed_device() -> Iterator[torch.device]:
    """Make `cuda` a device that exists in name only."""
    with mock.patch("torch.cuda._lazy_init"), mock.patch("torch.Generator", _Generator), _Draws(), _Claims():
        before = torch._C._only_lift_cpu_tensors()
        torch._C._set_only_lift_cpu_tensors(True)
        try:
            yield DEVICE
        finally:
            torch._C._set_only_lift_cpu_tensors(before)


class _Claims(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _computed(func, args, kwargs or {})


class _Draws(TorchFunctionMode):
    """Sees generators as they are given: C++ hands on others of the same state."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is Tensor.to:
            return _to(*args, **(kwargs or {}))
        leaves = tree_leaves((args, kwargs or {}))
        told = (kwargs or {}).get("device")
        goes = any(isinstance(leaf, Claimed) for leaf in leaves) if told is None else _is_there(told)
        for leaf in leaves:
            if isinstance(leaf, _AnyGenerator) and getattr(leaf, "claims", False) != goes:
                wanted = "cuda" if goes else "cpu"
                raise Mixture(f"{func}: expected a {wanted} generator, got one of the other device")
        return func(*args, **(kwargs or {}))


class _Generator(torch.Generator):
    """A generator that may claim to belong to the device."""

    claims = False

    def __new__(cls, device: Any = "cpu") -> "_Generator":
        made = super().__new__(cls, "cpu")
        made.claims = _is_there(device)
        return made

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return DEVICE if self.claims else torch.device("cpu")


def _computed(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Return what an operation returns, on the side where a real device would compute it."""
    func = _AT_ONCE.get(func, func)
    claimed = any(isinstance(leaf, Claimed) for leaf in tree_leaves((args, kwargs)))
    told = kwargs.get("device")
    goes = claimed if told is None else _is_there(told)
    # Gradients start from zeros that C++ makes where it believes to be.
    if claimed and torch._C._current_graph_task_id() == -1:
        _check(func, args, kwargs)
    inside = tree_map(lambda leaf: leaf.inner if isinstance(leaf, Claimed) else leaf, (args, kwargs))
    if told is not None:
        inside[1]["device"] = torch.device("cpu")
    out = func(*inside[0], **inside[1])
    if not goes or (func.overloadpacket is _ATEN.copy_ and not isinstance(args[0], Claimed)):
        return out
    out = tree_map(lambda leaf: Claimed(leaf) if isinstance(leaf, Tensor) else leaf, out)
    return return_and_correct_aliasing(func, args, kwargs, out) if claimed else out


def _check(func: Any, args: Any, kwargs: dict[str, Any]) -> None:
    packet = func.overloadpacket
    if packet in _CROSSINGS:
        return
    operands = tree_leaves((args, kwargs))
    if packet in _INDEXED:
        if not isinstance(args[0], Claimed):
            raise Mixture(f"{func}: indices should be either on cpu or on the same device as the indexed tensor (cpu)")
        operands = [args[0], *args[2:]]
    foreign = [leaf for leaf in operands if isinstance(leaf, Tensor) and not isinstance(leaf, Claimed)]
    if not foreign:
        return
    written = [
        value
        for value, told in zip(args, func._schema.arguments, strict=False)
        if told.alias_info is not None and told.alias_info.is_write
    ]
    may_be_scalar = torch.Tag.pointwise in func.tags or packet in _INDEXED | _FILLED
    if (
        may_be_scalar
        and all(one.ndim == 0 for one in foreign)
        and not any(one is two for one in foreign for two in written)
    ):
        return
    shapes = [tuple(one.shape) for one in foreign]
    raise Mixture(f"{func}: expected all tensors to be on the same device, found cpu {shapes} and {DEVICE}")


def _is_there(device: Any) -> bool:
    return torch.device(device).type == DEVICE.type


class _Enter(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return Claimed(values.clone())

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        return gradient.inner if isinstance(gradient, Claimed) else gradient


class _Leave(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Claimed) -> Tensor:
        return values.inner.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        return gradient if isinstance(gradient, Claimed) else Claimed(gradient)


def _to(values: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Move or convert, which C++ would not do: for it, both sides are the CPU."""
    kwargs.pop("non_blocking", None)
    device, dtype = values.device, values.dtype
    for told in (*args, *kwargs.values()):
        if isinstance(told, Tensor):
            device, dtype = told.device, told.dtype
        elif isinstance(told, torch.dtype):
            dtype = told
        elif isinstance(told, torch.device | str):
            device = torch.device(told)
    is_claimed = isinstance(values, Claimed)
    if device.type == DEVICE.type and not is_claimed:
        values = _Enter.apply(values)
    elif device.type == "cpu" and is_claimed:
        values = _Leave.apply(values)
    with torch._C.DisableTorchFunctionSubclass():
        return values.to(dtype)


def _refused(*_: Any, **__: Any) -> Any:
    raise Mixture(f"can't convert {DEVICE} device type tensor to numpy")


_BY_HAND = {
    Tensor.to: _to,
    Tensor.type_as: lambda values, other: _to(values, other),
    Tensor.cpu: lambda values: _to(values, "cpu"),
    Tensor.cuda: lambda values, *_: values,
    Tensor.numpy: _refused,
    Tensor.__array__: _refused,
    Tensor.tolist: lambda values: values.detach().inner.tolist(),
    Tensor.device.__get__: lambda values: DEVICE,  # type: ignore[attr-defined]
    Tensor.is_cuda.__get__: lambda values: True,  # type: ignore[attr-defined]
}
