"""Restore noisy scans by learning from the scan itself.

>>> import numpy as np
>>> from ilcore import restore
>>> noisy = np.random.default_rng(0).normal(0.5, 0.1, (32, 32)).astype("float32")
>>> restore(noisy, method="zs_n2n", overrides={"steps": 2}).image.shape
(32, 32)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ilcore.formats.open import images_in, open_volume
    from ilcore.grammar.errors import ILError
    from ilcore.grammar.problem import Noise, Problem
    from ilcore.grammar.step_context import Restoration
    from ilcore.methods.catalogue import METHODS as methods  # noqa: N811 (public names are lower case)
    from ilcore.planning.make import plan_restoration
    from ilcore.running.arrays import restore

__version__ = "0.1.0"

# Names are found on first use: a GPU node without zarr must be able to import the package.
_HOMES = {
    "ILError": ("ilcore.grammar.errors", "ILError"),
    "Noise": ("ilcore.grammar.problem", "Noise"),
    "Problem": ("ilcore.grammar.problem", "Problem"),
    "Restoration": ("ilcore.grammar.step_context", "Restoration"),
    "methods": ("ilcore.methods.catalogue", "METHODS"),
    "images_in": ("ilcore.formats.open", "images_in"),
    "open_volume": ("ilcore.formats.open", "open_volume"),
    "plan_restoration": ("ilcore.planning.make", "plan_restoration"),
    "restore": ("ilcore.running.arrays", "restore"),
}

__all__ = [
    "ILError", "Noise", "Problem", "Restoration", "images_in", "methods", "open_volume", "plan_restoration", "restore",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"ilcore offers {', '.join(__all__)}; got {name!r}")
    module, attribute = _HOMES[name]
    return getattr(import_module(module), attribute)
