"""What a network may hold beside its image: values that nothing explains."""

from abc import abstractmethod
from collections.abc import Sequence

from torch import Tensor, nn

from ilcore.grammar.slots import LiveNetwork


class OutlyingNetwork(LiveNetwork):
    """A live network around `inner`, with a sparse part beside its image."""

    inner: LiveNetwork

    @abstractmethod
    def outliers(self, rows: Sequence[int]) -> Tensor:
        """Return the sparse part of some rows, [row, channel, *space]."""


def outlying(model: nn.Module) -> OutlyingNetwork:
    """Return the network with a sparse part, wherever it is inside `model`."""
    for module in model.modules():
        if isinstance(module, OutlyingNetwork):
            return module
    raise TypeError(f"a network with a sparse part was wanted, got {type(model).__name__}; wrap it in WithOutliers")
