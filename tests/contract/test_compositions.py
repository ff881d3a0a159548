"""Every pair of parts: the recipe names what does not fit, or it runs to its end with finite numbers."""

from dataclasses import dataclass, replace
from itertools import combinations, product
from math import gcd

import pytest
import torch

from ilcore.degradations.operators import Blur, gaussian_kernel
from ilcore.degradations.stabilise import VarianceStabilised
from ilcore.descents.discrepant import DiscrepantRates
from ilcore.fit import predict, restore
from ilcore.grammar.arrays import Streams
from ilcore.grammar.capability import Capability
from ilcore.grammar.errors import RecipeError
from ilcore.grammar.problem import Problem
from ilcore.grammar.recipe import Sequential, Transformed
from ilcore.grammar.slots import LiveStop, Stop
from ilcore.grammar.wrapping import Wrapper
from ilcore.losses.sure import Sure
from ilcore.methods.catalogue import METHODS
from ilcore.networks.bounded import Bounded
from ilcore.networks.by_plane import ByPlane
from ilcore.networks.plain import Plain
from ilcore.networks.skip import SkipNet
from ilcore.networks.with_outliers import WithOutliers
from ilcore.stops.budget import After
from ilcore.views.averaged import AveragedDraws
from tests.compositions import BARE_NETWORKS, BASES, PARTS, SHAPES, STEPS, STOPS, failure, failures, problem_of, running
from tests.quick import DENOISERS, quick

#: Pairs of two slots that are tried in `make test`: every n-th of them; `slow` tries all.
MOST = 100


@dataclass(frozen=True)
class Called(Stop):
    """A rule whose budget has another name."""

    rounds: int

    @property
    def budget(self) -> int:
        return self.rounds

    def start(self, problem: Problem, streams: Streams, *, shared: bool = False) -> LiveStop:
        return After(self.rounds).start(problem, streams, shared=shared)


def test_every_base_works_on_a_plane_or_a_stack():
    for name, recipe in BASES.items():
        kinds = [kind for kind in SHAPES if not list(recipe.complaints(problem_of(kind)))]
        assert kinds, name
        assert [failure(recipe, problem_of(kind)) for kind in kinds] == [None] * len(kinds), name


_KINDS = list(combinations(PARTS, 2))
every_kind = pytest.mark.parametrize(("one", "other"), _KINDS, ids=["-".join(pair) for pair in _KINDS])


