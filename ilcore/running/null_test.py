"""The null test of a run: noise of the measured law, and nothing else, through the same plan.

samples of the scan, smoothed ─> a dark, a middle and a bright level ─> noise on each ─> the method of the plan, its
weights, its knobs, its loop ─> whatever has a shape was invented

It costs a twentieth of the run at most: where even the smallest fields that tell anything would cost more, it is not
made, and says so.
"""

import io
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from ilcore.grammar.arrays import Streams
from ilcore.grammar.devices import make_repeatable
from ilcore.grammar.draws import knows_correlation, noise_on
from ilcore.grammar.errors import BadVolume, RecipeError
from ilcore.grammar.problem import Noise
from ilcore.grammar.region import region_of
from ilcore.planning.cutting import voxels_read
from ilcore.planning.plan import RestorationPlan, Three
from ilcore.qa.null import law_of, null_numbers, worst_channel
from ilcore.qa.verdict import NULL_LIMITS, Limit
from ilcore.running.attempts import WorkerContext, first_attempts
from ilcore.running.patches import Patch
from ilcore.running.run import Run
from ilcore.running.tile_record import STATUS
from ilcore.running.volume_model import sampled_patches
from ilcore.running.workspace import Workspace, write_text
from ilcore.stores.places import read_bytes, read_text, write_bytes
from ilcore.tiling.grid import Tile

#: Share of the work of a run that the fields may take.
_SHARE = 0.05
#: Until a GPU is full a small tile takes it as long as a larger one, of about so many voxels.
_FULL = 16_384
#: Levels of the fields, as quantiles of the smoothed scan; where three fields are too dear, the middle one.
_QUANTILES = (0.05, 0.5, 0.98)
#: Width in pixels of that smoothing.
_SMOOTH = 2.0
#: Largest side of a field, the least one of three, the least one of a single field, and the step between sides.
_SIDE, _LEAST_OF_THREE, _LEAST, _STEP = 96, 48, 40, 8
#: Planes that a field of a stack has at least.
_THIN = 4
#: Noise below this part of the value range is rounding, not noise.
_LEAST_STD = 0.002


@dataclass(frozen=True, kw_only=True)
class NullTest:
    """What was found, or why nothing was.

    Args:
        numbers: Check -> number; none where it was not made.
        laws: Check -> kind of noise whose limits hold.
        share: Of the work of the run that it took, counted in voxels.
        why_not: Why it was not made.
    """

    numbers: Mapping[str, float] = field(default_factory=dict)
    laws: Mapping[str, str] = field(default_factory=dict)
    share: float = 0.0
    why_not: str = ""

    @property
    def limits(self) -> dict[str, Limit]:
        """Return the limits that hold for the noise of the run."""
        return {check: NULL_LIMITS[law][check] for check, law in self.laws.items()}

    @property
    def notes(self) -> tuple[str, ...]:
        """Return what is to be told where it was not made."""
        return (f"null test not made: {self.why_not}",) if self.why_not else ()


@dataclass(frozen=True, kw_only=True)
class NullField:
    """One plane of noise on a level, and what the method made of it: both less the level, in noise std, [y, x]."""

    name: str
    seen: NDArray[np.float32]
    restored: NDArray[np.float32]


class _NotMade(Exception):
    """There is no null test, for the reason given."""


def make_null_test(run: Run, device: str = "cpu") -> NullTest:
    """Restore noise alone as the plan restores the scan, and keep what was found; at once where that is done already.

    Args:
        run: A run whose tiles are all restored.
        device: cpu or cuda.
    """
    earlier = null_test_before(run.workspace)
    if earlier is not None:
        return earlier
    try:
        found = _made(run, device)
    except _NotMade as reason:
        found = NullTest(why_not=str(reason))
    # Written last: what it says of the fields is true, or it is not there.
    write_text(run.workspace.null_test, json.dumps(asdict(found), indent=2))
    return found


