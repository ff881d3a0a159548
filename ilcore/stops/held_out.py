"""Pixels that training never asks for decide what is best and when to end."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from ilcore.grammar.arrays import Streams
from ilcore.grammar.capability import Capability
from ilcore.grammar.draws import knows_correlation
from ilcore.grammar.masks import grid_phase
from ilcore.grammar.problem import Problem
from ilcore.grammar.recipe import Recipe
from ilcore.grammar.slots import LiveStop, Stop
from ilcore.grammar.step_context import Judgement, StepContext
from ilcore.grammar.stop_reason import StopReason
from ilcore.stops.stein_risk import SteinRisk

#: Tiles looked at together.
_BATCH = 8
#: Sides of the blocks that count as one observation each, pixels: errors of one image are alike over some pixels. The
#: smaller one where the larger leaves too few, and how many tell anything at all.
_BLOCKS, _FEWEST = (16, 8), 8


@final
@dataclass(frozen=True, kw_only=True)
class HeldOut(Stop):
    """Ask for a grid of pixels never in training, always when judging, and keep what restores them best.

    The risk at every held-out pixel is Stein's, of the image that would be read out, a mean over draws included.
    (Tried: the recorrupted pair y + a w, y - w / a instead; its spread is five times larger. Tried: `Whole` shows the
    held-out pixels without asking for them; networks learnt their noise, and this risk fell to a quarter of the true
    one.) An iterate counts as best only if it beats the untouched start by two standard errors of the paired difference
    as well as every iterate before it; otherwise the start stands (do no harm). Errors of neighbouring pixels are
    alike, so that the standard error is that of whole tiles, or of blocks where there are few tiles: what a bootstrap
    over them gives in the limit of many draws.

    Args:
        steps: Updates at most.
        every: Steps between two looks.
        patience: Looks without a new best before the end.
        stride: One pixel in stride x stride is held out.

    Reference:
        Darestani, Liu & Heckel, ICML 2022 (held-out measurements); Ramani, Blu & Unser, TIP 2008, eq. 14 (the risk);
        Davison & Hinkley, "Bootstrap Methods and their Application", 1997, ch. 8.3 (blocks).
    """

    steps: int
    every: int = 20
    patience: int = 5
    stride: int = 3

    @property
    def budget(self) -> int:
        return self.steps

    @property
    def requires(self) -> frozenset[Capability]:
        return frozenset({Capability.SHOWS_OBSERVATION})

    def complaints(self, recipe: Recipe, problem: Problem) -> Iterator[str]:
        if self.steps < 0 or self.every < 1 or self.patience < 1 or self.stride < 2:
            yield f"{self} needs steps >= 0, every >= 1, patience >= 1 and stride >= 2"
        if problem.noise is None:
            yield f"{self} needs the noise model; estimate it or pass noise_std"
        elif self.steps and not all(knows_correlation(noise) for noise in problem.noise):
            yield f"{self} needs the correlation of noise that is not white; let preflight measure it"

    def start(self, problem: Problem, streams: Streams, *, shared: bool = False) -> LiveStop:
        return _HeldOut(self, problem, streams, shared)


class _HeldOut:
    def __init__(self, spec: HeldOut, problem: Problem, streams: Streams, shared: bool) -> None:
        self.spec, self.shared = spec, shared
        observed, device = problem.observed, problem.observed.device
        place = (streams.uniform(()) * spec.stride**2).long()
        held = grid_phase(problem.space, spec.stride, place).to(device).expand_as(observed)
        trusted = torch.ones_like(held) if problem.trusted is None else problem.trusted
        self.risk = SteinRisk(problem, streams)
        self.held, self.training = held & trusted, replace(problem, trusted=trusted & ~held)
        self.where = [each.flatten().nonzero()[:, 0] for each in self.held]
        self.groups = {key: _places(groups) for key, groups in _groups(self.held, shared=shared).items()}
        self.first: dict[int, Tensor] = {}
        self.lowest: dict[int, float] = {}
        self.misses: dict[int, int] = {}

    def training_problem(self) -> Problem:
        return self.training

    def judge(self, context: StepContext) -> Judgement:
        count, done = len(context.rows), context.step >= self.spec.steps
        if context.step % self.spec.every and not done:
            return Judgement((None,) * count, (False,) * count, (None,) * count)
        times = count if self.shared else 1
        keys, measured = self._measured(self._errors(context))
        looks = [self._look(key, *numbers) for key, numbers in zip(keys, measured, strict=True)] * times
        reasons = [self._reason(key, done) for key in keys] * times
        return Judgement(tuple(reasons), tuple(best for best, _ in looks), tuple(risk for _, risk in looks))

    def _errors(self, context: StepContext) -> dict[int, Tensor]:
        """Return the unbiased error of every held-out pixel, row by row, or of all rows under key 0."""
        by_row = {row: error for rows in _batches(context.rows) for row, error in self._of_rows(context, rows)}
        return {0: torch.cat(list(by_row.values()))} if self.shared else by_row

    def _of_rows(self, context: StepContext, rows: list[int]) -> Iterator[tuple[int, Tensor]]:
        errors = self.risk.errors(context, rows)
        return ((row, error.flatten()[self.where[row]]) for row, error in zip(rows, errors, strict=True))

    def _measured(self, errors: dict[int, Tensor]) -> tuple[list[int], list[list[float]]]:
        """Return every row with its risk, its gain over the start and the standard error of that, read all at once."""
        numbers = []
        for key, error in errors.items():
            gain = self.first.setdefault(key, error) - error
            numbers.append(
                torch.stack([error.mean().double(), gain.mean().double(), standard_error(gain, *self.groups[key])])
            )
        return list(errors), torch.stack(numbers).tolist()

    def _look(self, key: int, risk: float, gain: float, doubt: float) -> tuple[bool, float | None]:
        """Return whether this iterate is the best so far, and its risk."""
        count = len(self.first[key])
        if key not in self.misses:
            self.misses[key], self.lowest[key] = 0, risk if count else math.inf
            return True, risk if count else None
        if count > 1 and gain > 2 * doubt and risk < self.lowest[key]:
            self.lowest[key], self.misses[key] = risk, 0
            return True, risk
        self.misses[key] += 1
        return False, risk if count > 1 else None

    def _reason(self, key: int, done: bool) -> StopReason | None:
        if self.misses[key] >= self.spec.patience:
            return StopReason("held-out", f"held-out risk has not fallen for {self.spec.patience} looks")
        return StopReason.budget(self.spec.steps) if done else None


def standard_error(values: Tensor, places: Tensor, count: int) -> Tensor:
    """Return the standard error of a mean whose values are alike within groups; infinite where there are too few.

    Args:
        values: Any number of them.
        places: Number of the group of each, from 0 on.
        count: How many groups there are.

    Shape:
        values [n], places [n] -> [], float64.
    """
    if count < _FEWEST:
        return torch.full((), math.inf, dtype=torch.float64, device=values.device)
    off = (values - values.mean()).double()
    sums = off.new_zeros(count).index_add_(0, places, off)
    return (sums.square().sum() * count / (count - 1)).sqrt() / len(values)


def _places(groups: Tensor) -> tuple[Tensor, int]:
    """Return groups numbered from 0 on, and how many there are."""
    _, places = groups.unique(return_inverse=True)
    return places, int(places.max()) + 1 if len(places) else 0


def _groups(held: Tensor, *, shared: bool) -> dict[int, Tensor]:
    """Return to which group each held-out pixel belongs, row by row, or of all rows under key 0."""
    side = next((side for side in _BLOCKS if _count(held, side) >= _FEWEST), _BLOCKS[-1])
    blocks = _numbered(held, side)
    if not shared:
        return {row: blocks[row][held[row]] for row in range(len(held))}
    tiles = torch.arange(len(held), device=held.device).reshape(-1, *(1,) * (held.ndim - 1))
    chosen = tiles.expand_as(held) if len(held) >= _FEWEST else tiles * (blocks.max() + 1) + blocks
    return {0: chosen[held]}


def _count(held: Tensor, side: int) -> int:
    return math.prod(math.ceil(length / side) for length in held.shape[-2:])


def _numbered(held: Tensor, side: int) -> Tensor:
    """Return the number of the block of every pixel; planes of a stack and channels share theirs."""
    rows, columns = (torch.arange(length, device=held.device) // side for length in held.shape[-2:])
    return (rows[:, None] * (held.shape[-1] // side + 1) + columns).expand_as(held)


def _batches(rows: Sequence[int]) -> Iterator[list[int]]:
    return (list(rows[start : start + _BATCH]) for start in range(0, len(rows), _BATCH))
