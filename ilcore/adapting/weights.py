"""Weights by file and hash: our own safetensors and plain DnCNN-type files of others."""

import hashlib
import json
import re
from dataclasses import asdict, fields
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save
from torch import Tensor

from ilcore.adapting.weight_file import check_weight_file
from ilcore.grammar.errors import BadWeights
from ilcore.networks.plain import Plain

#: The denoisers that ship with the project: of many kinds of image, and the one that knows photographs best.
SHIPPED = Path(__file__).with_name("blind_denoiser.safetensors")
PHOTOS = Path(__file__).with_name("photo_denoiser.safetensors")
#: One that is told the noise's standard deviation at every pixel; `ilcore.adapting.shipped.Net` carries it out.
CONDITIONED = Path(__file__).with_name("conditioned_denoiser.safetensors")


def save_weights(path: Path, weights: dict[str, Tensor], network: Plain | None = None) -> str:
    """Write weights in one step, the network's description beside them, and return their sha256."""
    description = {} if network is None else {"network": json.dumps(asdict(network), sort_keys=True)}
    content = save({name: value.contiguous() for name, value in weights.items()}, description)
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(content)
    partial.replace(path)
    return hashlib.sha256(content).hexdigest()


def sha256_of(path: Path) -> str:
    """Return the hash of a file."""
    check_weight_file(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load_weights(path: Path, expected_sha256: str | None = None) -> dict[str, Tensor]:
    """Return the tensors of a .safetensors, .pt or .pth file, float32 on the CPU.

    Raises:
        BadWeights: When the file is missing, unreadable, not a flat set of tensors, or not the expected one.
    """
    found = sha256_of(path)
    if expected_sha256 is not None and found != expected_sha256:
        raise BadWeights(
            f"weights {path.name} must have sha256 {expected_sha256[:12]}, got {found[:12]}; "
            "restore the file the plan was made with, or plan again"
        )
    try:
        # weights_only: a weight file must never be able to run code.
        loaded = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except Exception as error:
        raise BadWeights(f"weights must be a safetensors or tensor-only .pt file, got {path.name}: {error}") from error
    if not isinstance(loaded, dict) or not loaded or not all(isinstance(v, Tensor) for v in loaded.values()):
        raise BadWeights(
            f"weights must be a flat mapping of names to tensors, got {type(loaded).__name__} in {path.name}"
        )
    return {name: value.float() for name, value in loaded.items()}


def load_denoiser(path: Path, expected_sha256: str | None = None) -> tuple[Plain, dict[str, Tensor]]:
    """Return a network and its shared weights, ready to start a fit.

    Our own files carry the network's description. Others are read as a plain stack of convolutions in order
    (`conv.N`, `model.N`, ...), batch norms folded in, which predicts the noise of a grey image in [0, 1].

    Raises:
        BadWeights: When the file is no such stack.
    """
    weights = load_weights(path, expected_sha256)
    described = _description(path)
    if described is not None:
        return described, {name: value[None] for name, value in weights.items()}
    stack = _folded(weights, path.name)
    network = _network_of(stack, path.name)
    named: dict[str, Tensor] = {}
    for number, (kernel, shift) in enumerate(stack):
        named[f"conv.{number}.weight"] = kernel[None]
        if network.bias:
            named[f"conv.{number}.bias"] = (torch.zeros(len(kernel)) if shift is None else shift)[None]
    return network, named


def _description(path: Path) -> Plain | None:
    if path.suffix != ".safetensors":
        return None
    with safe_open(path, "pt") as file:
        text = (file.metadata() or {}).get("network")
    if text is None:
        return None
    known = {field.name for field in fields(Plain)}
    return Plain(**{name: value for name, value in json.loads(text).items() if name in known})


Layer = tuple[Tensor, Tensor | None]


def _folded(weights: dict[str, Tensor], name: str) -> list[Layer]:
    """Return (kernel, bias) of each convolution in order, batch norms folded into the convolution before them."""
    layers: list[Layer] = []
    for key in sorted((k for k in weights if weights[k].ndim == 4), key=_number):
        kernel, shift = weights[key], weights.get(key.removesuffix("weight") + "bias")
        layers.append(_normed(kernel, shift, weights, f"bn.{_number(key)}"))
    if len(layers) < 2:
        raise BadWeights(f"weights must hold a stack of 2-D convolutions, got {sorted(weights)[:4]} in {name}")
    return layers


def _number(key: str) -> int:
    digits = re.findall(r"\d+", key)
    return int(digits[0]) if digits else 0


def _normed(kernel: Tensor, shift: Tensor | None, weights: dict[str, Tensor], norm: str) -> Layer:
    if f"{norm}.running_var" not in weights:
        return kernel, shift
    # eps 1e-3: what the published DnCNN files with separate norms were trained with.
    gain = weights[f"{norm}.weight"] / (weights[f"{norm}.running_var"] + 1e-3).sqrt()
    base = torch.zeros(len(kernel)) if shift is None else shift
    return kernel * gain[:, None, None, None], (base - weights[f"{norm}.running_mean"]) * gain + weights[f"{norm}.bias"]


def _network_of(stack: list[Layer], name: str) -> Plain:
    first, last = stack[0][0], stack[-1][0]
    sides = {tuple(kernel.shape[2:]) for kernel, _ in stack}
    chained = all(a.shape[0] == b.shape[1] for (a, _), (b, _) in zip(stack, stack[1:], strict=False))
    shuffle = {1: 1, 4: 2}.get(int(first.shape[1]))
    if sides != {(3, 3)} or not chained or shuffle is None or first.shape[1] != last.shape[0]:
        raise BadWeights(
            f"weights must be 3x3 convolutions in a chain from grey to grey (1 or 4 channels in and out), got "
            f"{tuple(first.shape)} ... {tuple(last.shape)} in {name}; convert the model or use the shipped one"
        )
    return Plain(
        width=int(first.shape[0]), depth=len(stack), pointwise_end=False, slope=0.0, shuffle=shuffle, grey=True,
        bias=any(shift is not None for _, shift in stack),
    )  # fmt: skip
