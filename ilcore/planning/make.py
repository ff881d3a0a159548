"""From a source and what is asked of it to a plan: look at samples, choose, cut, freeze."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ilcore.adapting.weights import SHIPPED, load_denoiser, sha256_of
from ilcore.aims.aim import Aim, Findings, OperatorOptions
from ilcore.aims.choosing import Choice, Expected, asked_for
from ilcore.aims.ratios import whole
from ilcore.aims.registry import aim_for
from ilcore.aims.result_face import result_face
from ilcore.aims.superres import USUAL_PSF, Superres
from ilcore.aims.words import Task
from ilcore.degradations.estimate import Preflight, preflight
from ilcore.degradations.stripes import Direction
from ilcore.formats.roi import open_roi, plain_roi
from ilcore.grammar.errors import BadInput, BadVolume
from ilcore.grammar.layers import Layer, LayerName, layers_of
from ilcore.grammar.problem import Problem
from ilcore.grammar.region import size
from ilcore.grammar.telling import tell
from ilcore.methods.catalogue import COPY, find
from ilcore.methods.entry import Entry, configure, full_name
from ilcore.planning.channels import channel_plans
from ilcore.planning.cutting import Cut, grid_for, samples_for
from ilcore.planning.depth import depth_wanted, stacked
from ilcore.planning.known import believed, live_channels
from ilcore.planning.layers import check_spread, layers_wanted
from ilcore.planning.options import RestoreOptions
from ilcore.planning.plan import ChannelPlan, ExpectedPlan, PlanesPlan, RestorationPlan, SourcePlan, Three, WeightsPlan
from ilcore.planning.planes import plane_brightness, words_of
from ilcore.planning.probing import Promises, promised
from ilcore.planning.sampling import sampled
from ilcore.planning.second_opinion import with_second_opinion
from ilcore.planning.striping import destriped, stripes_in
from ilcore.planning.striping import words_of as words_of_stripes
from ilcore.planning.two_values import check_is_no_mask
from ilcore.results.destination import check_destination, place_of_result
from ilcore.results.masks import with_holes_told
from ilcore.volumes.volume import Volume

#: Stages of planning that are told.
STAGES = 4


def opened(source: str, options: RestoreOptions) -> Volume:
    """Open what of a source is wanted.

    Raises:
        BadInput: When there is no such volume, level, image or region.
    """
    volume = open_roi(
        source, axes=options.axes, level=options.level, missing=options.missing, image=options.image, roi=options.roi,
        roots=options.roots,
    )  # fmt: skip
    check_kind(volume, options.task)
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


def plan_restoration(source: str, target: str, **options: Any) -> RestorationPlan:
    """Look at a volume and return a plan for it; nothing is written.

    Args:
        source: Path or URL of the volume.
        target: Folder of the OME-Zarr to be made.
        options: Fields of `RestoreOptions`.

    Raises:
        BadInput: When the source is no volume, the target cannot be one, or a wish cannot be met.
        CorruptData: When the source cannot be read to its end.
        DestinationError: When nothing can be written at the target.
    """
    return plan_volume(source, target, RestoreOptions.of(options))


def plan_volume(source: str, target: str, options: RestoreOptions) -> RestorationPlan:
    """Return a plan for one volume; see `plan_restoration`."""
    tell("stage: looking at the volume", number=1, total=STAGES)
    volume = with_holes_told(opened(source, options))
    # Whether an earlier result may be replaced is asked when the plan is carried out.
    check_destination(target, source, overwrite=True)
    samples = sampled(volume, options.seed, is_any=options.task == "copy")
    if options.task in ("denoise", "superres"):
        check_is_no_mask(samples, volume)
    cut = Cut(volume.shape, depth_wanted(options.depth, volume.shape, needs_stack="stack" in _needs(options)))
    asked = _asked(options, volume, cut)
    tell("stage: measuring the noise", number=2, total=STAGES)
    seen = _seen(samples, volume, options)
    planes = None if options.per_plane is None else plane_brightness(volume, seen.channels, options.per_plane)
    tell("stage: choosing the method", number=3, total=STAGES)
    promises = _promises(seen, cut, options)
    choice = _choice(seen.live, promises, options, asked.aim)
    tell(f"stage: writing the plan for {choice.method}", number=STAGES, total=STAGES)
    draft = _Draft(options, cut, asked, seen, planes, promises, choice)
    plan = RestorationPlan.of({"target": str(place_of_result(target)), **draft.content(source, volume)})
    _check_recipe(draft.entry, plan)
    return plan


@dataclass(frozen=True)
class _Draft:
    """All that was found out and decided of a volume, before it is a plan."""

    options: RestoreOptions
    cut: Cut
    asked: "_Finer"
    seen: "_Seen"
    planes: PlanesPlan | None
    promises: Promises
    choice: Choice

    @cached_property
    def weights(self) -> WeightsPlan | None:
        return None if self.choice.method == COPY else _weights(self.choice, self.options)

    @cached_property
    def entry(self) -> Entry:
        return _entry(self.choice, self.weights)

    @property
    def stripes(self) -> Direction | None:
        # What is kept is kept with its stripes.
        return None if self.choice.method == COPY else self.seen.stripes

    def layers(self, volume: Volume) -> tuple[LayerName, ...]:
        """Return what is written beside the image."""
        options, choice = self.options, self.choice
        wanted = layers_wanted(options.layers, self.asked.aim, volume)
        if wanted and options.task == "copy":
            raise BadInput(f"layers tell of what was restored, got {', '.join(wanted)} for task copy; leave them out")
        if choice.method == COPY:
            return ()
        if "spread" in wanted:
            is_alone = choice.scope == "tile"
            check_spread(self.entry, self.entry.method.budget if is_alone else _tile_steps(self.entry, choice, options))
        return wanted

    @property
    def why(self) -> str:
        told = [words_of(self.planes)] if self.planes else []
        told += [words_of_stripes(self.stripes)] if self.stripes else []
        if self.choice.method == COPY and set(self.options.layers) - {"none"}:
            told += ["no layer is written, for nothing is restored"]
        return "; ".join([self.choice.why, *told])

    def content(self, source: str, volume: Volume) -> dict[str, Any]:
        """Return what the plan says."""
        options, choice, cut, entry = self.options, self.choice, self.cut, self.entry
        return {
            "source": _source(source, volume, options),
            "result_format": options.result_format,
            # Where there is nothing to restore, the source is kept.
            "task": "copy" if choice.method == COPY else options.task,
            "factors": self.asked.factors,
            "psf": self.asked.psf,
            "method": choice.method,
            "method_version": entry.version,
            "scope": choice.scope,
            "overrides": dict(choice.overrides),
            "tile_steps": _tile_steps(entry, choice, options),
            "why": self.why,
            "seed": options.seed,
            "depth": cut.depth,
            "grid": grid_for(entry, cut, choice.scope, options.tile, options.cut_for, self.asked.rim),
            "channels": self.seen.channels,
            "planes": self.planes,
            "stripes": self.stripes,
            "layers": self.layers(volume),
            "weights": self.weights,
            "samples": samples_for(entry, cut),
            "gate": dict(options.gate),
            "expected": [_told(one) for one in self.promises.expected],
        }


@dataclass(frozen=True)
class _Finer:
    """What is asked of the grid of the result: by how much it is finer, through what, and how far that sees."""

    aim: Aim
    factors: Three = (1, 1, 1)
    psf: str = ""
    rim: Three = (0, 0, 0)


def _asked(options: RestoreOptions, volume: Volume, cut: Cut) -> _Finer:
    """Return what is asked of the grid of the result.

    Raises:
        BadInput: When there is no such result of this volume.
    """
    if options.task == "copy":
        return _Finer(aim_for("denoise"))
    aim = aim_for(options.task, scale=options.scale, space=cut.space)
    if options.psf is not None and not isinstance(aim, Superres):
        raise BadInput(f"a point spread function serves superres, got task {options.task}; leave it out")
    if not isinstance(aim, Superres):
        return _Finer(aim)
    if cut.depth == "t":
        raise BadInput("a finer result of frames that are context for each other was asked for; take depth none")
    psf = options.psf or USUAL_PSF
    operator = aim.operator(OperatorOptions(psf=psf, space=cut.space), volume)
    z, y, x = whole(aim.factors(volume))
    rim = operator.rim(cut.space)
    return _Finer(aim, (z, y, x), psf, (0, *rim) if cut.space == 2 else rim)  # type: ignore[arg-type]


def face_of_result(volume: Volume, options: RestoreOptions) -> Volume:
    """Return what a result of a volume would be, its voxels aside.

    Raises:
        BadInput: When there is no such result of this volume.
    """
    cut = Cut(volume.shape, depth_wanted(options.depth, volume.shape, needs_stack="stack" in _needs(options)))
    return result_face(volume, _asked(options, volume, cut).factors)


def layers_of_result(volume: Volume, options: RestoreOptions) -> tuple[Layer, ...]:
    """Return the layers that a result of a volume would have.

    Raises:
        BadInput: When it can have no such layers.
    """
    if options.task == "copy":
        return ()
    aim = aim_for(options.task, scale=options.scale, space=3 if volume.shape[2] > 1 else 2)
    return layers_of(layers_wanted(options.layers, aim, volume))


def _check_recipe(entry: Entry, plan: RestorationPlan) -> None:
    """Refuse what the parts of the method say about this volume, before anything is written."""
    grid = plan.tile_grid
    smallest = size(grid.tile([length - 1 for length in grid.grid_shape]).read)
    seen = stacked(np.empty(smallest), plan.depth).shape
    observed = torch.zeros(1, *(seen if plan.space == 3 else (seen[0], *seen[2:])))
    noise = tuple(channel.noise for channel in plan.channels)
    entry.method.check(Problem(observed=observed, noise=noise, operator=plan.operator, value_range=plan.value_range))


def _needs(options: RestoreOptions) -> frozenset[str]:
    return frozenset() if options.method is None else find(options.method).needs


@dataclass(frozen=True)
class _Seen:
    """What was seen of a volume.

    Args:
        samples: Less what stripes share.
        channels: How they are normalised.
        live: The noise of the channels that hold something.
        stripes: What shares offsets.
    """

    samples: Sequence[NDArray[Any]]
    channels: Sequence[ChannelPlan]
    live: Preflight
    stripes: Direction | None


def _seen(samples: Sequence[NDArray[Any]], volume: Volume, options: RestoreOptions) -> _Seen:
    stripes = _stripes(samples, options)
    shown = destriped(samples, stripes)
    found = believed(with_second_opinion(preflight(shown, volume.dtype), shown), options.noise_std)
    channels = channel_plans(samples, found, volume)
    return _Seen(shown, channels, live_channels(found, channels), stripes)


def _stripes(samples: Sequence[NDArray[Any]], options: RestoreOptions) -> Direction | None:
    """Return what shares offsets; a method or a level that the user names stands for the scan as it is."""
    is_free = options.method is None and options.noise_std is None and options.task == "denoise"
    return stripes_in(samples) if is_free else None


def _promises(seen: _Seen, cut: Cut, options: RestoreOptions) -> Promises:
    """Return what the candidates promise; nothing where the user named a method."""
    if options.method is not None or options.task != "denoise":
        return Promises()
    return promised(
        seen.samples, seen.channels, seen.live, space=3 if cut.depth == "z" else 2, seed=options.seed,
        megavoxels=math.prod(cut.shape) / 1e6, weights=Path(options.weights) if options.weights else None,
    )  # fmt: skip


def _told(one: Expected) -> ExpectedPlan:
    gain, hours = float(f"{one.gain_db:.3g}"), float(f"{one.hours:.3g}")
    return ExpectedPlan(name=one.name, gain_db=gain, core_hours=hours)


def _choice(found: Preflight, promises: Promises, options: RestoreOptions, aim: Aim) -> Choice:
    if options.task == "copy":
        return Choice(method=COPY, scope="tile", why="copied unchanged, as was asked for")
    findings = Findings(
        preflight=found, expected=promises.expected, refused=promises.refused, noise_share=promises.noise_share,
        prefer=options.prefer, hours=options.hours,
    )  # fmt: skip
    choice = aim.choose(findings)
    if choice.method == COPY:
        # Scope, knobs and weights are for what restores.
        return choice
    if options.method is not None and options.method != choice.method:
        entry = find(options.method)
        aim.check(entry)
        choice = Choice(method=entry.name, scope=entry.usual_scope, why=asked_for(entry, found))
    merged = {**choice.overrides, **{full_name(knob): value for knob, value in options.overrides.items()}}
    return replace(choice, scope=options.scope or choice.scope, overrides=merged)


def _weights(choice: Choice, options: RestoreOptions) -> WeightsPlan | None:
    if "weights" not in find(choice.method).needs:
        if options.weights:
            raise BadInput(f"weights serve methods that start pretrained, got {choice.method}; leave them out")
        return None
    path = Path(options.weights) if options.weights else choice.weights or SHIPPED
    digest, usual = sha256_of(path), "shipped" if path == SHIPPED else f"shipped {path.name}"
    return WeightsPlan(uri=options.weights_uri or options.weights or usual, path=str(path.resolve()), sha256=digest)


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


def _source(uri: str, volume: Volume, options: RestoreOptions) -> SourcePlan:
    place = uri if "://" in uri else str(Path(uri).resolve())
    return SourcePlan(
        uri=place, digest=volume.digest(), axes=volume.axes, level=options.level, shape=volume.shape,
        dtype=volume.dtype.name, missing=volume.missing, image=options.image, roi=plain_roi(options.roi),
        has_mask=volume.mask is not None, roots=options.roots, remarks=volume.remarks,
    )  # fmt: skip


def _tile_steps(entry: Entry, choice: Choice, options: RestoreOptions) -> int:
    if choice.scope == "tile":
        return 0
    return entry.tile_steps if options.tile_steps is None else options.tile_steps
