"""Synthetic scenes to pretrain on: dead leaves, filaments, cells, and coast with fields.

    leaves      opaque shapes of power-law size hide each other (Lee, Mumford & Huang, IJCV 2001), with texture inside
    filaments   smooth random walks of varying width and brightness on a dim background
    cells       soft blobs with nuclei and granules
    coast       a fractal shore between dark water and a patchwork of fields

Every scene is float32 in [0, 1]; the same seed gives the same scene.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Scene = NDArray[np.float32]


def scene(seed: int, side: int = 256) -> Scene:
    """Return one scene of random kind.

    Args:
        seed: Any non-negative integer.
        side: Height and width in pixels.
    """
    rng = np.random.default_rng(seed)
    kinds = (leaves, leaves, leaves, filaments, cells, coast)
    return kinds[seed % len(kinds)](rng, side)


def leaves(rng: np.random.Generator, side: int) -> Scene:
    """Pile opaque textured shapes on each other, at twice the size, then reduce so that edges are soft."""
    big = 2 * side
    image = np.full((big, big), rng.random(), np.float32)
    texture = _texture(rng, big)
    smallest = rng.uniform(2.0, 12.0)
    for _ in range(int(rng.integers(300, 1200))):
        _paint_leaf(image, texture, smallest, rng)
    image = ndimage.gaussian_filter(image, rng.uniform(0.6, 1.2))
    return _stretched(image[::2, ::2], rng)


def filaments(rng: np.random.Generator, side: int) -> Scene:
    """Draw smooth random walks of varying width."""
    image = np.zeros((side, side), np.float32)
    for _ in range(int(rng.integers(2, 6))):
        layer = np.zeros_like(image)
        for _ in range(int(rng.integers(4, 30))):
            row, column = _walk(rng, side)
            np.maximum.at(layer, (row, column), np.float32(rng.uniform(0.3, 1)))
        width = rng.uniform(0.6, 2.5)
        image += ndimage.gaussian_filter(layer, width) * width * 2.5
    return _stretched(image + rng.uniform(0, 0.3) * _fractal(rng, side, 2.5), rng)


def cells(rng: np.random.Generator, side: int) -> Scene:
    """Scatter soft bodies with darker or brighter nuclei and granules."""
    image = np.full((side, side), rng.uniform(0, 0.2), np.float32)
    grain = _fractal(rng, side, rng.uniform(1.0, 2.5))
    for _ in range(int(rng.integers(3, 40))):
        radius = rng.uniform(4, side / 6)
        body = _soft_ellipse(rng, side, radius)
        image += body * (rng.uniform(0.1, 0.7) + rng.uniform(0, 0.5) * grain)
    spots = (rng.random((side, side)) < rng.uniform(0, 0.004)).astype(np.float32)
    image += ndimage.gaussian_filter(spots, rng.uniform(0.7, 2.0)) * rng.uniform(0, 10)
    return _stretched(image, rng)


def coast(rng: np.random.Generator, side: int) -> Scene:
    """Lay a fractal shore between water and ploughed fields."""
    height = _fractal(rng, side, rng.uniform(2.5, 3.5))
    land = height > np.quantile(height, rng.uniform(0.2, 0.6))
    count = int(rng.integers(10, 120))
    centres = rng.random((count, 2)) * side
    angle = rng.uniform(0, np.pi)
    grid = np.moveaxis(np.mgrid[:side, :side], 0, -1).reshape(-1, 2)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) * [[1], [rng.uniform(1, 3)]]
    distance = np.abs((grid[:, None] - centres[None]) @ turn.T).max(-1)
    field = distance.argmin(1).reshape(side, side)
    tone = rng.random(count).astype(np.float32)[field]
    relief = rng.uniform(0.02, 0.25) * _texture(rng, side)
    image = np.where(land, 0.2 + 0.7 * tone + relief, 0.1 * height)
    return _stretched(ndimage.gaussian_filter(image.astype(np.float32), rng.uniform(0.4, 0.8)), rng)


def _paint_leaf(image: Scene, texture: Scene, smallest: float, rng: np.random.Generator) -> None:
    side = len(image)
    # Density of sizes ~ r^-3 gives scale invariance; drawn by inverting its distribution.
    radius = min(smallest / np.sqrt(1 - rng.random() * 0.9998), side / 3)
    y, x = rng.random(2) * side
    reach = int(radius * 1.5) + 1
    rows = slice(max(0, int(y) - reach), min(side, int(y) + reach))
    columns = slice(max(0, int(x) - reach), min(side, int(x) + reach))
    down, across = np.ogrid[rows, columns]
    angle, stretch = rng.uniform(0, np.pi), rng.uniform(0.5, 1.0)
    u = (down - y) * np.cos(angle) + (across - x) * np.sin(angle)
    v = ((across - x) * np.cos(angle) - (down - y) * np.sin(angle)) / stretch
    inside = u * u + v * v < radius**2 if rng.random() < 0.6 else np.maximum(abs(u), abs(v)) < radius
    tone = rng.random() + rng.normal(0, 0.3) * u / (radius * 2)
    if rng.random() < 0.5:
        shift = rng.integers(0, side, 2)
        patch = np.take(np.take(texture, np.arange(rows.start, rows.stop) + shift[0], 0, mode="wrap"),
                        np.arange(columns.start, columns.stop) + shift[1], 1, mode="wrap")  # fmt: skip
        tone = tone + rng.uniform(0, 0.5) * patch
    image[rows, columns][inside] = np.broadcast_to(tone, inside.shape)[inside]


def _texture(rng: np.random.Generator, side: int) -> Scene:
    if rng.random() < 0.5:
        return _fractal(rng, side, rng.uniform(0.5, 2.0)) - 0.5
    y, x = np.mgrid[:side, :side]
    angle, period = rng.uniform(0, np.pi), rng.uniform(3, 24)
    warp = 8 * _fractal(rng, side, 3.0)
    wave = np.sin(2 * np.pi * (y * np.sin(angle) + x * np.cos(angle) + warp) / period)
    return np.asarray(0.5 * wave, np.float32)


def _fractal(rng: np.random.Generator, side: int, slope: float) -> Scene:
    """Return noise with power spectrum f^-slope, in [0, 1]."""
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None])
    frequency[0, 0] = 1
    spectrum = np.fft.rfft2(rng.normal(size=(side, side))) * frequency ** (-slope / 2)
    spectrum[0, 0] = 0
    field = np.fft.irfft2(spectrum, (side, side))
    return np.asarray((field - field.min()) / np.ptp(field), np.float32)


def _walk(rng: np.random.Generator, side: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    steps = int(rng.integers(side // 2, side * 3))
    heading = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, rng.uniform(0.01, 0.08), steps))
    y = rng.uniform(0, side) + np.cumsum(np.sin(heading) * 0.7)
    x = rng.uniform(0, side) + np.cumsum(np.cos(heading) * 0.7)
    inside = (y >= 0) & (y < side) & (x >= 0) & (x < side)
    return y[inside].astype(np.intp), x[inside].astype(np.intp)


def _soft_ellipse(rng: np.random.Generator, side: int, radius: float) -> Scene:
    y, x = rng.random(2) * side
    down, across = np.ogrid[:side, :side]
    angle, stretch = rng.uniform(0, np.pi), rng.uniform(0.4, 1.0)
    u = (down - y) * np.cos(angle) + (across - x) * np.sin(angle)
    v = ((across - x) * np.cos(angle) - (down - y) * np.sin(angle)) / stretch
    edge = rng.uniform(0.5, radius / 3 + 0.5)
    return np.asarray(1 / (1 + np.exp(np.clip((np.hypot(u, v) - radius) / edge, -40, 40))), np.float32)


def _stretched(image: Scene, rng: np.random.Generator) -> Scene:
    low, high = np.quantile(image, (0.002, 0.998))
    unit = np.clip((image - low) / max(high - low, 1e-6), 0, 1)
    curved = unit ** rng.uniform(0.7, 1.6)
    floor = rng.uniform(0, 0.25)
    return np.asarray(floor + curved * (rng.uniform(max(floor, 0.5), 1.0) - floor), np.float32)


#: Kinds by name, for tests and pictures.
KINDS: dict[str, Callable[[np.random.Generator, int], Scene]] = {
    "leaves": leaves,
    "filaments": filaments,
    "cells": cells,
    "coast": coast,
}
