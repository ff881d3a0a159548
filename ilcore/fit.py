"""The one loop: draw a pair, predict, judge, take note, descend.

Rows are tiles. A row that has ended leaves the batch; the others neither wait for it nor notice.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Literal

import torch

from ilcore.fit_state import FitState, look_on
from ilcore.grammar.arrays import Streams, Tiles, Weights
from ilcore.grammar.device_streams import drawn_on
from ilcore.grammar.errors import BadWeights, RecipeError
from ilcore.grammar.problem import Problem
from ilcore.grammar.recipe import DirectMethod, Method, Recipe, Sequential, Transform, Transformed
from ilcore.grammar.slots import LiveNetwork, LiveViews
from ilcore.grammar.step_context import Pair, Restoration, StepContext

Strategy = Literal["sequential", "grouped", "vmap"]


def restore(
    method: Method,
    problem: Problem,
    streams: Streams,
    *,
    start: Weights | None = None,
    strategy: Strategy = "sequential",
) -> Restoration:
    """Restore every tile of a problem with weights of its own.

    Args:
        method: What to do.
        problem: The tiles.
        streams: One random stream per tile.
        start: Weights to begin from, [1, ...] for all tiles or [tile, ...].
        strategy: How a batch is computed; the image is the same up to rounding.
    """
    match method:
        case DirectMethod():
            method.check(problem)
            return method.restore(problem, streams, start=start)
        case Transformed(transform, inner):
            method.check(problem)
            done = restore(inner, transform.forward(problem), streams, start=start, strategy=strategy)
            return _changed_back(transform, done, problem)
        case Sequential(methods):
            # Before the first of them is at work for hours.
            method.check(problem)
            return _in_turn(methods, problem, streams, start, strategy)
        case Recipe() if strategy == "sequential" and len(streams) > 1:
            alone = [_alone(method, problem, streams, start, row) for row in range(len(streams))]
            return _merged(alone)
        case Recipe():
            return fit(
                method, problem, streams, start=start, strategy="grouped" if strategy == "sequential" else strategy
            )
        case _:
            raise TypeError(
                f"a method must be a Recipe, Sequential, Transformed or DirectMethod, got {type(method).__name__}"
            )


def learn(
    method: Method, problem: Problem, streams: Streams, *, start: Weights | None = None, batch: int = 8
) -> Restoration:
    """Fit one set of weights to all tiles of a problem: one model per acquisition.

    Args:
        method: What to do; a step trains on `batch` of the tiles, taken in turn from a shuffled order.
        problem: Sampled tiles.
        streams: One random stream per tile.
        start: Weights to begin from, [1, ...].
        batch: Tiles a step.

    Raises:
        RecipeError: When the method has no weights to share.
    """
    match method:
        case Recipe():
            return fit(method, problem, streams, start=start, shared=True, batch=batch)
        case Transformed(transform, inner):
            method.check(problem)
            return _changed_back(
                transform, learn(inner, transform.forward(problem), streams, start=start, batch=batch), problem
            )
        case Sequential(methods):
            done = learn(methods[0], problem, streams, start=start, batch=batch)
            for later in methods[1:]:
                done = learn(later, problem, streams, start=done.weights, batch=batch)
            return done
        case _:
            raise RecipeError(f"one model per volume needs a method with weights, got {method}; restore tile by tile")


def predict(method: Method, problem: Problem, weights: Weights, streams: Streams) -> Tiles:
    """Return the images of tiles from weights learnt elsewhere, without learning.

    Raises:
        RecipeError: When the method has no weights, or ignores the operator of the problem.
    """
    method.check_operator(problem)
    match method:
        case Transformed(transform, inner):
            return transform.backward(predict(inner, transform.forward(problem), weights, streams), problem)
        case Sequential(methods):
            return predict(methods[-1], problem, weights, streams)
        case Recipe():
            return _applied(method, problem, weights, streams)
        case _:
            raise RecipeError(f"weights can be applied by methods that have some, got {method}; restore tile by tile")


def _applied(recipe: Recipe, problem: Problem, weights: Weights, streams: Streams) -> Tiles:
    model = _built(recipe, problem, streams, weights, shared=all(len(value) == 1 for value in weights.values()))
    views = recipe.views.start(problem, drawn_on(streams, problem.observed.device))
    return problem.inside(_look(model, views, problem, range(len(streams))))


def fit(
    recipe: Recipe,
    problem: Problem,
    streams: Streams,
    *,
    start: Weights | None = None,
    strategy: Literal["grouped", "vmap"] = "grouped",
    shared: bool = False,
    batch: int | None = None,
    look: int | None = None,
) -> Restoration:
    """Carry out a recipe on one batch of tiles.

    Args:
        recipe: What to do.
        problem: The tiles.
        streams: One random stream per tile.
        start: Weights to begin from.
        strategy: How a batch is computed.
        shared: One set of weights for all tiles.
        batch: Where it is, tiles a step.
        look: Steps between two looks of the host at the losses, for which a GPU has to wait; the result is the same.

    Raises:
        RecipeError: With every complaint of every part, before the first step.
        BadWeights: When `start` does not fit the network.
    """
    recipe.check(problem)
    model = _built(recipe, problem, streams, start, shared)
    model.compute(strategy)
    device = problem.observed.device
    draws = drawn_on(streams, device)
    stop = recipe.stop.start(problem, draws, shared=shared)
    training = stop.training_problem()
    views = recipe.views.start(training, draws)
    loss_of = recipe.loss.start(training, draws)
    descent = recipe.descent.start(model, draws)
    readout = recipe.readout.start(problem)
    state = FitState(problem, model, wants_best=recipe.readout.wants_best, shared=shared, look=look or look_on(device))
    turns = _Turns(streams, batch if shared else None)

    while state.rows:
        rows = turns.rows(state.rows, state.step)
        pair = views.draw(state.step, rows)
        output = model(pair.input, _repeated(rows, pair))
        context = StepContext(state.step, rows, training, pair, output, model, partial(_look, model, views, training))
        context = replace(context, image_of=partial(_look, model, views))
        losses = loss_of(context)
        seen = replace(context, output=output.detach(), losses=losses.detach())
        judged = state.noted(losses.detach(), stop.judge(replace(seen, rows=state.rows)))
        readout.observe(seen, {row for row, best in zip(state.rows, judged.best, strict=True) if best})
        state.close(judged, readout, partial(_look, model, views, problem))
        going = state.going(rows)
        if going:
            moved = losses if len(going) == len(rows) else losses[going]
            descent.step(moved.mean()[None] if shared else moved, [rows[n] for n in going])
        state.step += 1
    return state.restoration()


def _repeated(rows: Sequence[int], pair: Pair) -> list[int]:
    return list(rows) * (len(pair.input) // len(rows))


class _Turns:
    """Whose turn it is: everybody's, or a few tiles at a time from an order shuffled anew each round."""

    def __init__(self, streams: Streams, batch: int | None) -> None:
        self.generator, self.count = streams.generators[0], len(streams)
        self.batch = None if batch is None else min(batch, self.count)
        self.waiting: list[int] = []

    def rows(self, alive: list[int], step: int) -> list[int]:
        if self.batch is None:
            return list(alive)
        while len(self.waiting) < self.batch:
            self.waiting += torch.randperm(self.count, generator=self.generator).tolist()
        chosen, self.waiting = self.waiting[: self.batch], self.waiting[self.batch :]
        return chosen


