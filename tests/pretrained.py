"""Weights of a network small enough for tests, in the format of the shipped ones."""

from pathlib import Path

import torch

from ilcore.adapting.weights import save_weights
from ilcore.networks.plain import Plain


def small_weights(path: Path, seed: int = 0) -> Path:
    """Write weights of two convolutions that change an image a little, and return their path."""
    torch.manual_seed(seed)
    widths = [(4, 4), (4, 4)]
    weights = {f"conv.{n}.weight": torch.randn(b, a, 3, 3) * 0.01 for n, (a, b) in enumerate(widths)}
    network = Plain(width=4, depth=2, pointwise_end=False, slope=0.0, bias=False, shuffle=2, grey=True)
    save_weights(path, weights, network)
    return path
