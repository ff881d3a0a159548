"""How much memory a voxel of a tile takes, by method: what the catalogue declares as `kilobytes`, and what is counted.

    python -m tests.bench.memory [METHOD ...]

Tensors are counted as they are made and freed, in two tiles of different size; the slope between them leaves out
weights and other constants. Methods that compute in NumPy are not counted by it: they are declared as 1.
"""

import sys
import weakref
from dataclasses import replace

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ilcore import fit
from ilcore.adapting.weights import SHIPPED, load_denoiser
from ilcore.grammar.arrays import Streams
from ilcore.grammar.problem import Noise, Problem
from ilcore.methods.catalogue import METHODS
from ilcore.methods.entry import configure
from tests.quick import DENOISERS

SIDES = {2: ((64, 64), (96, 96)), 3: ((8, 32, 32), (8, 64, 64))}


class Counted(TorchDispatchMode):
    """Sums up the storage of tensors that are alive, and remembers the most."""

    def __init__(self):
        super().__init__()
        self.alive, self.now, self.most = {}, 0, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, torch.Tensor):
                self._take(leaf.untyped_storage())
        return out

    def _take(self, storage):
        if storage._cdata in self.alive:
            return
        self.alive[storage._cdata] = storage.nbytes()
        self.now += storage.nbytes()
        self.most = max(self.most, self.now)
        weakref.finalize(storage, self._free, storage._cdata)

    def _free(self, key):
        self.now -= self.alive.pop(key, 0)


def kilobytes(entry, space, *, learning):
    """Return the memory of a voxel in kB while a method learns on a tile, or is applied to it; None where it cannot."""
    small, large = (most_bytes(entry, side, learning=learning) for side in SIDES[space])
    if small is None:
        return None
    return (large - small) / (np.prod(SIDES[space][1]) - np.prod(SIDES[space][0])) / 1000


def most_bytes(entry, side, *, learning):
    rng = np.random.default_rng(0)
    observed = torch.from_numpy(rng.random((1, 1, *side), np.float32))
    problem = Problem(observed=observed, noise=(Noise(read_std=0.1),), value_range=(0, 1))
    pretrained = "weights" in entry.needs
    start = load_denoiser(SHIPPED)[1] if pretrained else None
    if entry.method.budget == 0:
        return None if learning else _counted(lambda: fit.restore(entry.method, problem, _streams()))
    method = configure(entry, {"stop.steps": 2}).method
    if learning:
        return _counted(lambda: fit.restore(method, problem, _streams(), start=start))
    if not entry.can_apply:
        return None
    weights = start or fit.restore(method, replace(problem), _streams()).weights
    return _counted(lambda: fit.predict(method, problem, weights, _streams()))


def _counted(work):
    with Counted() as counted:
        work()
    return counted.most


def _streams():
    return Streams.of(0, "memory", [(0,)])


def main():
    print("| method | declared | learning, 2-D | applied, 2-D | learning, 3-D | applied, 3-D |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name in sys.argv[1:] or DENOISERS:
        found = [_words(METHODS[name], space, learning) for space in SIDES for learning in (True, False)]
        print(f"| {name} | {METHODS[name].kilobytes} | {' | '.join(found)} |", flush=True)


def _words(entry, space, learning):
    try:
        found = kilobytes(entry, space, learning=learning)
    except Exception as error:  # A method that cannot do with such a small tile is told, not counted.
        return f"{type(error).__name__}"
    return "-" if found is None else f"{found:.2f}"


if __name__ == "__main__":
    main()
