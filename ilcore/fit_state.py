"""What one fit remembers, and when the host looks at the numbers of the device."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ilcore.grammar.arrays import PerTile, Weights
from ilcore.grammar.problem import Problem
from ilcore.grammar.slots import LiveNetwork, LiveReadout, Spreading
from ilcore.grammar.step_context import Judgement, Predict, Restoration
from ilcore.grammar.stop_reason import StopReason


def look_on(device: torch.device) -> int:
    """Return after how many steps the losses are looked at: a CPU has them at hand, a GPU would run dry each time."""
    return 32 if device.type == "cuda" else 1


@dataclass(frozen=True)
class _Ending:
    image: Tensor
    step: int
    reason: StopReason
    spread: Tensor | None


@dataclass(frozen=True)
class _Unread:
    """A step whose losses nobody has looked at; still on the device."""

    step: int
    losses: Tensor
    judged: Judgement


class FitState:
    """What one fit remembers: who is still at work, their curves, their best weights and how they ended."""

    def __init__(self, problem: Problem, model: LiveNetwork, *, wants_best: bool, shared: bool, look: int = 1) -> None:
        self.problem, self.shared, self.wants_best, self.look = problem, shared, wants_best, look
        self.step = 0
        self.unread: list[_Unread] = []
        #: Row -> step at which it left the finite numbers, which may be known some steps later.
        self.diverged: dict[int, int] = {}
        self.rows: list[int] = list(range(len(problem.observed)))
        self.weights = {name: value.detach() for name, value in model.named_parameters()}
        self.live = {name: value.detach() for name, value in model.moving().items()}
        self.best = {name: value.clone() for name, value in self.live.items()} if wants_best else {}
        self.final = {name: value.clone() for name, value in self.live.items()}
        self.endings: dict[int, _Ending] = {}
        self.curves = [_Curve() for _ in self.rows]
        self.risks: dict[int, float | None] = {}
        self.first_risks: dict[int, float | None] = {}

    def noted(self, losses: PerTile, judged: Judgement) -> Judgement:
        """Add the step to curves and risks, keep the best weights, and end rows that left the finite numbers."""
        self.unread.append(_Unread(self.step, losses.mean()[None] if self.shared else losses, judged))
        if any(judged.reasons) or len(self.unread) >= self.look:
            judged = self._read(judged)
        for position, row in enumerate(self.rows[:1] if self.shared else self.rows) if self.wants_best else ():
            if judged.best[position]:
                self._copy(self.live, self.best, row)
        return judged

    def _read(self, judged: Judgement) -> Judgement:
        """Look at the losses since the last time, all at once; return the newest judgement with what they show."""
        lines = torch.stack([one.losses for one in self.unread]).tolist()
        for one, line in zip(self.unread, lines, strict=True):
            for position, row in enumerate(self.rows):
                if row not in self.diverged:
                    self._add(one, position, row, line[0 if self.shared else position])
        self.unread.clear()
        ended = [self._spoilt_at(row) for row in self.rows]
        reasons = tuple(spoilt or reason for spoilt, reason in zip(ended, judged.reasons, strict=True))
        best = tuple(good and spoilt is None for spoilt, good in zip(ended, judged.best, strict=True))
        return replace(judged, reasons=reasons, best=best)

    def _add(self, one: _Unread, position: int, row: int, value: float) -> None:
        self.curves[row].add(one.step, value)
        risk = one.judged.risks[position] if one.judged.risks else None
        self.first_risks.setdefault(row, risk)
        if not math.isfinite(value) and one.judged.reasons[position] is None:
            self.diverged[row] = one.step
        elif one.judged.best[position]:
            self.risks[row] = risk

    def _spoilt_at(self, row: int) -> StopReason | None:
        step = self.diverged.get(row)
        return None if step is None else StopReason("diverged", f"diverged at step {step}")

    def close(self, judged: Judgement, readout: LiveReadout, predict: Predict) -> None:
        """Read out the rows that end now, from their best weights where the readout wants that."""
        ended = {row: reason for row, reason in zip(self.rows, judged.reasons, strict=True) if reason is not None}
        if not ended:
            return
        for row in ended if self.wants_best else ():
            self._copy(self.best, self.live, row)
        rows, chosen = list(ended), dict(zip(self.rows, judged.images, strict=False))
        spreads = readout.spread(rows) if isinstance(readout, Spreading) else [None] * len(rows)
        for row, image, spread in zip(rows, readout.result(rows, predict), spreads, strict=True):
            kept = chosen.get(row)
            self.endings[row] = self._ending(row, image if kept is None else kept, ended[row], spread)
            self._copy(self.live, self.final, row)
        self.rows = [row for row in self.rows if row not in ended]

    def _ending(self, row: int, image: Tensor, reason: StopReason, spread: Tensor | None) -> _Ending:
        inner = None if spread is None else self.problem.inside(spread[None])[0]
        if bool(torch.isfinite(image).all()) and not reason.has_diverged:
            return _Ending(self.problem.inside(image[None])[0], self.step, reason, inner)
        spoilt = reason if reason.has_diverged else StopReason("diverged", f"diverged by step {self.step}")
        nothing = None if inner is None else torch.full_like(inner, torch.nan)
        step = self.diverged.get(row, self.step)
        return _Ending(self.problem.rows([row]).plain()[0], step, spoilt, nothing)

    def _copy(self, source: Weights, target: Weights, row: int) -> None:
        for name in source:
            index = 0 if len(source[name]) == 1 else row
            target[name][index] = source[name][index]

    def going(self, rows: Sequence[int]) -> list[int]:
        """Return at which places of a step's rows those stand that go on."""
        alive = set(self.rows)
        return [place for place, row in enumerate(rows) if row in alive]

    def restoration(self) -> Restoration:
        ends = [self.endings[row] for row in range(len(self.problem.observed))]
        spreads = [end.spread for end in ends if end.spread is not None]
        return Restoration(
            image=torch.stack([end.image for end in ends]),
            steps=tuple(end.step for end in ends),
            stopped=tuple(end.reason for end in ends),
            curves=tuple(curve.points() for curve in self.curves),
            risk=tuple(self.risks.get(row) for row in range(len(ends))),
            risk_before=tuple(self.first_risks.get(row) for row in range(len(ends))),
            spread=torch.stack(spreads) if spreads else None,
            weights={name: self.final.get(name, value) for name, value in self.weights.items()},
            frozen=frozenset(self.weights.keys() - self.final.keys()),
        )


@dataclass
class _Curve:
    """A loss curve of at most 64 points: every stride-th step, the stride doubling when it is full."""

    stride: int = 1
    kept: list[tuple[int, float]] = field(default_factory=list)

    def add(self, step: int, loss: float) -> None:
        if step % self.stride == 0:
            self.kept.append((step, loss))
        if len(self.kept) > 64:
            self.stride *= 2
            self.kept = [point for point in self.kept if point[0] % self.stride == 0]

    def points(self) -> tuple[tuple[int, float], ...]:
        return tuple(self.kept)
