"""Where a recipe leaves its paper, the page on its family says so."""

from ilcore.methods import blind_spots, stein
from ilcore.methods.catalogue import METHODS
from ilcore.stops.held_out import HeldOut


def said(module: object) -> str:
    return " ".join(str(module.__doc__).split())


def test_dip_sure_says_who_chooses_its_weights() -> None:
    assert isinstance(METHODS["dip_sure"].method.stop, HeldOut)
    assert "keeps the weights of the lowest estimate" in said(stein)
    assert "here pixels that are never asked for choose them" in said(stein)


def test_noise2void_says_that_it_has_other_kernels_and_no_norm() -> None:
    network = METHODS["n2v"].method.network
    assert (network.kernel, network.norm) == (3, False)
    assert "batch norm, as a batch is one tile" in said(blind_spots)
    assert "kernels of 5 in Noise2Void's planes" in said(blind_spots)
