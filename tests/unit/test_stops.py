"""Stopping rules on outputs whose history is known: first the image is learnt, then the noise."""

import math
from dataclasses import replace

import pytest
import torch

from ilcore import fit
from ilcore.grammar.arrays import Streams
from ilcore.grammar.draws import unit_noise
from ilcore.grammar.errors import RecipeError
from ilcore.grammar.problem import Noise, Problem
from ilcore.grammar.step_context import Pair, StepContext
from ilcore.grammar.stop_reason import StopReason
from ilcore.methods.catalogue import METHODS
from ilcore.methods.entry import configure, knobs
from ilcore.methods.stopping import RULES
from ilcore.stops import self_validation, windowed_variance
from ilcore.stops.discrepancy import Discrepancy
from ilcore.stops.held_out_pixels import HeldOutPixels
from ilcore.stops.self_referenced import SelfReferenced
from ilcore.stops.self_validation import SelfValidation
from ilcore.stops.vote import Vote
from ilcore.stops.watching import read_together
from ilcore.stops.windowed_variance import RunningVariance, WindowedVariance
from ilcore.stops.zero_crossing import ZeroCrossing

STD, SIDE, STEPS = 0.1, 48, 500


def streams(count=1):
    return Streams.of(0, "stops", [(n,) for n in range(count)])


def scene_and_noise():
    generator = torch.Generator().manual_seed(0)
    clean = 0.5 + 0.3 * torch.sin(torch.arange(SIDE) / 4.0).expand(1, 1, SIDE, SIDE)
    return clean, STD * torch.randn(clean.shape, generator=generator)


def history(step, clean, noise, generator):
    """Return what a network would show: the image comes fast, its noise late and slowly, and every step wobbles."""
    image = clean * (1 - math.exp(-step / 30)) + 0.5 * math.exp(-step / 30)
    fitted = 1 - math.exp(-(max(step - 150, 0) / 200))
    wobble = 0.004 + 0.02 * math.exp(-step / 40) + 0.01 * fitted
    return image + fitted * noise + wobble * torch.randn(clean.shape, generator=generator)


def kept_and_ended(stop, *, held_out_of_noise=False, loss=lambda step: 1.0):
    """Return the step a rule likes best at last, and the one at which it ends."""
    clean, noise = scene_and_noise()
    problem = Problem(observed=clean + noise, noise=(Noise(read_std=STD),))
    live, best, means = stop.start(problem, streams()), 0, [torch.zeros_like(clean)]
    trusted = live.training_problem().trusted
    learnable = noise if trusted is None else noise * trusted
    generator = torch.Generator().manual_seed(1)
    for step in range(STEPS + 1):
        output = history(step, clean, learnable, generator)
        context = StepContext(
            step,
            [0],
            problem,
            Pair(output, output),
            output,
            None,
            lambda _, one=output: one,
            torch.tensor([loss(step)]),
        )
        judged = live.judge(context)
        best = step if judged.best[0] else best
        means.append(output if step == 0 else means[-1].lerp(output, 0.01))
        if judged.reasons[0]:
            if judged.images:
                distances = [float((mean[0] - judged.images[0]).square().mean()) for mean in means[1:]]
                best = distances.index(min(distances))
            return best, step, str(judged.reasons[0])
    raise AssertionError("a rule must end at its budget")