def _built(recipe: Recipe, problem: Problem, streams: Streams, start: Weights | None, shared: bool) -> LiveNetwork:
    model = recipe.network.build(problem, recipe.views.input_channels(problem), streams, shared=shared)
    if start is not None:
        _load(model, start)
    return model.to(problem.observed.device)


def _load(model: LiveNetwork, start: Weights) -> None:
    wanted = {name: value.shape[1:] for name, value in model.named_parameters()}
    given = {name: value.shape[1:] for name, value in start.items()}
    if wanted != given:
        odd = sorted(set(wanted.items()) ^ set(given.items()))[:4]
        raise BadWeights(
            f"weights must fit the network of the recipe; these differ: {odd}; use the recipe's own weights"
        )
    counts = {name: (len(value), len(start[name])) for name, value in model.named_parameters()}
    odd_counts = sorted((name, *count) for name, count in counts.items() if count[1] not in (1, count[0]))[:4]
    if odd_counts:
        raise BadWeights(
            "weights must be given once for all tiles, or once for each where they move; these differ "
            f"(name, wanted, got): {odd_counts}; start from the weights of one model"
        )
    with torch.no_grad():
        for name, value in model.named_parameters():
            value.copy_(start[name].expand_as(value))


def _look(model: LiveNetwork, views: LiveViews, problem: Problem, rows: Sequence[int]) -> Tiles:
    with torch.no_grad():
        return views.image(model, problem, rows)


def _changed_back(transform: Transform, done: Restoration, problem: Problem) -> Restoration:
    # A risk or a spread in other units says nothing in these.
    nothing = (None,) * len(done.steps)
    return replace(done, image=transform.backward(done.image, problem), risk=nothing, risk_before=nothing, spread=None)


def _in_turn(
    methods: Sequence[Method], problem: Problem, streams: Streams, start: Weights | None, strategy: Strategy
) -> Restoration:
    done = restore(methods[0], problem, streams, start=start, strategy=strategy)
    for method in methods[1:]:
        # A method without weights hands on those that it was given.
        start = start if done.weights is None else done.weights
        done = restore(method, problem, streams, start=start, strategy=strategy)
    return done


def _alone(recipe: Recipe, problem: Problem, streams: Streams, start: Weights | None, row: int) -> Restoration:
    own = None if start is None else {n: v if len(v) == 1 else v[row : row + 1] for n, v in start.items()}
    return fit(recipe, problem.rows([row]), streams.only([row]), start=own)


def _merged(parts: Sequence[Restoration]) -> Restoration:
    weights = [part.weights or {} for part in parts]
    spreads = [part.spread for part in parts if part.spread is not None]
    return Restoration(
        image=torch.cat([part.image for part in parts]),
        steps=sum((part.steps for part in parts), ()),
        stopped=sum((part.stopped for part in parts), ()),
        curves=sum((part.curves for part in parts), ()),
        risk=sum((part.risk for part in parts), ()),
        risk_before=sum((part.risk_before for part in parts), ()),
        spread=torch.cat(spreads) if spreads else None,
        weights={
            name: value if name in parts[0].frozen else torch.cat([own[name] for own in weights])
            for name, value in weights[0].items()
        },
        frozen=parts[0].frozen,
    )
