"""What a network is shown where nothing is trusted."""

import torch

from ilcore.grammar.arrays import Tiles
from ilcore.grammar.masks import neighbour_mean, without_holes
from ilcore.grammar.problem import Problem


def shown(problem: Problem) -> Tiles:
    """Return the observation with every untrusted value replaced by its trusted neighbours, or by the mean of its tile.

    What an untrusted value is has no influence, and single ones are filled so well that a network hardly notices.

    Shape:
        -> [tile, channel, *space].
    """
    if problem.trusted is None:
        return problem.observed
    return torch.where(problem.trusted, problem.observed, neighbour_mean(without_holes(problem), problem.trusted))
