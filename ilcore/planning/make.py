"""From a source and a wish to a plan: look at samples, choose, cut, freeze."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from ilcore.adapting.weights import SHIPPED, load_denoiser, sha256_of
from ilcore.degradations.estimate import Preflight, preflight
from ilcore.degradations.stripes import Direction
from ilcore.formats.roi import open_part, plain_roi
from ilcore.grammar.errors import BadInput, BadVolume
from ilcore.grammar.problem import Problem
from ilcore.grammar.region import size
from ilcore.grammar.telling import tell
from ilcore.methods.catalogue import COPY, find
from ilcore.methods.entry import Entry, Scalar, configure, full_name
from ilcore.planning.channels import channel_plans
from ilcore.planning.choose import Choice, Expected, Prefer, asked_for, choose
from ilcore.planning.cutting import Cut, grid_for, samples_for
from ilcore.planning.depth import Depth, depth_wanted, stacked
from ilcore.planning.known import believed, live_channels
from ilcore.planning.plan import ChannelPlan, ExpectedPlan, RestorationPlan, SourcePlan, Task, Three, WeightsPlan
from ilcore.planning.planes import plane_brightness, words_of
from ilcore.planning.probing import Promises, promised
from ilcore.planning.sampling import looks, sampled
from ilcore.planning.second_opinion import with_second_opinion
from ilcore.planning.striping import destriped, stripes_in
from ilcore.planning.striping import words_of as words_of_stripes
from ilcore.planning.two_values import check_is_no_mask
from ilcore.results.destination import check_destination, place_of_result
from ilcore.results.layout import ResultFormat
from ilcore.results.masks import with_holes_told
from ilcore.volumes.marks import Mark
from ilcore.volumes.volume import Volume

#: Stages of planning that are told.
STAGES = 4

__all__ = ["Wishes", "looks", "plan_restoration", "plan_volume"]


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """What the user asked for; everything else is chosen.

    Args:
        method: Name in the catalogue; None chooses.
        scope: tile or volume; None takes what suits the method.
        task: denoise, inpaint, or copy: pass it through unchanged.
        noise_std: Noise that the user knows, in the units of the source; None estimates it.
        seed: Seed of every draw.
        overrides: Knobs of the method.
        tile: Core of a tile, (z, y, x).
        tile_steps: Steps on every tile after a model of the volume; None takes what the method needs.
        weights: Path of pretrained weights; None takes the shipped ones.
        weights_uri: Where they came from, for the record.
        missing: Value that means "no data".
        axes: Names of the axes of the source, where it does not say.
        level: Level of a multiscale source.
        image: Which image, where the source holds several.
        roi: Region of that level, such as "y=0:512,x=256:768"; None for all of it.
        depth: Axis that the method sees as depth: z, t, or none (each plane alone); None takes z where there are
            planes, else t where the method cannot do without neighbours.
        per_plane: Axis, t or z, along which each plane is divided by its own brightness; None for one normalisation.
        result_format: What the result is written as.
        gate: Check of the QA gate -> range outside of which a result is refused, where it is not to be the usual one.
        prefer: How time is weighed against quality where the method is chosen.
        hours: Of one core that there are for the volume; a method that takes longer is not chosen. None for no limit.
        roots: Folders that links and names in the metadata of the source may lead to; none for its own.
    """

    method: str | None = None
    scope: Literal["tile", "volume"] | None = None
    task: Task = "denoise"
    noise_std: float | None = None
    seed: int = 0
    overrides: Mapping[str, Scalar] = field(default_factory=dict)
    tile: Three | None = None
    tile_steps: int | None = None
    weights: str | None = None
    weights_uri: str | None = None
    missing: Mark | None = None
    axes: str | None = None
    level: int = 0
    image: str | None = None
    roi: str | None = None
    depth: Depth | None = None
    per_plane: Literal["t", "z"] | None = None
    result_format: ResultFormat = "ome-zarr 0.5"
    gate: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    prefer: Prefer = "balance"
    hours: float | None = None
    roots: tuple[str, ...] = ()

    def open(self, source: str) -> Volume:
        """Open what of a source is wanted.

        Raises:
            BadInput: When there is no such volume, level, image or region.
        """
        volume = open_part(
            source, axes=self.axes, level=self.level, missing=self.missing, image=self.image, roi=self.roi,
            roots=self.roots,
        )  # fmt: skip
        check_kind(volume, self.task)
        return volume


def check_kind(volume: Volume, task: Task) -> None:
    """Refuse what measures nothing: there is no noise in it, and means of it have no meaning.

    Raises:
        BadVolume: For labels, masks and pictures of a palette, unless they are to be copied.
    """
    words = {
        "labels": "labels (numbers of classes or objects)", "mask": "a mask (yes or no)",
        "palette": "places in a table of colours",
    }  # fmt: skip
    if volume.kind != "image" and task != "copy":
        raise BadVolume(
            f"an image whose values measure something was wanted, {volume.name} holds {words[volume.kind]}; leave it "
            "out, or have it copied unchanged with task copy (--task copy)"
        )


def plan_restoration(source: str, target: str, **wishes: Any) -> RestorationPlan:
    """Look at a volume and return a plan for it; nothing is written.

    Args:
        source: Path or URL of the volume.
        target: Folder of the OME-Zarr to be made.
        wishes: Fields of `Wishes`.

    Raises:
        BadInput: When the source is no volume, the target cannot be one, or a wish cannot be met.
        CorruptData: When the source cannot be read to its end.
        DestinationError: When nothing can be written at the target.
    """
    return plan_volume(source, target, Wishes(**wishes))


def plan_volume(source: str, target: str, wishes: Wishes) -> RestorationPlan:
    """Return a plan for one volume; see `plan_restoration`."""
    _check(wishes)
    tell("stage: looking at the volume", number=1, total=STAGES)
    volume = with_holes_told(wishes.open(source))
    # Whether an earlier result may be replaced is asked when the plan is carried out.
    check_destination(target, source, overwrite=True)
    samples = sampled(volume, wishes.seed, is_any=wishes.task == "copy")
    if wishes.task == "denoise":
        check_is_no_mask(samples, volume)
    depth = depth_wanted(wishes.depth, volume.shape, needs_stack="stack" in _needs(wishes))
    cut = Cut(volume.shape, depth)
    tell("stage: measuring the noise", number=2, total=STAGES)
    stripes = _stripes(samples, wishes)
    seen = destriped(samples, stripes)
    found = believed(with_second_opinion(preflight(seen, volume.dtype), seen), wishes.noise_std)
    channels = channel_plans(samples, found, volume)
    live = live_channels(found, channels)
    planes = None if wishes.per_plane is None else plane_brightness(volume, channels, wishes.per_plane)
    tell("stage: choosing the method", number=3, total=STAGES)
    promises = _promises(_Seen(seen, channels, live), cut, wishes)
    choice = _choice(live, promises, wishes)
    tell(f"stage: writing the plan for {choice.method}", number=STAGES, total=STAGES)
    if choice.method == COPY:
        # What is kept is kept with its stripes.
        stripes = None
    why = [choice.why, *([words_of(planes)] if planes else []), *([words_of_stripes(stripes)] if stripes else [])]
    weights = None if choice.method == COPY else _weights(choice, wishes)
    entry = _entry(choice, weights)
    plan = RestorationPlan.of(
        {
            "source": _source(source, volume, wishes),
            "target": str(place_of_result(target)),
            "result_format": wishes.result_format,
            # Where there is nothing to restore, the source is kept.
            "task": "copy" if choice.method == COPY else wishes.task,
            "method": choice.method,
            "method_version": entry.version,
            "scope": choice.scope,
            "overrides": dict(choice.overrides),
            "tile_steps": _tile_steps(entry, choice, wishes),
            "why": "; ".join(why),
            "seed": wishes.seed,
            "depth": depth,
            "grid": grid_for(entry, cut, choice.scope, wishes.tile),
            "channels": channels,
            "planes": planes,
            "stripes": stripes,
            "weights": weights,
            "samples": samples_for(entry, cut),
            "gate": dict(wishes.gate),
            "expected": [_told(one) for one in promises.expected],
        }
    )
    _check_recipe(entry, plan)
    return plan


def _check(wishes: Wishes) -> None:
    wrong = []
    if wishes.noise_std is not None and not 0 < wishes.noise_std < np.inf:
        wrong.append(f"noise_std must be above 0 and finite, got {wishes.noise_std}; leave it out to have it estimated")
    if wishes.tile is not None and (len(wishes.tile) != 3 or min(wishes.tile) < 1):
        wrong.append(f"tile must be three lengths >= 1, z y x, got {wishes.tile}; leave it out to have it chosen")
    if wishes.hours is not None and not wishes.hours > 0:
        wrong.append(f"hours must be above 0, got {wishes.hours}; leave it out for no limit")
    if wishes.missing is not None and np.isinf(wishes.missing):
        wrong.append(f"missing must be a number, got {wishes.missing}; infinities are never data")
    wrong += [
        f"{name} must be >= 0, got {value}"
        for name, value in (("seed", wishes.seed), ("level", wishes.level), ("tile_steps", wishes.tile_steps or 0))
        if value < 0
    ]
    wrong += [
        f"{name} must be {' or '.join(words)}, got {value!r}"
        for name, value, words in (
            ("task", wishes.task, get_args(Task)), ("scope", wishes.scope or "tile", ("tile", "volume")),
            ("depth", wishes.depth or "z", get_args(Depth)), ("per_plane", wishes.per_plane or "z", ("t", "z")),
            ("result_format", wishes.result_format, get_args(ResultFormat)),
            ("prefer", wishes.prefer, get_args(Prefer)),
        )
        if value not in words
    ]  # fmt: skip
    if wrong:
        raise BadInput("; ".join(wrong))


def _check_recipe(entry: Entry, plan: RestorationPlan) -> None:
    """Refuse what the parts of the method say about this volume, before anything is written."""
    grid = plan.tile_grid
    smallest = size(grid.tile([length - 1 for length in grid.grid_shape]).read)
    seen = stacked(np.empty(smallest), plan.depth).shape
    observed = torch.zeros(1, *(seen if plan.space == 3 else (seen[0], *seen[2:])))
    noise = tuple(channel.noise for channel in plan.channels)
    entry.method.check(Problem(observed=observed, noise=noise, value_range=plan.value_range))


def _needs(wishes: Wishes) -> frozenset[str]:
    return frozenset() if wishes.method is None else find(wishes.method).needs


@dataclass(frozen=True)
class _Seen:
    """What was seen of a volume: samples, how they are normalised, what noise the channels that hold something have."""

    samples: Sequence[NDArray[Any]]
    channels: Sequence[ChannelPlan]
    live: Preflight


def _stripes(samples: Sequence[NDArray[Any]], wishes: Wishes) -> Direction | None:
    """Return what shares offsets; a method or a level that the user names stands for the scan as it is."""
    is_free = wishes.method is None and wishes.noise_std is None and wishes.task == "denoise"
    return stripes_in(samples) if is_free else None


def _promises(seen: _Seen, cut: Cut, wishes: Wishes) -> Promises:
    """Return what the candidates promise; nothing where the user named a method."""
    if wishes.method is not None or wishes.task != "denoise":
        return Promises()
    return promised(
        seen.samples, seen.channels, seen.live, space=3 if cut.depth == "z" else 2, seed=wishes.seed,
        megavoxels=math.prod(cut.shape) / 1e6, weights=Path(wishes.weights) if wishes.weights else None,
    )  # fmt: skip


def _told(one: Expected) -> ExpectedPlan:
    gain, hours = float(f"{one.gain_db:.3g}"), float(f"{one.hours:.3g}")
    return ExpectedPlan(name=one.name, gain_db=gain, core_hours=hours)


def _choice(found: Preflight, promises: Promises, wishes: Wishes) -> Choice:
    if wishes.task == "copy":
        return Choice(method=COPY, scope="tile", why="copied unchanged, as was asked for")
    choice = choose(
        found, task=wishes.task, expected=promises.expected, refused=promises.refused,
        noise_share=promises.noise_share, prefer=wishes.prefer, hours=wishes.hours,
    )  # fmt: skip
    if choice.method == COPY:
        # Scope, knobs and weights are for what restores.
        return choice
    if wishes.method is not None and wishes.method != choice.method:
        entry = find(wishes.method)
        choice = Choice(method=entry.name, scope=entry.usual_scope, why=asked_for(entry, found))
    merged = {**choice.overrides, **{full_name(knob): value for knob, value in wishes.overrides.items()}}
    return replace(choice, scope=wishes.scope or choice.scope, overrides=merged)


def _weights(choice: Choice, wishes: Wishes) -> WeightsPlan | None:
    if "weights" not in find(choice.method).needs:
        if wishes.weights:
            raise BadInput(f"weights serve methods that start pretrained, got {choice.method}; leave them out")
        return None
    path = Path(wishes.weights) if wishes.weights else choice.weights or SHIPPED
    digest, usual = sha256_of(path), "shipped" if path == SHIPPED else f"shipped {path.name}"
    return WeightsPlan(uri=wishes.weights_uri or wishes.weights or usual, path=str(path.resolve()), sha256=digest)


def _entry(choice: Choice, weights: WeightsPlan | None) -> Entry:
    entry = find(choice.method)
    if weights is not None:
        entry = entry.with_network(load_denoiser(Path(weights.path), weights.sha256)[0])
    fixed = [knob for knob in choice.overrides if weights is not None and knob.startswith("network.")]
    if fixed:
        raise BadInput(
            f"pretrained weights fit one network only, got overrides of it: {', '.join(fixed)}; leave them out"
        )
    return configure(entry, choice.overrides)


def _source(uri: str, volume: Volume, wishes: Wishes) -> SourcePlan:
    place = uri if "://" in uri else str(Path(uri).resolve())
    return SourcePlan(
        uri=place, digest=volume.digest(), axes=volume.axes, level=wishes.level, shape=volume.shape,
        dtype=volume.dtype.name, missing=volume.missing, image=wishes.image, roi=plain_roi(wishes.roi),
        has_mask=volume.mask is not None, roots=wishes.roots, remarks=volume.remarks,
    )  # fmt: skip


def _tile_steps(entry: Entry, choice: Choice, wishes: Wishes) -> int:
    if choice.scope == "tile":
        return 0
    return entry.tile_steps if wishes.tile_steps is None else wishes.tile_steps
