"""Generated scenes with a known truth, for every test that needs one. Numpy only; same seed, same scene.

    cells       soft bodies of several brightnesses with nuclei, on a dim background
    filaments   thin curved strands of varying brightness
    coast       dark water, a fractal shore, and a patchwork of ploughed fields
    stars       points and a few small discs on almost nothing
    edges       rectangles of flat tone: sharp edges everywhere
    constant    one grey level

Every scene works in 2-D (y, x) and 3-D (z, y, x), is float32 and lies in [0, 1].
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Scene = NDArray[np.float32]


def scene(kind: str, shape: Sequence[int] = (128, 128), seed: int = 0) -> Scene:
    """Return a clean scene.

    Args:
        kind: One of KINDS.
        shape: (y, x) or (z, y, x).
        seed: Any non-negative integer.
    """
    size = tuple(int(length) for length in shape)
    image = KINDS[kind](size, np.random.default_rng([seed, *kind.encode()]))
    return np.clip(image, 0, 1).astype(np.float32)


def noisy(
    clean: Scene,
    *,
    std: float = 0.0,
    gain: float = 0.0,
    offset: float = 0.0,
    blur: float | Sequence[float] = 0.0,
    seed: int = 0,
) -> Scene:
    """Add noise of known law: var = gain * max(clean - offset, 0) + std**2.

    Args:
        clean: Any shape.
        std: Signal-independent part, in units of `clean`.
        gain: Grey levels per count; the counts are drawn from a Poisson law.
        offset: Grey level of zero light.
        blur: Width in voxels of the correlation of the signal-independent part (its std stays `std`), per axis or for
            all; (0, 2) in 2-D smears along rows.
        seed: Any non-negative integer.
    """
    rng = np.random.default_rng([seed, 77])
    image = clean.astype(np.float64)
    if gain > 0:
        light = np.maximum(image - offset, 0)
        image = image + gain * rng.poisson(light / gain) - light
    if std > 0:
        grain = blurred(rng.standard_normal(clean.shape), blur)
        image = image + std * grain / max(float(grain.std()), 1e-12)
    return image.astype(np.float32)


def blurred(image: NDArray[np.floating], width: float | Sequence[float]) -> NDArray[np.float64]:
    """Return the image blurred by a Gaussian of that width in voxels, periodic at the borders."""
    widths = (width,) * image.ndim if isinstance(width, int | float) else tuple(width)
    spectrum = np.fft.fftn(image)
    for axis, (length, sigma) in enumerate(zip(image.shape, widths, strict=True)):
        transfer = np.exp(-2 * (np.pi * sigma * np.fft.fftfreq(length)) ** 2)
        spectrum = spectrum * transfer.reshape([-1 if a == axis else 1 for a in range(image.ndim)])
    return np.fft.ifftn(spectrum).real


def psnr(clean: NDArray[np.floating], other: NDArray[np.floating]) -> float:
    """Return the peak signal-to-noise ratio in dB for a range of 1."""
    error = float(np.mean((np.asarray(clean, np.float64) - np.asarray(other, np.float64)) ** 2))
    return float(-10 * np.log10(max(error, 1e-20)))


def _cells(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.floating]:
    image = np.full(shape, 0.08)
    for _ in range(max(3, int(np.prod(shape)) // (1400 if len(shape) == 2 else 6000))):
        centre, radius = rng.random(len(shape)) * shape, rng.uniform(5, 13)
        distance = _distance(shape, centre, rng.uniform(0.7, 1.4, len(shape)))
        body = rng.uniform(0.15, 0.55) / (1 + np.exp(np.clip((distance - radius) / 0.9, -40, 40)))
        nucleus = rng.uniform(0.1, 0.4) / (1 + np.exp(np.clip((distance - 0.4 * radius) / 0.6, -40, 40)))
        image = np.maximum(image, 0.08 + body + nucleus)
    return image + 0.03 * _fractal(shape, rng, 2.0)


def _filaments(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.floating]:
    image = np.zeros(shape)
    for _ in range(max(3, int(np.prod(shape[-2:])) // (900 if len(shape) == 2 else 200))):
        steps = 3 * max(shape)
        heading = rng.normal(size=(1, len(shape))) + np.cumsum(rng.normal(0, 0.06, (steps, len(shape))), 0)
        heading /= np.linalg.norm(heading, axis=1, keepdims=True)
        path = np.floor(rng.random(len(shape)) * shape + np.cumsum(0.7 * heading, 0)).astype(int)
        path = path[np.all((path >= 0) & (path < shape), 1)]
        image[tuple(path.T)] = rng.uniform(0.4, 1.0)
    strands = blurred(image, 1.0)
    return 0.06 + 0.85 * np.clip(strands / max(np.quantile(strands, 0.998), 1e-6), 0, 1)


def _coast(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.floating]:
    height = _fractal(shape[-2:], rng, 3.0)
    land = height > np.quantile(height, 0.4)
    centres = rng.random((max(6, shape[-1] * shape[-2] // 500), 2)) * shape[-2:]
    rows, columns = np.mgrid[: shape[-2], : shape[-1]]
    field = np.maximum(abs(rows[..., None] - centres[:, 0]), abs(columns[..., None] - centres[:, 1])).argmin(-1)
    tone, angle, period = (rng.uniform(*span, len(centres)) for span in ((0.3, 0.85), (0, np.pi), (4, 12)))
    phase = (rows * np.sin(angle[field]) + columns * np.cos(angle[field])) / period[field]
    image = blurred(np.where(land, tone[field] + 0.05 * np.sin(2 * np.pi * phase), 0.05 + 0.15 * height), 0.6)
    # In 3-D the planes are one landscape under slowly changing light.
    light = np.linspace(1.0, 0.8, shape[0])[:, None, None] if len(shape) == 3 else 1.0
    return image * light


def _stars(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.floating]:
    points = np.zeros(shape)
    count = max(4, int(np.prod(shape)) // 300)
    where = tuple((rng.random((len(shape), count)) * np.array(shape)[:, None]).astype(int))
    points[where] = np.minimum(0.05 * (1 - rng.random(count)) ** (-1 / 1.2), 1.0)
    image = 0.04 + blurred(points, 1.1) * (2 * np.pi * 1.1**2) ** (len(shape) / 2)
    for _ in range(2):
        distance = _distance(shape, rng.random(len(shape)) * shape, np.ones(len(shape)))
        image = image + 0.25 / (1 + np.exp(np.clip((distance - 6) / 0.8, -40, 40)))
    return image


def _edges(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.floating]:
    image = np.full(shape, 0.5)
    for _ in range(max(12, int(np.prod(shape[-2:])) // 250)):
        size = rng.integers(4, max(6, min(shape[-2:]) // 3), len(shape))
        start = [int(rng.integers(0, max(1, length))) for length in shape]
        image[tuple(slice(a, a + int(b)) for a, b in zip(start, size, strict=True))] = rng.uniform(0.05, 0.95)
    return image


def _constant(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.floating]:
    return np.full(shape, rng.uniform(0.3, 0.7))


def _distance(
    shape: tuple[int, ...], centre: NDArray[np.floating], stretch: NDArray[np.floating]
) -> NDArray[np.floating]:
    axes = np.ogrid[tuple(slice(0, length) for length in shape)]
    return np.sqrt(sum(((axis - c) / s) ** 2 for axis, c, s in zip(axes, centre, stretch, strict=True)))


def _fractal(shape: tuple[int, ...], rng: np.random.Generator, slope: float) -> NDArray[np.float64]:
    axes = np.meshgrid(*(np.fft.fftfreq(length) for length in shape), indexing="ij")
    frequency = np.sqrt(sum(axis**2 for axis in axes))
    frequency[(0,) * len(shape)] = np.inf
    field = np.fft.ifftn(np.fft.fftn(rng.normal(size=shape)) * frequency ** (-slope / 2)).real
    return (field - field.min()) / max(float(np.ptp(field)), 1e-12)


#: Scenes by name; "constant" is the degenerate one.
KINDS: dict[str, Callable[[tuple[int, ...], np.random.Generator], NDArray[np.floating]]] = {
    "cells": _cells,
    "filaments": _filaments,
    "coast": _coast,
    "stars": _stars,
    "edges": _edges,
    "constant": _constant,
}