@pytest.mark.parametrize(
    ("stop", "least", "most"),
    [
        (WindowedVariance(steps=STEPS, window=20, patience=100, warm_up=50), 100, 230),
        (RunningVariance(steps=STEPS, patience=100, warm_up=50), 60, 230),
        (HeldOutPixels(steps=STEPS, patience=100, memory=0.9), 80, 260),
        (SelfValidation(steps=STEPS, memory=24, code=4, every=2, patience=100), 60, 260),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_rule_keeps_an_iterate_between_image_and_noise(stop, least, most):
    best, ended, reason = kept_and_ended(stop)
    assert least <= best <= most
    assert ended < STEPS
    assert "budget" not in reason


def test_discrepancy_ends_where_the_residual_is_the_noise():
    best, ended, reason = kept_and_ended(Discrepancy(steps=STEPS, memory=0.5))
    # By then the image is learnt (150 steps) and little of the noise.
    assert ended == best + 1 < 260
    assert "noise level" in reason


def test_zero_crossing_ends_when_the_running_risk_is_negative():
    best, ended, reason = kept_and_ended(ZeroCrossing(steps=STEPS), loss=lambda step: 1.0 if step < 100 else -1.0)
    assert best < ended < 110
    assert "below zero" in reason


#: Rules that need another method than deep image prior.
OF = {"zero_crossing": "dip_sure", "held_out_risk": "sure"}


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("steps", [0, 1, 3])
def test_every_rule_ends_at_its_budget(name, steps):
    method = METHODS[OF.get(name, "dip")]
    small = {"network.width": 4} | ({"network.scales": 2} if "network.scales" in knobs(method) else {})
    chosen = configure(method, {"stop": name, "steps": steps, **small})
    assert chosen.method.budget == chosen.method.stop.budget == steps
    observed = torch.rand((1, 1, 24, 24), generator=torch.Generator().manual_seed(0))
    done = fit.restore(chosen.method, Problem(observed=observed, noise=(Noise(read_std=STD),)), streams())
    assert done.steps == (steps,)
    assert done.stopped == (StopReason.budget(steps),)
    assert [step for step, _ in done.curves[0]] == list(range(steps + 1))


def test_withheld_pixels_are_not_asked_for_and_are_a_small_share():
    problem = Problem(observed=torch.rand(1, 2, SIDE, SIDE))
    live = HeldOutPixels(steps=3, share=0.05).start(problem, streams())
    withheld = ~live.training_problem().trusted
    assert 0.03 < withheld.float().mean() < 0.07
    # A pixel is withheld in all channels: noise that channels share must not leak.
    assert torch.equal(withheld[:, 0], withheld[:, 1])


def of_three(*rules):
    return Vote(white=rules, correlated=rules, unknown=rules, steps=STEPS)


def falling(at):
    return lambda step: 1.0 if step < at else -1.0


def test_a_vote_keeps_the_median_of_three_choices():
    late, early = Discrepancy(steps=STEPS, factor=0.3, memory=0.5), ZeroCrossing(steps=STEPS, memory=0.0)
    held = HeldOutPixels(steps=STEPS, patience=60, memory=0.9)
    alone, _, _ = kept_and_ended(held)
    between, _, _ = kept_and_ended(of_three(held, late, early), loss=falling(60))
    assert between == alone
    outvoted, ended, reason = kept_and_ended(of_three(held, early, early), loss=falling(60))
    assert outvoted < 65
    assert ended < STEPS
    assert reason.startswith("vote: ")


def test_a_vote_chooses_nothing_before_the_residual_has_come_down_to_the_noise():
    early, level = ZeroCrossing(steps=STEPS, memory=0.0), Discrepancy(steps=STEPS, memory=0.5)
    hasty = of_three(early, early, early)
    fired, _, _ = kept_and_ended(replace(hasty, white=(level, level, level)), loss=falling(40))
    free, _, _ = kept_and_ended(hasty, loss=falling(40))
    held_back, ended, _ = kept_and_ended(replace(hasty, no_sooner=level), loss=falling(40))
    assert free < 45 < fired <= held_back + 1
    assert held_back <= fired + 1
    assert ended < STEPS
    # Where the level of the noise is not reached at all, the last average within the budget is taken.
    never = replace(hasty, no_sooner=Discrepancy(steps=STEPS, factor=1e-6))
    best, ended, reason = kept_and_ended(never, loss=falling(40))
    assert best == ended == STEPS
    assert "budget" in reason


def test_who_may_vote_depends_on_what_is_known_of_the_noise():
    vote = configure(METHODS["dip"], {"stop": "vote", "steps": 3}).method.stop
    image = torch.rand(1, 1, 16, 16)
    white = Problem(observed=image, noise=(Noise(read_std=STD),))
    correlated = Problem(observed=image, noise=(Noise(read_std=STD, correlation="row", lags=(0.0, 0.5)),))
    kinds = {type(rule).__name__ for rule in vote.voters(correlated)}
    assert "HeldOutPixels" not in kinds
    assert "SelfReferenced" in kinds
    assert not any(rule.needs_noise for rule in vote.voters(Problem(observed=image)))
    assert len(vote.voters(white)) == 3


def test_the_copy_to_learn_from_and_its_counterpart_are_uncorrelated():
    noise = Noise(read_std=STD, correlation="isotropic", lags=(0.5, 0.5))
    clean = torch.full((1, 1, 256, 256), 0.5)
    posed = Problem(observed=clean, noise=(noise,))
    problem = Problem(observed=clean + STD * unit_noise(posed, Streams.of(4, "n", [(0,)])), noise=(noise,))
    live = SelfReferenced(steps=1).start(problem, streams())
    learnt, counterpart = live.training_problem().observed - clean, live.problem.observed - clean
    assert abs(float((learnt * counterpart).mean())) < 0.15 * STD**2
    assert float(learnt.var()) == pytest.approx(STD**2 * (1 + 0.35**2), rel=0.1)
    told = live.training_problem().noise
    assert told is not None
    assert told[0].variance(0.5) == pytest.approx(STD**2 * (1 + 0.35**2))
    assert told[0].lags == noise.lags


@pytest.mark.parametrize("name", ["n2v", "r2r", "gr2r", "noise2score", "unsure"])
def test_zero_crossing_is_refused_where_nothing_can_cross_zero(name):
    observed = torch.rand(1, 1, 32, 32)
    problem = Problem(observed=observed, noise=(Noise(gain=0.01, read_std=STD),))
    chosen = configure(METHODS[name], {"stop": "zero_crossing"})
    with pytest.raises(RecipeError, match="needs a loss that estimates the risk"):
        fit.restore(chosen.method, problem, streams())


@pytest.mark.medium
@pytest.mark.parametrize("name", sorted(set(RULES) - {"zero_crossing", "held_out_risk"}))
def test_any_rule_can_end_deep_image_prior(name):
    entry = configure(METHODS["dip"], {"stop": name, "steps": 4, "network.width": 4, "network.scales": 2})
    clean, noise = scene_and_noise()
    problem = Problem(observed=clean + noise, noise=(Noise(read_std=STD),))
    done = fit.restore(entry.method, problem, streams())
    assert done.steps == (4,)
    assert torch.isfinite(done.image).all()
    learnt = fit.learn(entry.method, problem, streams())
    assert learnt.steps == (4,)


@pytest.mark.parametrize("name", ["es_wmv", "es_emv", "self_validation", "vote"])
def test_rules_that_compare_outputs_see_them_without_jitter(name, monkeypatch):
    seen = []
    for watcher in (
        windowed_variance._WindowedVariance,
        windowed_variance._RunningVariance,
        self_validation._SelfValidation,
    ):
        look = watcher.look
        monkeypatch.setattr(
            watcher,
            "look",
            lambda self, step, image, loss, look=look: seen.append(image) or look(self, step, image, loss),
        )
    knobs = {"stop": name, "steps": 3, "network.width": 4, "network.scales": 2, "views.jitter": 0.5}
    entry = configure(METHODS["dip"], knobs | {"descent.inner.learning_rate": 1e-9})
    clean, noise = scene_and_noise()
    fit.restore(entry.method, Problem(observed=clean + noise, noise=(Noise(read_std=STD),)), streams())
    assert len(seen) == 4
    # Weights hardly move, so that only jitter could make a difference.
    assert all(torch.allclose(image, seen[0], atol=1e-5) for image in seen)


def test_the_window_of_es_wmv_waits_for_the_false_dip_to_pass():
    assert RULES["es_wmv"](3000, METHODS["dip"].method.views).warm_up >= 500
    rule, generator = WindowedVariance(steps=2000, window=10, patience=100), torch.Generator().manual_seed(0)
    watcher, best = rule.watcher(None, streams()), []
    for step in range(800):
        # A flat start looks calm; the image comes after it.
        wobble = 1e-5 if step < 50 else 1e-2 * (1 + 0.5 * math.cos(step / 100))
        (sight,) = read_together([watcher.look(step, wobble * torch.randn(1, 8, 8, generator=generator), 0.0)])
        best += [step] if sight.is_best else []
        assert sight.reason is None or step > 500
    assert best[-1] >= 500


def test_plans_of_rules_that_chose_otherwise_before_are_of_another_version():
    plain, voted = METHODS["dip"], configure(METHODS["dip"], {"stop": "vote"})
    assert voted.version == plain.version + 1
    assert configure(plain, {"stop": "discrepancy"}).version == configure(plain, {"steps": 3}).version == plain.version


def test_a_rule_that_cannot_serve_says_why():
    problem = Problem(observed=torch.rand(1, 1, 16, 16), noise=(Noise(read_std=STD),))
    halves = configure(METHODS["zs_n2n"], {"stop": "es_wmv"})
    with pytest.raises(RecipeError, match="images of whole tiles"):
        fit.restore(halves.method, problem, streams())
    with pytest.raises(RecipeError, match="stop must be one of"):
        configure(METHODS["dip"], {"stop": "oracle"})
    with pytest.raises(RecipeError, match="makes steps"):
        configure(METHODS["nl_ridge"], {"stop": "vote"})
