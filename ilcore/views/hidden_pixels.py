"""Single pixels hidden behind others of their surroundings, with the pixels that share their noise."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from typing import final

import torch
from torch import Tensor

from ilcore.grammar.arrays import Streams
from ilcore.grammar.capability import Capability
from ilcore.grammar.draws import knows_correlation, lags_of
from ilcore.grammar.fills import shown
from ilcore.grammar.problem import Problem
from ilcore.grammar.recipe import Recipe
from ilcore.grammar.slots import LiveViews, Views
from ilcore.grammar.step_context import Pair

_REPLACEMENTS = ("uniform", "median")
_FOOTPRINTS = ("none", "row", "column", "cross", "block", "measured")
#: Pixels whose noise is less correlated than this need not be hidden together.
_CORRELATED = 0.15


@final
@dataclass(frozen=True, kw_only=True)
class HiddenPixels(Views):
    """Hide one pixel at a random place of every box of a plane, and ask for it.

    Where noise reaches over several pixels, all pixels of a footprint around the hidden one are hidden with it.

    Args:
        percent: Share of pixels asked for, in percent; a box has 100 / percent pixels.
        window: Side of the window from which replacements come; odd.
        replacement: uniform takes a random pixel of the window, median its median; the footprint is left out.
        footprint: none, row (along x), column (along y), cross, block, or measured: from the noise of the problem.
        span: Length of the footprint; odd. A measured correlation decides by itself.
        jointly: The same places in all channels, for noise that channels share.

    Shape:
        observed [tile, channel, *space] -> the same; planes of z are treated one by one.

    Reference:
        Krull et al., "Noise2Void", CVPR 2019; Hoeck et al., "N2V2", ECCV-W 2022 (median); Broaddus et al., "Removing
        structured noise with self-supervised blind-spot networks", ISBI 2020 (footprint).
    """

    percent: float = 1.5
    window: int = 11
    replacement: str = "uniform"
    footprint: str = "none"
    span: int = 5
    jointly: bool = False

    @property
    def offers(self) -> frozenset[Capability]:
        return super().offers | {Capability.WHOLE_IMAGES}

    @property
    def requires(self) -> frozenset[Capability]:
        return super().requires | {Capability.CANNOT_COPY}

    def complaints(self, recipe: Recipe, problem: Problem) -> Iterator[str]:
        if self.replacement not in _REPLACEMENTS or self.footprint not in _FOOTPRINTS:
            yield f"{self} needs a replacement of {_REPLACEMENTS} and a footprint of {_FOOTPRINTS}"
            return
        if not 0 < self.percent <= 25 or min(self.window, self.span) < 1 or not (self.window % 2 and self.span % 2):
            yield f"{self} needs 0 < percent <= 25 and odd window and span"
        yield from self._complaints_of_noise(problem)
        extent = [2 * reach + 1 for reach in self.reach(problem)]
        if max(extent) >= self.window:
            yield f"{self} hides {extent[0]} x {extent[1]} pixels at once; set a window above that"
        if all(side <= hidden for side, hidden in zip(problem.space[-2:], extent, strict=True)):
            yield f"{self} hides {extent[0]} x {extent[1]} pixels at once, got {problem.space}; use larger tiles"

    def _complaints_of_noise(self, problem: Problem) -> Iterator[str]:
        if self.footprint != "measured":
            return
        if problem.noise is None:
            yield f"{self} needs the correlation of the noise; let preflight measure it, or name a footprint"
        elif not all(knows_correlation(noise) and noise.correlation != "unknown" for noise in problem.noise):
            yield f"{self} needs a measured correlation; let preflight measure it, or name a footprint"

    def reach(self, problem: Problem) -> tuple[int, int]:
        """Return how far the footprint reaches along y and x."""
        if self.footprint == "measured":
            reaches = [tuple(map(_reach_of, lags_of(noise))) for noise in problem.noise or ()]
            return max((y for y, _ in reaches), default=0), max((x for _, x in reaches), default=0)
        half = self.span // 2
        return half * (self.footprint in ("column", "cross", "block")), half * (
            self.footprint in ("row", "cross", "block")
        )

    def hidden_offsets(self, problem: Problem) -> list[tuple[int, int]]:
        """Return the footprint as offsets (y, x) from the pixel asked for."""
        down, across = self.reach(problem)
        block = product(range(-down, down + 1), range(-across, across + 1))
        return [(y, x) for y, x in block if self.footprint != "cross" or y == 0 or x == 0]

    def start(self, problem: Problem, streams: Streams) -> LiveViews:
        return _HiddenPixels(self, problem, streams)


def _reach_of(lag: float) -> int:
    """Return the last lag of noise correlated by rho(d) = lag^(d^2) that matters."""
    if lag <= _CORRELATED:
        return 0
    return max(1, int(math.sqrt(math.log(_CORRELATED) / math.log(min(lag, 0.97)))))


class _HiddenPixels(LiveViews):
    def __init__(self, spec: HiddenPixels, problem: Problem, streams: Streams) -> None:
        self.spec, self.problem, self.streams = spec, problem, streams
        self.seen, device = shown(problem), problem.observed.device
        hidden, reach = spec.hidden_offsets(problem), spec.window // 2
        window = set(product(range(-reach, reach + 1), repeat=2)) - set(hidden)
        self.hidden = torch.tensor(hidden, device=device)
        self.window = torch.tensor(sorted(window), device=device)
        self.side = max(2, round(math.sqrt(100 / spec.percent)))
        #: Number of the pixel asked for among those hidden with it.
        self.middle = min(range(len(hidden)), key=lambda number: sum(map(abs, hidden[number])))

    @cached_property
    def boxes(self) -> tuple[Tensor, Tensor]:
        """First corner (y, x) and sides of every box, [box, 2]."""
        height, width = self.problem.space[-2:]
        corners = torch.cartesian_prod(torch.arange(0, height, self.side), torch.arange(0, width, self.side))
        room = (torch.tensor((height, width)) - corners).clamp_max(self.side)
        return corners.to(self.seen.device), room.to(self.seen.device)

    def draw(self, step: int, rows: Sequence[int]) -> Pair:
        chosen = list(rows)
        seen = self.seen[chosen]
        planes = seen.flatten(1, -3).flatten(2)
        centres = self._centres(chosen)
        around, inside = self._at(centres, self.window)
        values = planes.gather(2, around.flatten(2)).unflatten(2, around.shape[2:])
        hidden, exist = self._at(centres, self.hidden)
        put = self._replacements(values, self._known(around, inside, chosen), chosen)
        own = hidden[..., self.middle, None]
        # Offsets that leave the plane repeat the pixel asked for.
        index = torch.where(exist, hidden, own).flatten(2)
        put = torch.where(exist, put, put[..., self.middle, None]).flatten(2)
        # Footprints may overlap; the largest wins, whatever the order.
        replaced = planes.scatter_reduce(2, index, put, "amax", include_self=False).reshape(seen.shape)
        asked = torch.zeros_like(planes, dtype=torch.bool).scatter(2, own.flatten(2), True).reshape(seen.shape)
        trusted = asked if self.problem.trusted is None else asked & self.problem.trusted[chosen]
        # Holes are filled anew, from what is left: an old filling would betray the pixels next to it.
        return Pair(shown(replace(self.problem.rows(rows), observed=replaced)), seen, trusted)

    def _centres(self, rows: list[int]) -> Tensor:
        """Return one place (y, x) for every box, [row, plane, box, 2]."""
        channels, *depth, _, _ = self.problem.observed.shape[1:]
        corners, room = self.boxes
        shape = (1 if self.spec.jointly else channels, math.prod(depth), *corners.shape)
        drawn = self.streams.uniform(shape, rows).to(corners.device)
        return (corners + (drawn * room).long()).expand(-1, channels, -1, -1, -1).flatten(1, 2)

    def _at(self, centres: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
        """Return the numbers of the pixels at some offsets, and whether they lie in the plane."""
        height, width = self.problem.space[-2:]
        y, x = (centres[..., None, :] + offsets).unbind(-1)
        inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
        return y.clamp(0, height - 1) * width + x.clamp(0, width - 1), inside

    def _known(self, numbers: Tensor, inside: Tensor, rows: list[int]) -> Tensor:
        """Return which pixels of a window are no holes; all that lie in the plane where there are only holes."""
        trusted = self.problem.trusted
        if trusted is None:
            return inside
        planes = trusted[rows].flatten(1, -3).flatten(2)
        known = inside & planes.gather(2, numbers.flatten(2)).unflatten(2, numbers.shape[2:])
        return torch.where(known.any(-1, keepdim=True), known, inside)

    def _replacements(self, values: Tensor, inside: Tensor, rows: list[int]) -> Tensor:
        """Return what is put in the place of every hidden pixel, [row, plane, box, offset]."""
        count = len(self.hidden)
        if self.spec.replacement == "median":
            median = values.masked_fill(~inside, torch.nan).nanmedian(-1, keepdim=True).values
            return median.expand(*median.shape[:-1], count)
        drawn = self.streams.uniform((*values.shape[1:3], count), rows).to(values.device)
        order = inside.cumsum(-1)
        number = (drawn * order[..., -1:]).long() + 1
        return values.gather(-1, torch.searchsorted(order, number))

    def look(self, problem: Problem, rows: Sequence[int]) -> Tensor:
        return shown(problem.rows(rows))
