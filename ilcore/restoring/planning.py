"""From a source and a wish to a plan: look at samples, choose, cut, freeze."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch

from ilcore.adapting.weights import SHIPPED, load_denoiser, sha256_of
from ilcore.degradations.estimate import Preflight, preflight
from ilcore.grammar.errors import BadInput, BadVolume
from ilcore.grammar.problem import Problem
from ilcore.grammar.region import size
from ilcore.methods.catalogue import COPY, find
from ilcore.methods.entry import Entry, Scalar, configure
from ilcore.restoring.channels import believed, channel_plans, live_channels
from ilcore.restoring.choose import Choice, asked_for, choose, is_worth_trying
from ilcore.restoring.depth import Depth, depth_wanted, length_of, stacked
from ilcore.restoring.plan import (
    Five,
    GridPlan,
    RestorationPlan,
    SamplesPlan,
    SourcePlan,
    Task,
    Three,
    WeightsPlan,
)  # fmt: skip
from ilcore.restoring.planes import plane_brightness, words_of
from ilcore.restoring.probing import estimated_risks
from ilcore.restoring.sampling import looks, sampled
from ilcore.restoring.two_values import check_is_no_mask
from ilcore.restoring.workspace import Workspace
from ilcore.tiling.grid import Along, balanced_core
from ilcore.volumes.destination import check_destination
from ilcore.volumes.layout import ResultFormat
from ilcore.volumes.marks import Mark
from ilcore.volumes.masks import with_holes_told
from ilcore.volumes.part import open_part, plain_roi
from ilcore.volumes.volume import Volume

__all__ = ["Wishes", "looks", "plan_restoration", "plan_volume"]

#: Tiles up to which each is a unit of work of its own, and units of work that a run has at most.
_MANY, _UNITS = 64, 16_384


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

    def open(self, source: str) -> Volume:
        """Open what of a source is wanted.

        Raises:
            BadInput: When there is no such volume, level, image or region.
        """
        volume = open_part(
            source, axes=self.axes, level=self.level, missing=self.missing, image=self.image, roi=self.roi
        )
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
    volume = with_holes_told(wishes.open(source))
    # Whether an earlier result may be replaced is asked when the plan is carried out.
    check_destination(target, source, overwrite=True)
    samples = sampled(volume, wishes.seed, is_any=wishes.task == "copy")
    if wishes.task == "denoise":
        check_is_no_mask(samples, volume)
    found = believed(preflight(samples, volume.dtype), wishes.noise_std)
    channels = channel_plans(samples, found, volume)
    live = live_channels(found, channels)
    depth = depth_wanted(wishes.depth, volume.shape, needs_stack="stack" in _needs(wishes))
    planes = None if wishes.per_plane is None else plane_brightness(volume, channels, wishes.per_plane)
    risks: Mapping[str, float] = {}
    if wishes.method is None and wishes.task == "denoise" and is_worth_trying(live):
        space = 3 if depth == "z" else 2
        risks = estimated_risks(samples, channels, space=space, seed=wishes.seed)
    choice = _choice(live, risks, wishes)
    weights = _weights(choice, wishes)
    entry = _entry(choice, weights)
    plan = RestorationPlan.of(
        {
            "source": _source(source, volume, wishes),
            "target": str(Workspace.of(target).target),
            "result_format": wishes.result_format,
            "task": wishes.task,
            "method": choice.method,
            "scope": choice.scope,
            "overrides": dict(choice.overrides),
            "tile_steps": _tile_steps(entry, choice, wishes),
            "why": choice.why if planes is None else f"{choice.why}; {words_of(planes)}",
            "seed": wishes.seed,
            "depth": depth,
            "grid": _grid(entry, _Cut(volume.shape, depth), choice.scope, wishes.tile),
            "channels": channels,
            "planes": planes,
            "weights": weights,
            "samples": _samples(entry, _Cut(volume.shape, depth)),
            "gate": dict(wishes.gate),
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


def _choice(found: Preflight, risks: Mapping[str, float], wishes: Wishes) -> Choice:
    if wishes.task == "copy":
        return Choice(method=COPY, scope="tile", why="copied unchanged, as was asked for")
    choice = choose(found, task=wishes.task, risks=risks)
    if wishes.method is not None and wishes.method != choice.method:
        entry = find(wishes.method)
        choice = Choice(method=entry.name, scope=entry.usual_scope, why=asked_for(entry, found))
    merged = {**choice.overrides, **{_full(name): value for name, value in wishes.overrides.items()}}
    return replace(choice, scope=wishes.scope or choice.scope, overrides=merged)


def _full(name: str) -> str:
    return "stop.steps" if name == "steps" else name


def _weights(choice: Choice, wishes: Wishes) -> WeightsPlan | None:
    if "weights" not in find(choice.method).needs:
        if wishes.weights:
            raise BadInput(f"weights serve methods that start pretrained, got {choice.method}; leave them out")
        return None
    path = Path(wishes.weights) if wishes.weights else SHIPPED
    digest = sha256_of(path)
    return WeightsPlan(uri=wishes.weights_uri or wishes.weights or "shipped", path=str(path.resolve()), sha256=digest)


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
        has_mask=volume.mask is not None, remarks=volume.remarks,
    )  # fmt: skip


def _tile_steps(entry: Entry, choice: Choice, wishes: Wishes) -> int:
    if choice.scope == "tile":
        return 0
    return entry.tile_steps if wishes.tile_steps is None else wishes.tile_steps


@dataclass(frozen=True)
class _Cut:
    """A volume's shape, t c z y x, and which of its axes a method sees as depth."""

    shape: Five
    depth: Depth

    @property
    def lengths(self) -> Three:
        """Return how many voxels there are along depth, y and x."""
        return _of_axes((length_of(self.depth, self.shape), *self.shape[3:]))

    @property
    def space(self) -> int:
        """Return 3 where a method sees more than one plane at a time, else 2."""
        return 3 if self.lengths[0] > 1 else 2


