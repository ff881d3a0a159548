"""Methods that follow one another are laid out, configured and ended as one method."""

from dataclasses import replace

import pytest

from ilcore.degradations.stabilise import VarianceStabilised
from ilcore.grammar.errors import RecipeError
from ilcore.grammar.recipe import Sequential, Transformed
from ilcore.methods.catalogue import METHODS
from ilcore.methods.entry import Entry, configure, knobs
from ilcore.networks.plain import Plain
from ilcore.networks.unet import UNet
from ilcore.stops.windowed_variance import RunningVariance


def in_turn(*names: str) -> Entry:
    return replace(METHODS["n2v"], name="both", method=Sequential(tuple(METHODS[name].method for name in names)))


def test_tiles_lie_on_the_grid_of_every_method_in_turn() -> None:
    assert METHODS["n2v"].align(2) == (4, 4)
    assert in_turn("n2v", "nlm").align(2) == in_turn("nlm", "n2v").align(2) == (4, 4)
    assert in_turn("n2v", "neighbor2neighbor").align(2) == (8, 8)
    assert in_turn("n2v", "neighbor2neighbor").align(3)[-2:] == (8, 8)


def test_every_knob_of_methods_in_turn_is_listed_under_the_name_that_turns_it() -> None:
    entry = in_turn("n2v", "neighbor2neighbor")
    listed = knobs(entry)
    assert {"1.stop.steps": 2000, "2.stop.steps": METHODS["neighbor2neighbor"].method.budget}.items() <= listed.items()
    for path, value in listed.items():
        assert configure(entry, {path: value}).method == entry.method, path
    second = configure(entry, {"2.stop.steps": 5}).method
    assert [one.budget for one in second.methods] == [2000, 5]
    both = configure(entry, {"network.width": 8, "steps": 3})
    assert [(one.network.width, one.budget) for one in both.method.methods] == [(8, 3), (8, 3)]
    only = configure(entry, {"views.percent": 3.0}).method
    assert only.methods[0].views.percent == 3.0
    assert only.methods[1] == entry.method.methods[1]


@pytest.mark.parametrize("path", ["network.colour", "3.stop.steps", "0.stop.steps", "1.network.colour", "2", "9"])
def test_a_knob_that_no_method_in_turn_has_is_refused_by_name(path: str) -> None:
    with pytest.raises(RecipeError, match=rf"^{path} must name a knob"):
        configure(in_turn("n2v", "neighbor2neighbor"), {path: 1})


def test_stop_rules_and_networks_reach_every_method_in_turn() -> None:
    entry = configure(in_turn("dip", "nlm", "dip_tv"), {"stop": "es_emv", "stabilise": True})
    assert isinstance(entry.method, Transformed)
    first, plain, last = entry.method.method.methods
    assert (first.stop, last.stop) == (RunningVariance(steps=3000), RunningVariance(steps=3000))
    assert plain == METHODS["nlm"].method
    with pytest.raises(RecipeError, match="makes steps"):
        configure(in_turn("nlm", "tv"), {"stop": "es_emv"})
    network = Plain(width=4, depth=2, residual=False, pointwise_end=True, slope=0.0)
    own = in_turn("n2v", "n2v2").with_network(network).method
    assert [one.network for one in own.methods] == [network, network]


def test_a_wrapper_is_passed_over_in_names_as_in_turning() -> None:
    inner = METHODS["n2v"].method
    entry = replace(METHODS["n2v"], method=Sequential((Transformed(VarianceStabilised(), inner), inner)))
    assert set(knobs(entry)) == {f"{place}.{path}" for place in (1, 2) for path in knobs(METHODS["n2v"])}
    turned = configure(entry, {"1.network.width": 8}).method
    assert isinstance(inner.network, UNet)
    assert turned.methods[0].method.network.width == 8
    assert turned.methods[1].network.width == 32
