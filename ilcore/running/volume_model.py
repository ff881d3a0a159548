"""One model for the whole volume, learnt from sampled tiles; and the weights every tile starts from."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path

import numpy as np

from ilcore import fit
from ilcore.adapting.weights import load_denoiser, load_weights, save_weights
from ilcore.grammar.arrays import Streams, Weights
from ilcore.grammar.commands import command
from ilcore.grammar.devices import computing_on, make_repeatable
from ilcore.grammar.errors import BadVolume, CorruptData
from ilcore.grammar.region import Region, blocks, region_of
from ilcore.methods.catalogue import find
from ilcore.methods.entry import Entry, configure
from ilcore.networks.plain import Plain
from ilcore.planning.plan import Five, RestorationPlan
from ilcore.running.patches import Patch, patch_of, problem_of
from ilcore.running.run import Run
from ilcore.running.workspace import Workspace
from ilcore.stores.places import at_hand, make_folder, put_by, read_text, store_of, write_bytes, write_text
from ilcore.stores.store import Place
from ilcore.volumes.volume import Volume

#: Learning on the volume always uses so many threads: another number would change the last bits of the weights.
THREADS = 1
#: Draws per sample until one is found that is not empty.
_DRAWS = 8


@dataclass(frozen=True)
class LearntModel:
    """What learning on the volume led to.

    Args:
        path: Weights file, or None where every tile learns alone or takes the pretrained weights.
        sha256: Its hash.
        steps: Updates made.
        reason: Why it ended, in words.
        has_diverged: Whether learning left the finite numbers, so that there is nothing to judge.
        risk_before: Held-out risk of the start, normalised units squared, where the method has one.
        risk: The same of the model kept.
        curve: Loss curve.
    """

    path: str | None
    sha256: str | None = None
    steps: int = 0
    reason: str = "not asked for"
    risk_before: float | None = None
    risk: float | None = None
    curve: tuple[tuple[int, float], ...] = ()
    has_diverged: bool = False


def check_start_weights(plan: RestorationPlan) -> None:
    """Read the pretrained weights of a plan, if it has any.

    Raises:
        BadWeights: When they are missing, or not the ones of the plan.
    """
    if plan.weights is not None:
        load_denoiser(Path(plan.weights.path), plan.weights.sha256)


def keep_start_weights(run: Run) -> Place | None:
    """Copy the pretrained weights beside the target, so that the run can be repeated when the original is gone.

    Raises:
        BadWeights: When they are not the ones of the plan.
    """
    if run.plan.weights is None:
        return None
    kept = run.workspace.weights / ("start" + Path(run.plan.weights.path).suffix)
    if not kept.exists():
        load_weights(Path(run.plan.weights.path), run.plan.weights.sha256)
        make_folder(run.workspace.weights)
        write_bytes(kept, Path(run.plan.weights.path).read_bytes())
    return kept


def start_of(run: Run) -> tuple[Entry, Weights | None]:
    """Return the configured method, on the network of the pretrained weights, and those weights.

    Raises:
        BadWeights: When they are not the ones of the plan.
    """
    if run.plan.weights is None:
        return run.plan.entry, None
    kept = run.workspace.weights / ("start" + Path(run.plan.weights.path).suffix)
    network, weights = _start_held(kept, run.plan.weights.sha256, store_of(kept).stamp(kept))
    return configure(find(run.plan.method).with_network(network), run.plan.overrides), _copied(weights)


def model_path(workspace: Workspace) -> Place:
    """Return where the model of the volume lies."""
    return workspace.weights / "volume.safetensors"


def learn_volume_model(run: Run, device: str = "cpu") -> LearntModel:
    """Learn one model from samples of the volume and store it beside the target; at once where that is done already.

    The same plan gives the same weights. With a budget of 0 steps nothing is learnt.

    Raises:
        BadVolume: When every sample is empty.
        BadWeights: When the pretrained weights are not the ones of the plan, or the stored model was changed.
    """
    earlier = learnt_before(run.workspace)
    if earlier is not None:
        if earlier.path is not None:
            learnt_weights(run.workspace, earlier)
        return earlier
    entry, start = start_of(run)
    if run.plan.scope == "tile" or (start is not None and entry.method.budget == 0):
        return LearntModel(None)
    make_folder(run.workspace.weights)
    learnt = _learn(run, entry, start, model_path(run.workspace), device)
    # Written last: what it says of the weights is true, or it is not there.
    write_text(_notes_path(run.workspace), json.dumps(asdict(learnt), indent=2))
    return learnt


def learnt_before(workspace: Workspace) -> LearntModel | None:
    """Return what an earlier call learnt; None where there was none, or it was killed.

    Raises:
        CorruptData: When the note of it cannot be read.
    """
    notes = _notes_path(workspace)
    if not notes.exists():
        return None
    try:
        content = json.loads(read_text(notes))
        curve = tuple((int(step), loss) for step, loss in content["curve"])
        # Version 0.1 said it in the first word of its reason alone.
        before = {"has_diverged": content["reason"].startswith("diverged")}
        return LearntModel(**before | content | {"curve": curve})
    except (ValueError, TypeError, KeyError) as error:
        raise CorruptData(
            f"the note of what was learnt on the volume was wanted at {notes}, it is cut or garbled; remove it, and "
            f"`{command('il resume', workspace.target)}` learns the same again"
        ) from error


def _notes_path(workspace: Workspace) -> Place:
    return workspace.weights / "volume.json"


def learnt_weights(workspace: Workspace, model: LearntModel) -> Weights:
    """Return the weights that were learnt on the volume.

    Raises:
        BadWeights: When they are not the ones that were.
    """
    place = model_path(workspace)
    # Without a hash only the file itself is to be believed.
    return _copied(_model_held(place, model.sha256, store_of(place).stamp(place) if model.sha256 else object()))


# A worker does thousands of units with the same weights: it fetches and checks them once.
@lru_cache(maxsize=2)
def _start_held(place: Place, sha256: str, _stamp: object) -> tuple[Plain, Weights]:
    with at_hand(place) as file:
        return load_denoiser(file, sha256)


@lru_cache(maxsize=2)
def _model_held(place: Place, sha256: str | None, _stamp: object) -> Weights:
    with at_hand(place) as file:
        return load_weights(file, sha256)


def _copied(weights: Weights) -> Weights:
    return {name: value.clone() for name, value in weights.items()}


def _learn(run: Run, entry: Entry, start: Weights | None, place: Place, device: str) -> LearntModel:
    plan = run.plan
    frames = sampled_patches(plan, run.source)
    streams = Streams.of(plan.seed, f"{plan.method}/volume", [(n,) for n in range(len(frames))])
    make_repeatable(THREADS)
    with computing_on(device, plan.method):
        problem = problem_of(frames, plan, device)
        done = fit.learn(entry.method, problem, streams, start=start, batch=plan.samples.batch)
    ended = done.stopped[0]
    if ended.has_diverged or done.weights is None:
        return LearntModel(None, None, done.steps[0], str(ended), curve=done.curves[0], has_diverged=ended.has_diverged)
    with put_by(place) as file:
        digest = save_weights(file, {name: value.cpu() for name, value in done.weights.items()})
    risks = [None if not values else values[0] for values in (done.risk_before, done.risk)]
    return LearntModel(str(place), digest, done.steps[0], str(ended), risks[0], risks[1], done.curves[0])


def sampled_patches(plan: RestorationPlan, volume: Volume) -> list[Patch]:
    """Return samples spread over the volume, those with something in them first choice.

    Raises:
        BadVolume: When all are empty.
    """
    frames = []
    for number in range(plan.samples.count):
        rng = np.random.default_rng((plan.seed, 13, number))
        drawn = (patch_of(volume, _place(plan, volume, rng), plan) for _ in range(_DRAWS))
        found = next((frame for frame in drawn if not frame.is_empty), None)
        if found is not None:
            frames.append(found)
    if frames:
        return frames
    # A scan that is nearly empty is searched until something is found.
    everywhere = (patch_of(volume, region, plan) for region in _lattice(plan, volume))
    frames = list(islice((frame for frame in everywhere if not frame.is_empty), 1))
    if not frames:
        raise BadVolume(f"a volume must hold something to learn from, got only empty samples of {plan.source.uri}")
    return frames


def _lattice(plan: RestorationPlan, volume: Volume) -> Iterator[Region]:
    extent = _extent(plan)
    for region in blocks(volume.shape, extent):
        starts = [min(start, n - m) for (start, _), n, m in zip(region, volume.shape, extent, strict=True)]
        yield region_of([(start, start + m) for start, m in zip(starts, extent, strict=True)])


def _place(plan: RestorationPlan, volume: Volume, rng: np.random.Generator) -> Region:
    extent = _extent(plan)
    starts = [int(rng.integers(n - m + 1)) for n, m in zip(volume.shape, extent, strict=True)]
    return region_of([(a, a + n) for a, n in zip(starts, extent, strict=True)])


def _extent(plan: RestorationPlan) -> Five:
    """Return the size of a sample, t c z y x."""
    depth, y, x = plan.samples.extent
    channels = plan.source.shape[1]
    return (depth, channels, 1, y, x) if plan.depth == "t" else (1, channels, depth, y, x)
