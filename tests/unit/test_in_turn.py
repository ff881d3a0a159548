"""Methods that follow one another are laid out, configured and ended as one method."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest
import torch

from ilcore import fit
from ilcore.degradations.stabilise import VarianceStabilised
from ilcore.grammar.arrays import Streams, Weights
from ilcore.grammar.errors import RecipeError
from ilcore.grammar.problem import Noise, Problem
from ilcore.grammar.recipe import DirectMethod, Sequential, Transformed
from ilcore.grammar.step_context import Restoration
from ilcore.grammar.stop_reason import StopReason
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


@dataclass(frozen=True)
class Counted(DirectMethod):
    """A method by hand that makes steps of its own and notes what it starts from."""

    steps: int = 3

    def own_complaints(self, problem: Problem) -> Iterator[str]:
        yield from ()

    def halo(self, space: int) -> tuple[int, ...]:
        return (0,) * space

    def restore(self, problem: Problem, streams: Streams, *, start: Weights | None = None) -> Restoration:
        count = len(streams)
        told = StopReason.applied(",".join(start or ("nothing",)))
        return Restoration(image=problem.observed, steps=(self.steps,) * count, stopped=(told,) * count)


def test_steps_reach_a_method_by_hand_that_has_some() -> None:
    counted = replace(METHODS["nlm"], method=Counted())
    for path in ("steps", "stop.steps"):
        assert configure(counted, {path: 7}).method == Counted(7)
    assert counted.with_steps(5).method == Counted(5)
    assert configure(counted, {"steps": 4, "stabilise": True}).method == Transformed(VarianceStabilised(), Counted(4))
    both = replace(counted, method=Sequential((Counted(), METHODS["n2v"].method)))
    assert [configure(both, {"steps": 9}).method.methods[0], configure(both, {"steps": 9}).method.budget] == [
        Counted(9), 9,
    ]  # fmt: skip
    assert configure(both, {"1.steps": 8}).method.methods == (Counted(8), METHODS["n2v"].method)
    assert configure(both, {"2.steps": 8}).method.methods[0] == Counted()
    with pytest.raises(RecipeError, match="steps must name a knob"):
        configure(METHODS["nlm"], {"steps": 7})


def test_weights_to_start_from_reach_every_method_in_turn() -> None:
    problem = Problem(observed=torch.rand(2, 1, 8, 8), noise=(Noise(read_std=0.1),))
    tiles, start = Streams.of(0, "start", [(0,), (1,)]), {"weight": torch.ones(1, 1)}
    assert fit.restore(Counted(), problem, tiles, start=start).stopped == (StopReason.applied("weight"),) * 2
    assert fit.restore(Counted(), problem, tiles).stopped == (StopReason.applied("nothing"),) * 2
    inside = Transformed(VarianceStabilised(), Sequential((METHODS["nlm"].method, Counted())))
    assert fit.restore(inside, problem, tiles, start=start).stopped == (StopReason.applied("weight"),) * 2
    # A fit hands on its own; a method without weights hands on those that it was given.
    small = configure(METHODS["zs_n2n"], {"steps": 1, "network.width": 4}).method
    model = small.network.build(problem, 1, Streams.of(1, "other", [(0,)]), shared=True)
    given = {name: value.detach() for name, value in model.named_parameters()}
    fitted = fit.restore(small, problem, tiles, start=given)
    one_step = fit.restore(Sequential((METHODS["nlm"].method, small)), problem, tiles, start=given)
    assert torch.equal(one_step.image, fitted.image)
    assert "conv.0.weight" in fit.restore(Sequential((small, Counted())), problem, tiles).stopped[0].words


@pytest.mark.parametrize(("word", "place"), [("first", 0), ("1", 0), ("last", 2), ("3", 2)])
def test_one_of_several_is_reached_by_number_or_word(word: str, place: int) -> None:
    entry = in_turn("dip", "n2v", "dip_tv")
    turned = configure(entry, {f"{word}.stop.steps": 5, f"{word}.network.width": 6}).method.methods
    assert [one.budget for one in turned] == [5 if at == place else 3000 if at != 1 else 2000 for at in range(3)]
    assert turned[place].network.width == 6
    ended = configure(entry, {f"{word}.stop": "es_emv"})
    assert isinstance(ended.method.methods[place].stop, RunningVariance)
    assert [one.stop for at, one in enumerate(ended.method.methods) if at != place] == [
        one.stop for at, one in enumerate(entry.method.methods) if at != place
    ]
    assert ended.version == entry.version + 1
    for wrong in ("4.stop", "0.stop", "middle.stop"):
        with pytest.raises(RecipeError, match=f"{wrong} must name one of several methods"):
            configure(entry, {wrong: "es_emv"})
    with pytest.raises(RecipeError, match="must name one of several methods"):
        configure(METHODS["dip"], {"1.stop": "es_emv"})


def test_the_first_patches_of_a_group_are_no_place() -> None:
    both = configure(in_turn("nl_ridge", "n2v"), {"first": 20}).method
    assert both.methods[0].first == 20


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
