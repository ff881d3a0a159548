"""The method follows from the verdict."""

import numpy as np
import pytest

from ilcore.aims.choosing import CANDIDATES, PRICES, Expected, able, asked_for, choose, copes, expected_of
from ilcore.degradations.estimate import ChannelReport, Preflight, preflight
from ilcore.grammar.problem import Noise
from ilcore.methods.catalogue import METHODS
from ilcore.methods.entry import configure
from tests.scenes import noisy, scene


def found(*verdicts, confidence=0.9, lag=0.0):
    channels = tuple(
        ChannelReport(
            noise=Noise(read_std=0.1, correlation=verdict), lag_y=lag, lag_x=lag, lag_diag=lag, verdict=verdict,
            saturated_share=0, empty_share=0, missing_share=0, level=0.1, confidence=confidence, notes=(),
        )
        for verdict in verdicts
    )  # fmt: skip
    return Preflight(channels=channels)


def test_white_noise_allows_adaptation_to_the_volume():
    choice = choose(found("white"))
    assert (choice.method, choice.scope, dict(choice.overrides)) == ("adapted", "volume", {})


@pytest.mark.parametrize("verdicts", [("isotropic",), ("row",), ("column",), ("white", "isotropic"), ("unknown",), ()])
def test_anything_else_leaves_the_pretrained_model_as_it_is(verdicts):
    choice = choose(found(*verdicts, lag=0.55))
    assert (choice.method, choice.scope, dict(choice.overrides)) == ("adapted", "volume", {"stop.steps": 0})


def test_the_reason_names_the_correlation():
    assert "isotropic, 0.55" in choose(found("isotropic", lag=0.55)).why


def test_uncertain_whiteness_is_not_relied_on():
    choice = choose(found("white", confidence=0.1))
    assert choice.overrides == {"stop.steps": 0}
    assert "0.10" in choice.why


def test_unknown_noise_is_said_to_be_unknown():
    assert "could not be told" in choose(found("unknown", confidence=0)).why


def test_without_weights_white_noise_is_learnt_from_alike_patches():
    choice = choose(found("white"), has_weights=False)
    assert (choice.method, choice.scope) == ("nl_ridge", "tile")


def promised(*, size=0.25, verdict="white", **gains):
    """What candidates promise for a plane of so many megapixels."""
    named = {name.replace("_stabilised", " stabilised"): gain for name, gain in gains.items()}
    return expected_of(named, found(verdict), size, space=2)


@pytest.mark.parametrize(("gain", "method"), [(14.0, "nl_ridge"), (10.0, "adapted"), (9.0, "adapted")])
def test_what_gains_clearly_more_on_samples_is_taken(gain, method):
    choice = choose(found("white"), expected=promised(pretrained=10.0, nl_ridge=gain))
    assert choice.method == method
    assert "tried on samples" in choice.why


def test_the_best_of_the_candidates_brings_its_knobs():
    expected = promised(pretrained=10.0, nl_ridge=11.0, nl_ridge_stabilised=13.0, nlm=9.0)
    choice = choose(found("white"), expected=expected)
    assert (choice.method, dict(choice.overrides)) == ("nl_ridge", {"stabilise": True})
    assert "stabilised" in choice.why


def test_another_model_of_ours_brings_its_weights():
    choice = choose(found("white"), expected=promised(pretrained=10.0, photographs=12.0))
    assert (choice.method, choice.weights) == ("adapted", CANDIDATES["photographs"].weights)


def test_users_who_bring_a_model_are_offered_none_of_ours():
    assert "photographs" in able(found("white"))
    assert not any(one.weights for one in able(found("white"), own_weights=True).values())


@pytest.mark.parametrize("prefer", PRICES)
@pytest.mark.parametrize("verdict", ["row", "column", "isotropic"])
def test_only_what_copes_with_the_noise_is_a_candidate(verdict, prefer):
    candidates = able(found(verdict))
    assert candidates
    assert all(copes(METHODS[one.method], found(verdict)) for one in candidates.values())
    expected = promised(verdict=verdict, **dict.fromkeys(candidates, 8.0))
    assert copes(METHODS[choose(found(verdict), expected=expected, prefer=prefer).method], found(verdict))


def test_time_has_its_price():
    expected = promised(size=100.0, pretrained=10.0, nl_ridge=10.4)
    chosen = {prefer: choose(found("white"), expected=expected, prefer=prefer) for prefer in PRICES}
    assert chosen["quality"].method == "nl_ridge"
    assert (chosen["balance"].method, dict(chosen["balance"].overrides)) == ("adapted", {})
    assert chosen["speed"].method == "adapted"
    assert all(f"{prefer} preferred" in choice.why for prefer, choice in chosen.items())


