"""Every method of the catalogue restores the same array in other units to the same image in these units."""

from functools import lru_cache
from importlib.util import find_spec

import numpy as np
import pytest

from ilcore.methods.catalogue import METHODS
from ilcore.methods.entry import Scalar
from ilcore.running.arrays import restore
from tests.quick import DENOISERS, QUICK, STACKS
from tests.scenes import scene

STD = 0.1


def _knobs(name: str) -> dict[str, Scalar]:
    return QUICK[name] | {"steps": 20} if METHODS[name].method.budget else QUICK[name]


def _noisy(name: str) -> np.ndarray:
    planes = [scene("cells", (32, 32), seed) for seed in range(4 if name in STACKS else 1)]
    clean = np.stack(planes) if name in STACKS else planes[0]
    return clean.astype(np.float64) + np.random.default_rng(0).normal(0, STD, clean.shape)


@lru_cache(maxsize=4)
def _image(name: str, a: float = 1.0, b: float = 0.0) -> np.ndarray:
    space = 3 if name in STACKS else 2
    return np.asarray(restore(a * _noisy(name) + b, name, a * STD, space=space, overrides=_knobs(name)).image)


@pytest.mark.parametrize(("a", "b"), [(255, 1e6), (1e-3, -40), (7.3, 0)])
@pytest.mark.parametrize("name", DENOISERS)
def test_the_same_array_in_other_units_has_the_same_image_in_these_units(name, a, b):
    if name == "bm3d" and find_spec("bm3d") is None:
        pytest.skip("the extra bm3d is not installed")
    assert np.abs(_image(name, a, b) - (a * _image(name) + b)).max() < 1e-3 * a * STD
