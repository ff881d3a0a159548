"""Stopping rules by name, so that any recipe can be ended by any of them."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from ilcore.grammar.errors import RecipeError
from ilcore.grammar.recipe import Method, Recipe, Within
from ilcore.grammar.slots import Stop
from ilcore.readouts.last import Best, Last
from ilcore.stops.budget import After

#: Name -> rule with a budget of so many steps.
RULES: Mapping[str, Callable[[int], Stop]] = {
    "budget": After,
}


def with_stop(method: Method, name: str) -> Method:
    """Return the same method ended by another rule, its budget kept; what comes out is the iterate the rule liked best.

    Raises:
        RecipeError: When there is no such rule, or the method makes no steps.
    """
    if name not in RULES:
        raise RecipeError(f"stop must be one of {', '.join(RULES)}, got {name!r}")
    match method:
        case Within(change, inner):
            return Within(change, with_stop(inner, name))
        case Recipe(readout=readout) if method.budget:
            best = Best() if isinstance(readout, Last) and method.views.sees_observation else readout
            return replace(method, stop=RULES[name](method.budget), readout=best)
        case _:
            raise RecipeError(f"a stopping rule needs a method that makes steps, got {method}")
