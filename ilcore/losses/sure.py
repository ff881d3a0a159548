"""Stein's unbiased risk: the mean squared error of the output, estimated from the noisy image alone.

With noise of variance v = g (y - offset) + s^2 at every voxel, and the correlation C that was measured:

    risk = mean (f(y) - y)^2 - mean v + 2 tr(C J) / n        (Gaussian: v = s^2; Poisson: v = g y, then it is PURE)
           - 2 g s^2 mean f'' - g^2 mean (y - offset) f''    (second order, for dark counts)

The trace comes from a probe with the noise's own law: E b'J b = tr(C J), whatever C is.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from ilcore.grammar.arrays import PerTile, Streams, per_tile_mean
from ilcore.grammar.capability import Capability
from ilcore.grammar.draws import knows_correlation, probe_of, probe_weight
from ilcore.grammar.fills import shown
from ilcore.grammar.problem import Noise, Problem
from ilcore.grammar.recipe import Recipe
from ilcore.grammar.slots import LiveLoss, Loss
from ilcore.grammar.step_context import StepContext

#: Values of a probe with mean 0, variance 1 and third moment 1, and the probability of the second.
_SKEWED = (-0.6180339887, 1.6180339887, 0.2763932023)
#: The observation as the network's input, and all of it as the output.
_WANTED = frozenset({Capability.SHOWS_OBSERVATION, Capability.WHOLE_IMAGES})


@final
@dataclass(frozen=True, kw_only=True)
class Sure(Loss):
    """Estimated mean squared error of the output; below zero once a network has begun to fit the noise.

    Args:
        step: Length of the finite difference, in units of the range of values.
        second_order: Keep the second derivatives, which matter below some twenty counts; two more passes.
        second_step: Length of the finite difference for them.

    Reference:
        Stein, Ann. Stat. 1981; Ramani, Blu & Unser, TIP 2008, eq. 14 (probe); Le Montagner et al., TIP 2014, eq. 11
        (Poisson-Gaussian). The term g^2 y f'' is missing there and of the same order.
    """

    step: float = 1e-3
    second_order: bool = False
    second_step: float = 0.05

    @property
    def offers(self) -> frozenset[Capability]:
        return frozenset({Capability.ESTIMATES_RISK})

    @property
    def requires(self) -> frozenset[Capability]:
        return super().requires | _WANTED

    def complaints(self, recipe: Recipe, problem: Problem) -> Iterator[str]:
        if self.step <= 0 or self.second_step <= 0:
            yield f"{self} needs steps above 0"
        if problem.noise is None:
            yield f"{self} needs the noise model; estimate it or pass noise_std"
        elif not all(knows_correlation(noise) for noise in problem.noise):
            yield f"{self} needs the correlation of noise that is not white; let preflight measure it"

    def start(self, problem: Problem, streams: Streams) -> LiveLoss:
        return _Sure(self, problem, streams)


class _Sure:
    def __init__(self, spec: Sure, problem: Problem, streams: Streams) -> None:
        self.spec, self.problem, self.streams = spec, problem, streams
        self.std, self.variance = problem.noise_std(problem.observed), problem.unbiased_variance()
        self.weight = probe_weight(problem)

    def __call__(self, context: StepContext) -> PerTile:
        rows, pair = list(context.rows), context.pair
        std = self.std[rows]
        probe = std * probe_of(self.problem, self.streams, rows)
        # The difference is as long as `step` where the noise is strongest.
        length = self.spec.step / std.amax(tuple(range(1, std.ndim)), keepdim=True).clamp_min(1e-8)
        # What fills a hole leans on its neighbours, so a probe of these moves it too.
        along = shown(replace(self.problem.rows(rows), observed=probe))
        moved = context.model(pair.input + length * along, rows)
        slope = self.weight[rows] * probe * (moved - context.output) / length
        error = (context.output - pair.target).square() - self.variance[rows] + 2 * slope
        if self.spec.second_order:
            error = error - self._curvature(context, rows)
        return per_tile_mean(error, pair.trusted)

    def _curvature(self, context: StepContext, rows: list[int]) -> Tensor:
        """Return 2 g s^2 f'' + g^2 (y - offset) f'' at every voxel, from one skewed probe."""
        low, high, share = _SKEWED
        drawn = self.streams.uniform(self.problem.observed.shape[1:], rows).to(self.std) < share
        probe = torch.where(drawn, high, low)
        seen, length = context.pair.input, self.spec.second_step
        ahead, behind = (context.model(seen + sign * length * probe, rows) for sign in (1, -1))
        second = probe * (ahead - 2 * context.output + behind) / length**2
        return torch.stack([_factor(m, context.pair.target[:, n]) for n, m in enumerate(self._models())], 1) * second

    def _models(self) -> tuple[Noise, ...]:
        return self.problem.noise or ()


def _factor(noise: Noise, observed: Tensor) -> Tensor:
    return noise.gain * (2 * noise.read_std**2 + noise.gain * (observed - noise.offset))


@final
@dataclass(frozen=True, kw_only=True)
class UnknownNoiseSure(Loss):
    """Stein's risk with the noise level as a Lagrange multiplier: the output may not lean on its own pixel on average.

    min over f, max over eta of  mean (f(y) - y)^2 + 2 sum over lags j of eta_j mean b (J b shifted by j)

    Args:
        rate: Ascent of the multipliers per step.
        momentum: Of that ascent.
        reach: Largest lag along y and x; 0 is white noise, 1 constrains the eight neighbours as well.
        step: Length of the finite difference.

    Reference:
        Tachella, Davies & Jacques, "UNSURE: self-supervised learning with unknown noise level",
        ICLR 2025, eq. 8 and 13.
    """

    rate: float = 2e-4
    momentum: float = 0.9
    reach: int = 0
    step: float = 1e-2

    @property
    def requires(self) -> frozenset[Capability]:
        return super().requires | _WANTED

    def complaints(self, recipe: Recipe, problem: Problem) -> Iterator[str]:
        if self.rate <= 0 or not 0 <= self.momentum < 1 or self.reach < 0 or self.step <= 0:
            yield f"{self} needs rate > 0, 0 <= momentum < 1, reach >= 0 and step > 0"

    def start(self, problem: Problem, streams: Streams) -> LiveLoss:
        return _UnknownNoiseSure(self, problem, streams)


class _UnknownNoiseSure:
    def __init__(self, spec: UnknownNoiseSure, problem: Problem, streams: Streams) -> None:
        self.spec, self.streams, self.shape = spec, streams, problem.observed.shape[1:]
        span = range(-spec.reach, spec.reach + 1)
        self.shifts = [(down, right) for down in span for right in span]
        # One set of multipliers per tile; a model shared by all tiles sees them one after the other.
        self.eta = torch.zeros(len(streams), len(self.shifts), device=problem.observed.device)
        self.speed = torch.zeros_like(self.eta)

    def __call__(self, context: StepContext) -> PerTile:
        rows, pair = list(context.rows), context.pair
        probe = self.streams.signs(self.shape, rows).to(pair.input)
        slope = (context.model(pair.input + self.spec.step * probe, rows) - context.output) / self.spec.step
        traces = [per_tile_mean(probe * torch.roll(slope, shift, (-2, -1)), pair.trusted) for shift in self.shifts]
        divergence = torch.stack(traces, 1)
        self._climb(rows, divergence.detach())
        fidelity = per_tile_mean((context.output - pair.target).square(), pair.trusted)
        return fidelity + 2 * (self.eta[rows] * divergence).sum(1)

    def _climb(self, rows: list[int], divergence: Tensor) -> None:
        self.speed[rows] = self.spec.momentum * self.speed[rows] + (1 - self.spec.momentum) * 2 * divergence
        self.eta[rows] += self.spec.rate * self.speed[rows]