@every_kind
def test_every_pair_of_parts_complains_or_runs(one, other):
    pairs = len(PARTS[one]) * len(PARTS[other])
    every = -(-pairs // MOST)
    # A step that shares no factor with the length of the second list meets all of its parts.
    while every > 1 and gcd(every, len(PARTS[other])) > 1:
        every += 1
    chosen = list(running(one, other, every))
    assert chosen
    assert not failures(chosen)


@pytest.mark.slow
@every_kind
def test_all_pairs_of_parts_complain_or_run(one, other):
    assert not failures(list(running(one, other)))


def test_every_part_but_some_wrappers_is_met_in_a_recipe_that_runs():
    """What is refused everywhere would else pass as composed."""
    wrappers = (AveragedDraws, ByPlane, Bounded, WithOutliers, DiscrepantRates)
    for slot, parts in PARTS.items():
        other = "network" if slot != "network" else "loss"
        bases = [*BASES.values(), replace(BASES["observation"], loss=Sure())]
        for part in parts:
            recipes = (replace(base, **{slot: part, other: one}) for base in bases for one in PARTS[other])
            tried = product(recipes, map(problem_of, SHAPES))
            found = any(next(recipe.complaints(problem), None) is None for recipe, problem in tried)
            assert found or isinstance(part, wrappers), part


def test_every_capability_is_offered_and_required_by_some_part():
    parts = [inner for parts in PARTS.values() for part in parts for inner in part.nested()]
    asked = frozenset.union(*(part.requires for part in parts), Bounded(Plain()).asks)
    assert frozenset.union(*(part.offers for part in parts)) == frozenset(Capability)
    # Asked where the channels that are shown are not those of the image.
    assert asked | {Capability.READS_OTHER_CHANNELS} == frozenset(Capability)


@pytest.mark.parametrize("wrapper", [Bounded, WithOutliers])
@pytest.mark.parametrize("network", BARE_NETWORKS, ids=lambda network: type(network).__name__)
def test_a_wrapper_offers_what_the_network_inside_offers(wrapper, network):
    around = wrapper(network)
    assert isinstance(around, Wrapper)
    assert around.offers >= network.offers
    assert wrapper(around).offers == around.offers
    assert (around.halo(2), around.align(3)) == (network.halo(2), network.align(3))


def test_outliers_are_found_inside_other_wrappers_and_missed_by_name():
    problem = Problem(observed=torch.rand(1, 1, 8, 8))
    over = replace(METHODS["double_over"].method, stop=After(STEPS))
    small = SkipNet(width=4, skip=2, scales=2)
    said = "; ".join(replace(over, network=Bounded(small)).complaints(problem))
    assert "OutlierError() needs a network that has a sparse part beside the image, got Bounded(" in said
    assert said.count("wrap it in WithOutliers") == 2
    for network in (Bounded(WithOutliers(small)), WithOutliers(Bounded(small))):
        assert failure(replace(over, network=network), problem) is None


#: Methods that restore what stands behind an operator; all others know denoising only.
MINDS_OPERATOR = {"dip", "dip_tv", "dip_sgld", "deep_decoder", "deep_red", "double_over"}


@pytest.mark.parametrize("name", DENOISERS)
def test_a_method_minds_an_operator_or_refuses_it_with_a_sentence(name):
    method = METHODS[name].method
    problem = replace(problem_of("stack"), operator=Blur(gaussian_kernel(0.3, axes=3)))
    said = list(method.complaints(problem))
    assert method.takes_operator == (name in MINDS_OPERATOR) == (not said)
    if said:
        assert len(said) == 1
        assert "knows denoising only, got an operator (Blur); take a method" in said[0]
    else:
        assert failure(quick(name, steps=STEPS).method, problem) is None
    assert not any("operator" in word for word in method.complaints(problem_of("stack")))


@pytest.mark.parametrize("name", ["n2v", "adapted"])
def test_weights_that_are_only_applied_do_not_ignore_an_operator_in_silence(name):
    plain = problem_of("plane")
    tiles = Streams.of(0, name, [(0,), (1,)])
    method = quick(name, steps=1).method
    model = method.network.build(plain, plain.channels, tiles)
    weights = {key: value.detach() for key, value in model.named_parameters()}
    for each in (method, Transformed(VarianceStabilised(), method), Sequential((method, method))):
        assert torch.isfinite(predict(each, plain, weights, tiles)).all()
        with pytest.raises(RecipeError, match="knows denoising only, got an operator"):
            predict(each, replace(plain, operator=Blur(gaussian_kernel(0.3))), weights, tiles)


def test_methods_in_turn_are_all_checked_before_the_first_begins():
    unknown = Problem(observed=torch.full((1, 1, 8, 8), torch.nan))
    never = replace(BASES["code"], stop=After(10**9))
    with pytest.raises(RecipeError, match="needs the noise level"):
        restore(Sequential((never, METHODS["nlm"].method)), unknown, Streams.of(0, "turn", [(0,)]))


def test_a_root_is_no_unit_for_a_blurred_problem():
    blurred = replace(problem_of("plane"), operator=Blur(gaussian_kernel(0.3)))
    stabilised = Transformed(VarianceStabilised(), METHODS["dip"].method)
    assert not list(METHODS["dip"].method.complaints(blurred))
    assert list(stabilised.complaints(blurred)) == [
        "VarianceStabilised() knows denoising only, got an operator (Blur); "
        "take a method that minds it in every part, such as dip"
    ]
    in_turn = Sequential((METHODS["dip"].method, METHODS["nlm"].method))
    assert not in_turn.takes_operator
    assert "NonLocalMeans(" in next(in_turn.complaints(blurred))


@pytest.mark.parametrize("stop", STOPS, ids=lambda stop: type(stop).__name__)
def test_every_stop_declares_its_budget(stop):
    assert stop.budget == STEPS
    assert replace(BASES["code"], stop=stop).budget == STEPS


def test_a_budget_need_not_be_called_steps():
    assert replace(BASES["code"], stop=Called(rounds=7)).budget == 7
