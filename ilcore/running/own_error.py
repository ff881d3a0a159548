"""What a tile tells of its own error, as columns of the ledger: the restorer is asked once more, slightly moved.

A scan of few tiles is probed everywhere, and nothing of its bound is left to sampling. Of many tiles each is probed in
two windows, drawn at random: what they differ by says how much the rest may differ. All that needs no second answer,
the residual and the flat places, is summed over the whole core in any case.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ilcore import fit
from ilcore.grammar.arrays import Streams
from ilcore.grammar.devices import computing_on
from ilcore.grammar.recipe import DirectMethod, Method, Sequential, Transformed
from ilcore.planning.depth import within
from ilcore.qa.erring import Law, Slope, error_sums, flat_sums, moved, slope_of
from ilcore.qa.likeness import inside_limits
from ilcore.running.attempts import Attempt, WorkerContext, non_local_means
from ilcore.running.patches import Patch, noise_of, problem_of, to_numpy
from ilcore.tiling.grid import Tile

#: A scan of so many tiles is probed everywhere.
_FEW_TILES = 16
#: Windows of each tile otherwise, their largest sides (z, y, x), and how much around them the restorer sees at most.
_WINDOWS, _SIDES, _AROUND = 2, (2, 64, 64), 16

Restorer = Callable[[Patch], NDArray[np.float32]]
Place = tuple[slice, ...]


def error_columns(bench: WorkerContext, tile: Tile, frame: Patch, attempt: Attempt) -> dict[str, float]:
    """Return the columns of a tile, normalised; nothing where the noise is not white, or stripes were subtracted.

    Those of the probe are missing where the restorer learns on the tile itself.
    """
    live = [number for number, channel in enumerate(bench.run.plan.channels) if not channel.is_flat]
    if not live or bench.run.plan.stripes or any(bench.run.plan.channels[number].verdict != "white" for number in live):
        return {}
    core = within(tile.core, tile.read, bench.run.plan.depth)
    inside = np.zeros_like(frame.trusted)
    inside[core] = frame.trusted[core]
    if not inside[live].any():
        return {"err_voxels": 0.0}
    noise = [noise_of([frame], bench.run.plan)[number] for number in live]
    restorer = _restorer_of(bench, tile, attempt)
    slopes = [] if restorer is None else _Probe(bench, tile, frame, restorer, live).slopes(attempt, inside, core)
    counted, seen = inside[live], frame.seen[live]
    found = error_sums(seen, attempt.image[live], noise, counted, slopes)
    found |= flat_sums(frame.seen[core][live], frame.trusted[core][live], noise)
    limits = zip(seen, counted, noise, strict=True)
    cut = counted & ~np.stack([inside_limits(plane, valid, one) for plane, valid, one in limits])
    return found | {"cut_share": float(cut.sum() / counted.sum())}


def risk_of(columns: dict[str, float]) -> float | None:
    """Return Stein's estimate of the mean squared error of a tile; None where it was not probed."""
    return columns["err_excess"] + 2 * columns["err_slope"] if "err_slope" in columns else None


class _Probe:
    """One tile and what restores it, asked twice with the same draws: a change of draws would be taken for a slope."""

    def __init__(self, bench: WorkerContext, tile: Tile, frame: Patch, restorer: Restorer, live: Sequence[int]) -> None:
        self.frame, self.restorer, self.live = frame, restorer, list(live)
        self.is_whole = len(bench.run.ledger.grid) <= _FEW_TILES
        self.noise = noise_of([frame], bench.run.plan)
        self.halo = tuple(min(reach, _AROUND) for reach in (0, *bench.entry.halo(bench.run.plan.space))[-3:])
        streams = Streams.of(bench.run.plan.seed, f"{bench.run.plan.method}/risk", [tile.index])
        self.signs = np.where(frame.trusted, streams.signs(frame.seen.shape)[0].numpy(), 0)
        self.shares = streams.uniform((_WINDOWS, 3))[0].numpy()

    def slopes(self, attempt: Attempt, inside: NDArray[np.bool_], core: Place) -> list[Slope]:
        """Return the sums of the probe over the whole core, or over windows of it."""
        spans = [(at.start, at.stop) for at in core[1:]]
        windows = [self._window(spans, shares) for shares in self.shares]
        small = _WINDOWS * np.prod([b - a for a, b in windows[0]]) <= 0.5 * np.prod([b - a for a, b in spans])
        if self.is_whole or not small:
            whole = tuple(slice(0, length) for length in self.frame.seen.shape)
            return [self._slope(whole, attempt.image, inside)]
        found = [self._of_window(window, inside) for window in windows]
        return found if all(slope.voxels for slope in found) else []

    def _window(self, spans: Sequence[tuple[int, int]], shares: NDArray[np.float32]) -> list[tuple[int, int]]:
        sides = [min(most, b - a) for most, (a, b) in zip(_SIDES, spans, strict=True)]
        starts = [a + round(float(share) * (b - a - side)) for share, side, (a, b) in
                  zip(shares, sides, spans, strict=True)]  # fmt: skip
        return [(start, start + side) for start, side in zip(starts, sides, strict=True)]

    def _of_window(self, window: Sequence[tuple[int, int]], inside: NDArray[np.bool_]) -> Slope:
        counted = np.zeros_like(inside)
        place = (slice(None), *(slice(a, b) for a, b in window))
        counted[place] = inside[place]
        if not counted[self.live].any():
            return Slope(0, 0.0, 0.0)
        around = (slice(None), *(slice(max(0, a - reach), b + reach) for (a, b), reach in
                                 zip(window, self.halo, strict=True)))  # fmt: skip
        return self._slope(around, self.restorer(self.frame.part(around)), counted)

    def _slope(self, place: Place, image: NDArray[np.float32], counted: NDArray[np.bool_]) -> Slope:
        part, signs = self.frame.part(place), self.signs[place]
        law = Law.of(part.seen, self.noise)
        other = self.restorer(replace(part, seen=moved(part.seen, law, signs)))
        live = self.live
        return slope_of(image[live], other[live], law.of_channels(live), signs[live], counted[place][live])


def _restorer_of(bench: WorkerContext, tile: Tile, attempt: Attempt) -> Restorer | None:
    """Return what made an attempt, as a function of what was seen; None where it learnt from it."""
    if attempt.used == "classical":
        return lambda frame: non_local_means(frame, bench.run.plan)
    weights = {"volume": bench.learnt, "pretrained": bench.start}.get(attempt.used)
    if weights is None and not (attempt.used == "tile" and _is_by_hand(bench.entry.method)):
        return None

    def restorer(frame: Patch) -> NDArray[np.float32]:
        problem = problem_of([frame], bench.run.plan, bench.device)
        streams = Streams.of(bench.run.plan.seed, bench.run.plan.method, [tile.index])
        with computing_on(bench.device, "estimating the risk"):
            if weights is None:
                return to_numpy(fit.restore(bench.entry.method, problem, streams).image)[0]
            return to_numpy(fit.predict(bench.entry.method, problem, weights, streams))[0]

    return restorer


def _is_by_hand(method: Method) -> bool:
    match method:
        case DirectMethod():
            return True
        case Transformed(_, inner):
            return _is_by_hand(inner)
        case Sequential(methods):
            return all(_is_by_hand(one) for one in methods)
        case _:
            return False