def null_test_before(workspace: Workspace) -> NullTest | None:
    """Return what an earlier call found; None where there was none, as in runs of version 0.1, or it cannot be read."""
    try:
        return NullTest(**json.loads(read_text(workspace.null_test)))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def null_fields(workspace: Workspace) -> list[NullField]:
    """Return the fields of the first live channel, for pictures; none where the test was not made."""
    if not workspace.null_fields.exists():
        return []
    with np.load(io.BytesIO(read_bytes(workspace.null_fields))) as held:
        columns = zip(held["names"].tolist(), held["seen"], held["restored"], strict=True)
        return [NullField(name=name, seen=seen, restored=restored) for name, seen, restored in columns]


def _made(run: Run, device: str) -> NullTest:
    _check(run.plan)
    work = _Work.of(run, device)
    count, extent = work.fields(run.plan)
    make_repeatable(threads=1)
    bench = WorkerContext.of(run, device)
    fields = _Fields.of(run.plan, _levels(bench, count), extent)
    after = _through(bench, fields.seen)
    found = [
        (law_of(fields.noise[n]), null_numbers(fields.seen[:, n], after[:, n], fields.levels[:, n], fields.stds[:, n]))
        for n, channel in enumerate(run.plan.channels) if not channel.is_flat and _has_noise(channel.noise)
    ]  # fmt: skip
    worst = worst_channel(found)
    _keep(run.workspace, fields, after)
    return NullTest(
        numbers={check: number for check, (number, _) in worst.items()},
        laws={check: law for check, (_, law) in worst.items()},
        share=count * (after[0].size + work.beside) / work.done,
    )


@dataclass(frozen=True)
class _Fields:
    """Fields of noise as seen, [field, channel, depth, y, x], and their levels, [field, channel]."""

    plan: RestorationPlan
    seen: NDArray[np.float32]
    levels: NDArray[np.float64]

    @classmethod
    def of(cls, plan: RestorationPlan, levels: NDArray[np.float64], extent: Three) -> "_Fields":
        noise = [channel.noise for channel in plan.channels]
        flat = torch.from_numpy(levels[:, :, None, None, None]).expand(-1, -1, *extent)
        streams = Streams.of(plan.seed, "null test", [(number,) for number in range(len(levels))])
        return cls(plan, noise_on(flat, noise, streams).float().numpy(), levels)

    @property
    def noise(self) -> list[Noise]:
        return [channel.noise for channel in self.plan.channels]

    @property
    def stds(self) -> NDArray[np.float64]:
        variances = [one.variance(self.levels[:, number]) for number, one in enumerate(self.noise)]
        return np.maximum(np.sqrt(np.stack(variances, axis=1)), _LEAST_STD)


def _check(plan: RestorationPlan) -> None:
    noise = [channel.noise for channel in plan.channels if not channel.is_flat]
    if plan.task != "denoise":
        raise _NotMade(f"the task is {plan.task}, which is not to take noise away")
    if not any(_has_noise(one) for one in noise):
        raise _NotMade("no noise was found that could be drawn")
    if not all(knows_correlation(one) for one in noise):
        raise _NotMade("the noise of neighbours is correlated, and nobody measured how strongly")


def _has_noise(noise: Noise) -> bool:
    return noise.gain > 0 or noise.read_std > 0