def _grid(entry: Entry, cut: _Cut, scope: str, core: Three | None) -> GridPlan:
    """Cut for the method: large tiles where a model is only applied, smaller ones where each tile learns."""
    halo, align = _three(entry.halo(cut.space), 0), _three(entry.align(cut.space), 1)
    flat = halo[0] == 0
    learns = scope == "tile" or entry.tile_steps > 0
    wanted: Three = core or ((8 if flat else 16), *((128, 128) if learns and cut.space == 2 else _sides(learns, flat)))
    cores = _of_axes(
        balanced_core(length, min(side, max(length, step)), step)
        for length, side, step in zip(cut.lengths, wanted, align, strict=True)
    )
    overlap = _of_axes(
        min(reach, side // 2) // step * step
        for reach, side, step in zip((0 if flat else 2, 8, 8), cores, align, strict=True)
    )
    tiles = math.prod(-(-n // side) for n, side in zip(cut.lengths, cores, strict=True))
    unit = _unit(tiles * cut.shape[0] * cut.shape[2] // cut.lengths[0])
    if cut.depth == "z":
        return GridPlan(core=cores, overlap=overlap, halo=halo, align=align, unit=unit)
    # What the method sees as depth is time, or nothing: along z every plane is a tile.
    flat_cut = {
        name: (number, *values[1:])
        for name, number, values in (
            ("core", 1, cores),
            ("overlap", 0, overlap),
            ("halo", 0, halo),
            ("align", 1, align),
        )
    }
    time = Along(cores[0], overlap[0], halo[0], align[0]) if cut.depth == "t" else Along()
    return GridPlan(**flat_cut, unit=unit, time=time)


def _unit(tiles: int) -> Three:
    """Return the tiles of one unit of work: one by one, until there are so many that keeping books costs."""
    if tiles <= _MANY:
        return (1, 1, 1)
    side = 2
    while tiles / side**2 > _UNITS:
        side *= 2
    return (1, side, side)


def _sides(learns: bool, flat: bool) -> tuple[int, int]:
    if not learns:
        return (256, 256) if flat else (128, 128)
    return (128, 128) if flat else (64, 64)


def _samples(entry: Entry, cut: _Cut) -> SamplesPlan:
    flat = _three(entry.halo(cut.space), 0)[0] == 0
    wanted = (1 if flat else 8, 96, 96)
    extent = _of_axes(min(n, m) for n, m in zip(cut.lengths, wanted, strict=True))
    return SamplesPlan(count=24 if flat else 12, extent=extent, batch=4)


def _three(values: Sequence[int], filler: int) -> Three:
    return _of_axes((*(filler,) * (3 - len(values)), *values))


def _of_axes(values: Any) -> Three:
    z, y, x = (int(value) for value in values)
    return (z, y, x)
