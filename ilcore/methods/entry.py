"""What the catalogue says of a method, and how its knobs are turned."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, final

from ilcore.degradations.stabilise import VarianceStabilised
from ilcore.fit import predict
from ilcore.grammar.arrays import Streams, Tiles, Weights
from ilcore.grammar.errors import RecipeError
from ilcore.grammar.problem import Problem
from ilcore.grammar.recipe import Method, Recipe, Sequential, Transformed
from ilcore.grammar.slots import Network
from ilcore.methods.stopping import RULE_VERSIONS, chooses_anew, with_stop

#: What a knob may be set to.
Scalar = bool | int | float | str


@final
@dataclass(frozen=True, kw_only=True)
class Entry:
    """A method with everything a planner must know about it.

    Args:
        name: The literature's name, lower case.
        method: The recipe.
        summary: One line for people who choose.
        question: What the network is asked while it learns, as one question.
        when: When to use it, and when not, in a sentence or two.
        reference: Authors, title, venue.
        cost: Order of magnitude a megapixel on one data-centre GPU: 0 under a second once trained, 1 up to a minute,
            2 minutes, 3 tens of minutes and more.
        copes_with: Correlations of the noise, as preflight names them, under which it works.
        tasks: What it can do: denoise, inpaint, superres.
        needs: What it refuses to work without: weights, noise, stack (neighbouring planes or frames).
        scopes: tile (learn on each tile), volume (one model per acquisition).
        tile_steps: Steps per tile that must follow a model learnt on the volume; 0 where applying it is enough.
        kilobytes: Memory that a voxel of a tile takes, in kB, while weights move on it and while they are applied, or
            the method carried out; `python -m tests.bench.memory` measures it.
        beside: What a tile costs beside its voxels, in voxels: as many more would take that long on a CPU;
            `python -m tests.bench.null --cost` measures it.
        version: One more whenever the same plan gives other voxels, so that a run that was begun before is not
            finished with them.
    """

    name: str
    method: Method
    summary: str
    question: str
    when: str
    reference: str
    cost: int
    copes_with: frozenset[str] = frozenset({"white"})
    tasks: frozenset[str] = frozenset({"denoise"})
    needs: frozenset[str] = frozenset()
    scopes: frozenset[str] = frozenset({"tile", "volume"})
    tile_steps: int = 0
    kilobytes: tuple[int, int] = (0, 1)
    beside: int = 1500
    version: int = 1

    @property
    def can_apply(self) -> bool:
        """Tell whether weights learnt on other tiles restore a tile unseen."""
        return self.method.can_apply

    @property
    def usual_scope(self) -> str:
        """Return volume where one model can simply be applied to every tile, else tile."""
        return "tile" if self.tile_steps or "volume" not in self.scopes else "volume"

    def halo(self, space: int) -> tuple[int, ...]:
        """Return the context one voxel needs on each spatial axis."""
        return self.method.halo(space)

    def align(self, space: int) -> tuple[int, ...]:
        """Return the step by which tile origins may move."""
        return self.method.align(space)

    def with_network(self, network: Network) -> "Entry":
        """Return the same method on another network, for weights of the user's own."""
        return replace(self, method=_on_network(self.method, network))

    def with_steps(self, steps: int) -> "Entry":
        """Return the same method with another budget."""
        return configure(self, {"stop.steps": steps})


def configure(entry: Entry, overrides: Mapping[str, Scalar]) -> Entry:
    """Turn knobs of a method.

    Args:
        entry: From the catalogue.
        overrides: Dotted path into the recipe -> value, such as {"stop.steps": 100, "network.width": 16}; "steps" is
            short for "stop.steps", and for the steps of a method that has them without a stop. Where several methods
            follow one another, a path that begins with a number, "first" or "last" turns the knob of that one, such as
            "2.stop.steps"; without it turns all that have it. Two words work on every method: "stop" takes the name of
            a rule (`ilcore.methods.stopping.RULES`), or "2.stop" for one of several, and "stabilise" true carries the
            method out on stabilised noise.

    Raises:
        RecipeError: Naming the knobs there are, when one is unknown or of another type.
    """
    method, version = entry.method, entry.version
    rules = {path: value for path, value in overrides.items() if path.rpartition(".")[2] == "stop"}
    for path, value in rules.items():
        rule = str(_cast("", value, path))
        method, version = _ended(method, path, rule), version + RULE_VERSIONS.get(rule, 1) - 1
    for path, value in overrides.items():
        if path not in rules and path != "stabilise":
            method = _turned(method, full_name(path), value)
    if _cast(False, overrides.get("stabilise", False), "stabilise"):
        method = Transformed(VarianceStabilised(), method)
    return replace(entry, method=method, version=version + chooses_anew(method))


def full_name(knob: str) -> str:
    """Return the path of a knob in the recipe; "steps" is short for "stop.steps"."""
    return "stop.steps" if knob == "steps" else knob


def knobs(entry: Entry) -> dict[str, Scalar]:
    """Return every knob of a method and its present value."""
    return dict(_walk(entry.method, ""))