@dataclass(frozen=True)
class _Work:
    """What a run did, and what a tile costs beside its voxels, both in voxels."""

    done: float
    beside: int

    @classmethod
    def of(cls, run: Run, device: str) -> "_Work":
        """Count the tiles that held something: nothing was done to the others."""
        grid, beside = run.grid, max(run.plan.entry.beside, _FULL if device.startswith("cuda") else 0)
        busy = float((run.ledger.read("status") != STATUS.index("empty")).mean())
        return cls(busy * (voxels_read(grid) + len(grid) * beside), beside)

    def fields(self, plan: RestorationPlan) -> tuple[int, Three]:
        """Return how many fields are affordable, and their size, (depth, y, x)."""
        depth, *sides = plan.samples.extent
        affordable, layers = int(_SHARE * self.done), min(depth, _THIN)
        for count, deep, least in ((len(_QUANTILES), depth, _LEAST_OF_THREE), (1, depth, _LEAST), (1, layers, _LEAST)):
            room = max(0, affordable // count - self.beside) // (deep * plan.source.shape[1])
            side = min(_SIDE, *sides, math.isqrt(room)) // _STEP * _STEP
            if side >= least:
                return count, (deep, side, side)
        if min(sides) < _LEAST:
            raise _NotMade(f"it wants fields of {_LEAST} x {_LEAST} pixels at least, the scan has planes of {sides}")
        share = (_LEAST**2 * layers * plan.source.shape[1] + self.beside) / max(self.done, 1)
        raise _NotMade(f"the smallest field would be {share:.0%} of the work of the run, {_SHARE:.0%} are allowed")


def _levels(bench: WorkerContext, count: int) -> NDArray[np.float64]:
    """Return levels of the scan as seen, [field, channel]."""
    try:
        frames = sampled_patches(bench.run.plan, bench.run.source)
    except BadVolume as error:
        raise _NotMade("the scan holds nothing that a level could be taken from") from error
    found = np.empty((count, len(bench.run.plan.channels)))
    for number in range(found.shape[1]):
        smooth = [ndimage.gaussian_filter(frame.seen[number], (0, _SMOOTH, _SMOOTH)) for frame in frames]
        known = [values[frame.trusted[number]] for values, frame in zip(smooth, frames, strict=True)]
        values = np.concatenate(known).astype(np.float64)
        quantiles = _QUANTILES if count > 1 else (0.5,)
        found[:, number] = np.quantile(values, quantiles) if values.size else 0.0
    return found


def _through(bench: WorkerContext, fields: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return what the method of the plan makes of fields, as if they were tiles of the scan."""
    nowhere = region_of([(0, 0)] * 5)
    frames = [
        Patch(seen, np.ones(seen.shape, bool), seen, np.ones((*seen.shape[:2], 1, 1)), np.zeros_like(seen))
        for seen in fields
    ]
    # Numbers that no tile has, so that none shares a draw with them.
    tiles = [Tile((-1, 0, 0, number), nowhere, nowhere, nowhere) for number in range(len(frames))]
    try:
        attempts = first_attempts(bench, tiles, frames)
    except (RecipeError, RuntimeError, ValueError) as error:
        # The scan is restored by now: that is not to be lost.
        raise _NotMade(f"the method cannot restore noise alone: {error}") from error
    if spoilt := [attempt.reason for attempt in attempts if attempt.is_spoilt]:
        raise _NotMade(f"noise alone brought the method to an end ({spoilt[0]})")
    images = np.stack([attempt.image for attempt in attempts]).astype(np.float64)
    if not np.isfinite(images).all():
        raise _NotMade("what the method made of noise alone is no number everywhere")
    return images


def _keep(workspace: Workspace, fields: _Fields, after: NDArray[np.float64]) -> None:
    """Store the middle planes of the first channel that holds something, for the report."""
    number, channel = next((n, c) for n, c in enumerate(fields.plan.channels) if not c.is_flat and _has_noise(c.noise))
    place = (slice(None), number, None, None)
    seen, restored = (
        ((values[:, number, values.shape[2] // 2] - fields.levels[place]) / fields.stds[place]).astype(np.float32)
        for values in (fields.seen, after)
    )
    names = [f"level {channel.low + level * (channel.high - channel.low):.4g}" for level in fields.levels[:, number]]
    held = io.BytesIO()
    np.savez_compressed(held, names=np.array(names), seen=seen, restored=restored)
    write_bytes(workspace.null_fields, held.getvalue())
