"""Stopping rules by name, so that any recipe can be ended by any of them."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from ilcore.grammar.capability import Capability
from ilcore.grammar.errors import RecipeError
from ilcore.grammar.recipe import Method, Recipe, Sequential, Transformed
from ilcore.grammar.slots import Stop, Views
from ilcore.readouts.last import Best, Last
from ilcore.stops.budget import After
from ilcore.stops.discrepancy import Discrepancy
from ilcore.stops.held_out import HeldOut
from ilcore.stops.held_out_pixels import HeldOutPixels
from ilcore.stops.self_referenced import SelfReferenced
from ilcore.stops.self_validation import SelfValidation
from ilcore.stops.vote import Vote
from ilcore.stops.windowed_variance import RunningVariance, WindowedVariance
from ilcore.stops.zero_crossing import ZeroCrossing


def _held_out_pixels(steps: int, views: Views) -> Stop:
    if Capability.SHOWS_OBSERVATION in views.offers:
        return HeldOutPixels(steps=steps, hides_input=True, every=20, memory=0.0)
    return HeldOutPixels(steps=steps)


def vote(steps: int) -> Vote:
    """Return the vote for methods that fit a network to a code; two withheld shares are drawn independently."""
    withheld, level = HeldOutPixels(steps=steps), Discrepancy(steps=steps)
    quiet = WindowedVariance(steps=steps, warm_up=300)
    return Vote(
        white=(withheld, withheld, quiet),
        correlated=(SelfReferenced(steps=steps), level, quiet),
        unknown=(withheld, withheld, quiet),
        steps=steps,
        no_sooner=level,
    )


#: Name -> rule with a budget of so many steps, for views of a kind.
RULES: Mapping[str, Callable[[int, Views], Stop]] = {
    "budget": lambda steps, views: After(steps),
    "discrepancy": lambda steps, views: Discrepancy(steps=steps),
    "es_wmv": lambda steps, views: WindowedVariance(steps=steps),
    "es_emv": lambda steps, views: RunningVariance(steps=steps),
    "held_out_pixels": _held_out_pixels,
    "held_out_risk": lambda steps, views: HeldOut(steps=steps),
    "zero_crossing": lambda steps, views: ZeroCrossing(steps=steps),
    "self_referenced": lambda steps, views: SelfReferenced(steps=steps),
    "self_validation": lambda steps, views: SelfValidation(steps=steps),
    "vote": lambda steps, views: vote(steps),
}


#: Rules that chose another iterate before: the same plan gives other voxels. One where nothing is said.
RULE_VERSIONS: Mapping[str, int] = {"es_wmv": 2, "es_emv": 2, "self_validation": 2, "vote": 2}


def chooses_anew(method: Method) -> bool:
    """Tell whether a rule decides that chose another iterate before, in any method that asks it.

    Until its version 2, `HeldOut` took the errors of neighbouring pixels for independent. Without steps it is not
    asked.
    """
    match method:
        case Transformed(_, inner):
            return chooses_anew(inner)
        case Sequential(methods):
            return any(chooses_anew(one) for one in methods)
        case Recipe(stop=HeldOut()):
            return method.budget > 0
        case _:
            return False


def with_stop(method: Method, name: str) -> Method:
    """Return the same method ended by another rule, its budget kept; what comes out is the iterate the rule liked best.

    Raises:
        RecipeError: When there is no such rule, or the method makes no steps.
    """
    if name not in RULES:
        raise RecipeError(f"stop must be one of {', '.join(RULES)}, got {name!r}")
    match method:
        case Transformed(transform, inner):
            return Transformed(transform, with_stop(inner, name))
        case Sequential(methods) if method.budget:
            return Sequential(tuple(with_stop(one, name) if one.budget else one for one in methods))
        case Recipe(readout=readout) if method.budget:
            best = Best() if isinstance(readout, Last) and method.can_apply else readout
            return replace(method, stop=RULES[name](method.budget, method.views), readout=best)
        case _:
            raise RecipeError(f"a stopping rule needs a method that makes steps, got {method}")
