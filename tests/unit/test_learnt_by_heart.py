"""A single image can be learnt too long; withheld pixels notice, and the weights from before are kept."""

import torch

from ilcore import fit
from ilcore.grammar.arrays import Streams
from ilcore.grammar.problem import Problem
from ilcore.methods.catalogue import METHODS
from ilcore.methods.entry import configure


def test_neighbor2neighbor_keeps_the_weights_from_before_it_went_wrong() -> None:
    clean = 0.5 + 0.2 * torch.sin(torch.arange(24) / 5.0).expand(1, 1, 24, 24)
    noisy = clean + 0.15 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    # At this rate every fit goes wrong sooner or later.
    knobs = {"steps": 40, "network.width": 16, "network.depth": 2, "descent.learning_rate": 0.2}
    recipe = configure(METHODS["neighbor2neighbor"], knobs | {"stop.every": 5}).method
    done = fit.restore(recipe, Problem(observed=noisy), Streams.of(0, "n", [(0,)]))
    assert done.curves[0][-1][1] > 10, "it did go wrong"
    assert float((done.image - clean).square().mean()) < 0.05
