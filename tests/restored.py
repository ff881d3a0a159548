"""Restore a file in this process, quickly, and look at the result."""

from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from ilcore.planning.make import plan_restoration
from ilcore.running.local import carry_out


def restored(source: Path, target: Path, **wishes: Any) -> zarr.Group:
    """Restore with a quick method, and return the group of the result."""
    report = carry_out(plan_restoration(str(source), str(target), **{"method": "wavelet", **wishes}))
    assert report.verdict != "fail", report.findings
    return zarr.open_group(str(target), mode="r")


def level(group: zarr.Group, path: str) -> NDArray[Any]:
    """Return a level of a result."""
    return np.asarray(group[path][...])


def noisy_scene(side: int = 96, low: float = 1000, high: float = 3000, std: float = 60) -> NDArray[np.float64]:
    """Return a smooth scene under white noise."""
    y, x = np.mgrid[:side, :side] / side
    clean = low + (high - low) * (0.5 + 0.25 * np.sin(9 * x + 4 * y) + 0.25 * ((x - 0.5) ** 2 + (y - 0.5) ** 2 < 0.08))
    return clean + np.random.default_rng(0).normal(0, std, clean.shape)