def test_for_speed_nothing_is_learnt_on_a_small_image():
    expected = promised(pretrained=10.0, nl_ridge=10.02)
    assert dict(choose(found("white"), expected=expected, prefer="speed").overrides) == {"stop.steps": 0}


def test_of_a_small_image_the_better_one_is_taken_whatever_it_costs():
    expected = promised(size=0.1, pretrained=10.0, nl_ridge=10.6)
    assert choose(found("white"), expected=expected).method == "nl_ridge"


def test_what_does_not_fit_into_the_hours_is_not_chosen():
    expected = promised(size=100.0, pretrained=8.0, nl_ridge=12.0)
    assert choose(found("white"), expected=expected).method == "nl_ridge"
    within = choose(found("white"), expected=expected, hours=0.25)
    assert (within.method, "15 min given" in within.why) == ("adapted", True)


def test_with_no_time_at_all_the_cheapest_is_chosen():
    expected = promised(size=100.0, pretrained=8.0, nl_ridge=12.0)
    choice = choose(found("white"), expected=expected, hours=1e-6, prefer="quality")
    assert (choice.method, dict(choice.overrides)) == ("adapted", {"stop.steps": 0})


def test_doubling_the_time_costs_what_the_preference_says():
    cheap, dear = (Expected(candidate="nlm", gain_db=10.0, hours=hours) for hours in (10.0, 20.0))
    for prefer, price in PRICES.items():
        assert cheap.worth(prefer) - dear.worth(prefer) == pytest.approx(price, abs=0.01)


def test_fine_tuning_is_offered_where_the_noise_is_white_only():
    assert [one.is_tuned for one in promised(pretrained=9.0)] == [False, True]
    assert [one.is_tuned for one in promised(pretrained=9.0, verdict="isotropic")] == [False]


def test_structure_that_looks_like_noise_is_tried_as_white_noise_of_its_floor():
    assert able(found("unknown", confidence=0.0)) == able(found("white"))
    assert not able(Preflight(channels=()))


@pytest.mark.parametrize(
    ("verdict", "share", "gain", "is_left"),
    [
        ("white", 0.004, 9.0, True), ("white", 0.006, 9.0, False), ("white", 0.1, 0.1, True),
        ("white", 0.1, -3.0, True), ("white", 0.1, 0.3, False), ("unknown", 0.02, 9.0, True),
        ("unknown", 0.03, 9.0, False), ("unknown", 0.03, 0.3, True),
    ],
)  # fmt: skip
def test_without_a_gain_to_be_had_the_source_is_kept(verdict, share, gain, is_left):
    choice = choose(found(verdict), expected=promised(verdict=verdict, pretrained=gain), noise_share=share)
    assert (choice.method == "copy") == is_left
    assert choice.why.startswith("nothing to restore") == is_left


def test_where_no_residual_is_noise_the_source_is_kept_and_the_reason_told():
    choice = choose(found("white"), refused={"nlm": "it is not normally distributed"}, noise_share=0.1)
    assert choice.method == "copy"
    assert "it is not normally distributed" in choice.why
    assert choose(found("white")).method == "adapted", "what was not tried is not refused"


@pytest.mark.parametrize("verdict", ["isotropic", "row", "unknown"])
def test_without_weights_other_noise_needs_an_image_prior(verdict):
    choice = choose(found(verdict), has_weights=False)
    assert (choice.method, choice.scope) == ("dip", "tile")
    assert choice.overrides == {"stop": "vote"}


@pytest.mark.parametrize(
    ("method", "verdict", "warned"),
    [("n2v", "isotropic", True), ("n2v", "white", False), ("struct_n2v", "row", False), ("dip", "unknown", False)],
)
def test_a_method_that_does_not_cope_with_the_noise_is_taken_with_a_warning(method, verdict, warned):
    why = asked_for(METHODS[method], found(verdict, lag=0.6))
    assert why.startswith("the user asked for it")
    assert ("noise may stay" in why) == warned
    assert ("0.60" in why) == warned


@pytest.mark.parametrize("verdict", ["white", "isotropic"])
@pytest.mark.parametrize("has_weights", [True, False])
def test_every_choice_is_in_the_catalogue_and_can_be_configured(verdict, has_weights):
    choice = choose(found(verdict), has_weights=has_weights)
    entry = configure(METHODS[choice.method], choice.overrides)
    assert "denoise" in entry.tasks
    assert choice.scope in entry.scopes
    assert has_weights or "weights" not in entry.needs
    assert choice.why


@pytest.mark.parametrize(("blur", "steps"), [(0.0, None), (0.7, 0)])
def test_from_pixels_to_method(blur, steps):
    image = noisy(scene("cells", (256, 256)), std=0.1, blur=blur)
    choice = choose(preflight([image[None]], np.float32))
    assert choice.overrides.get("stop.steps") == steps