def _ended(method: Method, path: str, rule: str) -> Method:
    """Return a method ended by another rule, or one of several that follow one another."""
    place, _, _ = path.rpartition(".")
    match method:
        case _ if not place:
            return with_stop(method, rule)
        case Transformed(_, inner):
            return replace(method, method=_ended(inner, path, rule))
        case Sequential(methods) if (number := _place(place, len(methods))) is not None:
            return Sequential(tuple(with_stop(one, rule) if at == number else one for at, one in enumerate(methods, 1)))
        case _:
            raise RecipeError(f"{path} must name one of several methods that follow one another, got {method}")


def _place(word: str, count: int) -> int | None:
    """Return the number from 1 of one of several methods by its word; None where there is none of that name."""
    number = {"first": 1, "last": count}.get(word) or (int(word) if word.isdecimal() else 0)
    return number if 1 <= number <= count else None


def _turned(method: Method, path: str, value: Scalar) -> Method:
    match method:
        case Transformed(_, inner):
            # What a wrapper holds is reached as if the wrapper were not there.
            return replace(method, method=_turned(inner, path, value))
        case Sequential(methods):
            places, rest = _places(methods, path)
            if not places:
                known = ", ".join(_numbered(methods))
                raise RecipeError(f"{path} must name a knob of a method; there are: {known}")
            turned = (_turned(one, rest, value) if at in places else one for at, one in enumerate(methods, 1))
            return Sequential(tuple(turned))
    path = _own_path(method, path)
    own: Method = _set(method, path.split("."), value, path)
    return own


def _places(methods: Sequence[Method], path: str) -> tuple[list[int], str]:
    """Return which of several methods a path turns a knob of, and its path there."""
    word, _, rest = path.partition(".")
    number = _place(word, len(methods)) if rest else None
    if number is None:
        return [place for place, one in enumerate(methods, 1) if _has(one, path)], path
    inside = full_name(rest)
    return [number] if _has(methods[number - 1], inside) else [], inside


def _has(method: Method, path: str) -> bool:
    match method:
        case Transformed(_, inner):
            return _has(inner, path)
        case Sequential(methods):
            return bool(_places(methods, path)[0])
        case _:
            return _own_path(method, path) in dict(_walk(method, ""))


def _own_path(method: Method, path: str) -> str:
    """Return the path of a knob in one method: one that makes steps without a stop has them itself."""
    own = dict(_walk(method, ""))
    return "steps" if path == "stop.steps" and path not in own and "steps" in own else path


def _on_network(method: Method, network: Network) -> Method:
    match method:
        case Recipe():
            return replace(method, network=network)
        case Transformed(transform, inner):
            return Transformed(transform, _on_network(inner, network))
        case Sequential(methods):
            # Each starts from the weights of the one before.
            return Sequential(tuple(_on_network(one, network) for one in methods))
        case _:
            raise RecipeError(f"a network can be replaced in methods that have one, got {method}")


def apply(entry: Entry, problem: Problem, weights: Weights, streams: Streams) -> Tiles:
    """Return the images of tiles from weights learnt elsewhere, without learning.

    Raises:
        RecipeError: When the method never shows the observation to its network.
    """
    if not entry.can_apply:
        raise RecipeError(f"{entry.name} needs steps on every tile, got none; set tile_steps or scope: tile")
    return predict(entry.method, problem, weights, streams)


def _numbered(methods: Sequence[Method]) -> dict[str, Scalar]:
    """Return the knobs of methods that follow one another, each under the number of its method."""
    return dict(pair for place, one in enumerate(methods, 1) for pair in _walk(one, f"{place}."))


def _walk(part: Any, prefix: str) -> list[tuple[str, Scalar]]:
    if isinstance(part, Sequential):
        return [(prefix + path, value) for path, value in _numbered(part.methods).items()]
    if isinstance(part, Transformed):
        return _walk(part.method, prefix)
    found: list[tuple[str, Scalar]] = []
    for field in fields(part):
        value = getattr(part, field.name)
        if is_dataclass(value):
            found += _walk(value, f"{prefix}{field.name}.")
        elif isinstance(value, bool | int | float | str):
            found.append((prefix + field.name, value))
    return found


def _set(part: Any, path: list[str], value: Scalar, whole: str) -> Any:
    names = {field.name for field in fields(part)}
    if path[0] not in names:
        known = ", ".join(name for name, _ in _walk(part, ""))
        raise RecipeError(f"{whole} must name a knob of the method, got {path[0]!r}; there are: {known}")
    now = getattr(part, path[0])
    if len(path) > 1 and is_dataclass(now):
        return replace(part, **{path[0]: _set(now, path[1:], value, whole)})
    if len(path) > 1 or not isinstance(now, bool | int | float | str):
        raise RecipeError(f"{whole} must name a number or word of the method; see `il methods NAME`")
    return replace(part, **{path[0]: _cast(now, value, whole)})


def _cast(now: Scalar, value: Scalar, whole: str) -> Scalar:
    if isinstance(now, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not type(now):
        raise RecipeError(f"{whole} must be {type(now).__name__} like {now!r}, got {value!r}")
    return value
