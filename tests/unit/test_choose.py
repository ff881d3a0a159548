"""The method follows from the verdict."""

import numpy as np
import pytest

from ilcore.degradations.estimate import ChannelReport, Preflight, preflight
from ilcore.grammar.errors import BadInput
from ilcore.grammar.problem import Noise
from ilcore.methods.catalogue import METHODS
from ilcore.methods.entry import configure
from ilcore.restoring.choose import asked_for, choose, is_worth_trying
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


@pytest.mark.parametrize(
    ("own", "method"), [(0.5, "nl_ridge"), (0.97, "adapted"), (1.4, "adapted"), (-0.1, "nl_ridge")]
)
@pytest.mark.parametrize("verdict", ["white", "isotropic"])
def test_a_clearly_lower_risk_on_samples_decides(verdict, own, method):
    choice = choose(found(verdict), risks={"adapted": 1.0, "nl_ridge": own})
    assert choice.method == method
    assert ("%" in choice.why) == (method == "nl_ridge")


def test_the_best_of_the_candidates_brings_its_knobs():
    risks = {"adapted": 1.0, "nl_ridge": 0.6, "nl_ridge stabilised": 0.5, "nlm": 0.9}
    choice = choose(found("white"), risks=risks)
    assert (choice.method, dict(choice.overrides)) == ("nl_ridge", {"stabilise": True})
    assert "stabilised" in choice.why


@pytest.mark.parametrize(("verdict", "confidence"), [("unknown", 0.9), ("white", 0.1)])
def test_nothing_is_tried_where_the_noise_is_not_known(verdict, confidence):
    assert not is_worth_trying(found(verdict, confidence=confidence))
    assert is_worth_trying(found("isotropic", confidence=0.9))


@pytest.mark.parametrize("verdict", ["isotropic", "row", "unknown"])
def test_without_weights_other_noise_needs_an_image_prior(verdict):
    choice = choose(found(verdict), has_weights=False)
    assert (choice.method, choice.scope) == ("dip", "tile")
    assert choice.overrides == {"stop": "vote"}


@pytest.mark.parametrize("has_weights", [True, False])
def test_holes_are_filled_by_an_image_prior(has_weights):
    choice = choose(found("white"), task="inpaint", has_weights=has_weights)
    assert (choice.method, choice.scope) == ("dip", "tile")


@pytest.mark.parametrize(
    ("method", "verdict", "warned"),
    [("n2v", "isotropic", True), ("n2v", "white", False), ("struct_n2v", "row", False), ("dip", "unknown", False)],
)
def test_a_method_that_does_not_cope_with_the_noise_is_taken_with_a_warning(method, verdict, warned):
    why = asked_for(METHODS[method], found(verdict, lag=0.6))
    assert why.startswith("the user asked for it")
    assert ("noise may stay" in why) == warned
    assert ("0.60" in why) == warned


def test_other_tasks_are_refused():
    with pytest.raises(BadInput, match="'sharpen'"):
        choose(found("white"), task="sharpen")


@pytest.mark.parametrize("verdict", ["white", "isotropic"])
@pytest.mark.parametrize("task", ["denoise", "inpaint"])
@pytest.mark.parametrize("has_weights", [True, False])
def test_every_choice_is_in_the_catalogue_and_can_be_configured(verdict, task, has_weights):
    choice = choose(found(verdict), task=task, has_weights=has_weights)
    entry = configure(METHODS[choice.method], choice.overrides)
    assert task in entry.tasks
    assert choice.scope in entry.scopes
    assert has_weights or "weights" not in entry.needs
    assert choice.why


@pytest.mark.parametrize(("blur", "steps"), [(0.0, None), (0.7, 0)])
def test_from_pixels_to_method(blur, steps):
    image = noisy(scene("cells", (256, 256)), std=0.1, blur=blur)
    choice = choose(preflight([image[None]], np.float32))
    assert choice.overrides.get("stop.steps") == steps
