"""Where the seconds of a night go: least for all first, then more where it gains most.

    ladder of a scan:   [nothing] ──> least ──> ... ──> as planned        each rung costs seconds and brings a gain

Every scan is given its lowest rung in the order of the agenda while the night lasts; what is left buys the step up a
ladder with the largest gain for a second, again and again.
"""

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ilcore.methods.entry import Entry
from ilcore.planning.cost import work_of
from ilcore.planning.plan import RestorationPlan

#: Shares of the planned steps that a rung may take.
SHARES = (0.25, 0.5, 1.0)
#: What a pretrained model brings before any step, as a share of what all steps bring.
_APPLIED = 0.6
#: How fast steps lose their worth: the first third of them brings almost two thirds.
_SATURATION = 3.0
#: What a plan's `why` says before the words of its rung.
_MARK = "for want of time "


@dataclass(frozen=True)
class Rung:
    """One way to restore a scan.

    Args:
        seconds: What it takes on the cluster.
        gain: What it brings, in voxels made as well as planned.
        share: Of the planned steps; 0 applies a pretrained model.
        words: What is left out; empty where nothing is.
    """

    seconds: float
    gain: float
    share: float = 1.0
    words: str = ""


def spend(ladders: Sequence[Sequence[Rung]], seconds: float) -> list[int | None]:
    """Return the rung that each scan is given; None where the night is too short for it.

    Args:
        ladders: By scan, in the order of the agenda; rungs cost more and bring more from one to the next.
        seconds: Of the night.
    """
    given: list[int | None] = []
    for ladder in ladders:
        fits = ladder[0].seconds <= seconds
        seconds -= ladder[0].seconds if fits else 0.0
        given.append(0 if fits else None)
    steps = [(-_worth(ladders[n], 0), n) for n, rung in enumerate(given) if rung is not None and len(ladders[n]) > 1]
    heapq.heapify(steps)
    while steps:
        _, n = heapq.heappop(steps)
        ladder, at = ladders[n], given[n] or 0
        more = ladder[at + 1].seconds - ladder[at].seconds
        if more > seconds:
            continue
        seconds -= more
        given[n] = at + 1
        if at + 2 < len(ladder):
            heapq.heappush(steps, (-_worth(ladder, at + 1), n))
    return given


def _worth(ladder: Sequence[Rung], at: int) -> float:
    """Return what the next rung brings for a second."""
    more = ladder[at + 1].seconds - ladder[at].seconds
    return math.inf if more <= 0 else (ladder[at + 1].gain - ladder[at].gain) / more


def ladder_of(
    plan: RestorationPlan, workers: int, *, slower: float = 1.0, growth: Sequence[float] | None = None
) -> list[Rung]:
    """Return the ways to restore a scan, the cheapest first, with what a step costs measured here.

    Args:
        plan: As planned.
        workers: That share the work.
        slower: What such work took on earlier scans over what was expected.
        growth: Which part of what all steps bring SHARES of them brought to earlier scans; assumed where not known.
    """
    work = work_of(plan, timed=True)
    whole = (work.seconds or 0.0) * slower / max(1, workers)
    entry = plan.entry
    steps, is_pretrained = _steps(entry), "weights" in entry.needs
    if steps == 0:
        return [Rung(whole, float(work.voxels))]
    shares = ((0.0,) if is_pretrained else ()) + SHARES
    base = _APPLIED if is_pretrained else 0.0
    applied = _seconds_without_steps(plan, whole)
    return [
        Rung(
            seconds=applied + (whole - applied) * share,
            gain=work.voxels * (base + (1 - base) * _grown(share, growth)),
            share=share,
            words="" if share == 1 else f"{_count(steps, share)} of {steps} steps" if share else "no steps of its own",
        )
        for share in shares
    ]


def _grown(share: float, growth: Sequence[float] | None) -> float:
    if growth is not None:
        known = dict(zip((0.0, *SHARES), (0.0, *growth), strict=True))
        return known[share]
    return (1 - math.exp(-_SATURATION * share)) / (1 - math.exp(-_SATURATION))


def _steps(entry: Entry) -> int:
    return entry.method.budget


def _count(steps: int, share: float) -> int:
    return max(1, round(steps * share)) if share else 0


def _seconds_without_steps(plan: RestorationPlan, whole: float) -> float:
    """Return the part of the seconds that one look at every tile takes: one pass of all that are made."""
    steps = _steps(plan.entry)
    if plan.scope == "tile":
        return whole / (1 + 3 * steps)
    # Learning on samples costs the same however large the volume is: the rest is looking.
    sampled = plan.samples.batch * math.prod(plan.samples.extent) * plan.source.shape[1]
    looked = math.prod(plan.source.shape) * (1 + 3 * plan.tile_steps)
    return whole * looked / (looked + 3 * sampled * steps)


def degraded(plan: RestorationPlan, rung: Rung) -> RestorationPlan:
    """Return the plan with fewer steps, saying so."""
    if not rung.words:
        return plan
    steps = _count(_steps(plan.entry), rung.share)
    content = plan.model_dump(mode="json")
    content["overrides"] = {**plan.overrides, "stop.steps": steps}
    content["why"] = f"{plan.why}; {_MARK}{rung.words}"
    return RestorationPlan.of(content)


def left_out(plan: RestorationPlan) -> str:
    """Return what a plan that was made earlier leaves out for want of time; empty where nothing is."""
    return plan.why.rpartition(_MARK)[2] if _MARK in plan.why else ""


def scaled(ladder: Sequence[Rung], ratio: float) -> list[Rung]:
    """Return the ladder of a scan that is alike and `ratio` times as large, which nobody has planned yet."""
    return [replace(rung, seconds=rung.seconds * ratio, gain=rung.gain * ratio) for rung in ladder]
