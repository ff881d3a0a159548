"""All parts at the smallest settings they have, and recipes into which any pair of them is put.

A pair takes the place of the parts in those slots of a base; a base is a recipe that works.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import torch

from ilcore import fit
from ilcore.descents.adam import Adam
from ilcore.descents.backtracking import Backtracking
from ilcore.descents.discrepant import DiscrepantRates
from ilcore.descents.langevin import Langevin
from ilcore.grammar.arrays import Streams
from ilcore.grammar.problem import Noise, Problem
from ilcore.grammar.recipe import Recipe
from ilcore.grammar.slots import Descent, Loss, Network, Part, Readout, Stop, Views
from ilcore.losses.consistency import HalvesConsistency
from ilcore.losses.cross_entropy import CrossEntropy
from ilcore.losses.fidelity import SquaredError
from ilcore.losses.invariance import InvarianceBound
from ilcore.losses.likelihood import GaussianLikelihood
from ilcore.losses.neighbours import NeighbourDifference
from ilcore.losses.red import Red
from ilcore.losses.regularised import Regularised
from ilcore.losses.robust import OutlierError
from ilcore.losses.smoothness import TotalVariation
from ilcore.losses.sure import Sure, UnknownNoiseSure
from ilcore.methods.stopping import vote
from ilcore.networks.blind_spot import BlindSpot
from ilcore.networks.bounded import Bounded
from ilcore.networks.by_plane import ByPlane
from ilcore.networks.deep_decoder import DeepDecoder
from ilcore.networks.masked_unet import MaskedUNet
from ilcore.networks.plain import Plain
from ilcore.networks.skip import SkipNet
from ilcore.networks.unet import UNet
from ilcore.networks.with_outliers import WithOutliers
from ilcore.readouts.last import Best, Last
from ilcore.readouts.means import MovingAverage
from ilcore.readouts.rounds import MeanOfLast
from ilcore.readouts.samples import MeanAfter
from ilcore.stops.budget import After
from ilcore.stops.discrepancy import Discrepancy
from ilcore.stops.held_out import HeldOut
from ilcore.stops.held_out_pixels import HeldOutPixels
from ilcore.stops.observation import NearestObservation
from ilcore.stops.self_referenced import SelfReferenced
from ilcore.stops.self_validation import SelfValidation
from ilcore.stops.windowed_variance import RunningVariance, WindowedVariance
from ilcore.stops.zero_crossing import ZeroCrossing
from ilcore.views.adjacent_planes import AdjacentPlanes
from ilcore.views.averaged import AveragedDraws
from ilcore.views.checkerboards import Checkerboards
from ilcore.views.count_split import CountSplit
from ilcore.views.diagonal_halves import DiagonalHalves
from ilcore.views.dropped_pixels import DroppedPixels
from ilcore.views.fading_noise import FadingNoise
from ilcore.views.hidden_grid import HiddenGrid
from ilcore.views.hidden_pixels import HiddenPixels
from ilcore.views.j_invariant_image import JInvariantImage
from ilcore.views.neighbour_halves import NeighbourHalves
from ilcore.views.noise_code import NoiseCode
from ilcore.views.pixel_bank import PixelBank
from ilcore.views.posterior import Posterior
from ilcore.views.recorruption import Recorruption
from ilcore.views.sorted_halves import SortedHalves
from ilcore.views.whole import Whole

STEPS = 2

BARE_NETWORKS: list[Network] = [
    Plain(width=4, depth=2),
    Plain(width=4, depth=2, residual=False),
    Plain(width=4, depth=2, shuffle=2, grey=True, residual=False, pointwise_end=False),
    UNet(width=4, depth=1),
    UNet(width=4, depth=2, residual=True, norm=True, blur_pool=True),
    SkipNet(width=4, skip=2, scales=2),
    BlindSpot(width=4, depth=1),
    MaskedUNet(width=4, depth=2),
    DeepDecoder(width=4, scales=1),
    DeepDecoder(width=4, scales=0),
]
NETWORKS: list[Network] = [
    *BARE_NETWORKS,
    *(wrapper(network) for network in BARE_NETWORKS for wrapper in (Bounded, WithOutliers)),
    *(ByPlane(inner=network, residual=residual) for network in BARE_NETWORKS for residual in (False, True)),
    Bounded(WithOutliers(SkipNet(width=4, skip=2, scales=2))),
    WithOutliers(Bounded(UNet(width=4, depth=1))),
    WithOutliers(WithOutliers(UNet(width=4, depth=1))),
    Bounded(Bounded(MaskedUNet(width=4, depth=1))),
    Bounded(ByPlane(inner=UNet(width=4, depth=1), residual=False)),
    ByPlane(inner=WithOutliers(UNet(width=4, depth=1)), residual=False),
    ByPlane(inner=ByPlane(inner=UNet(width=4, depth=1), residual=False)),
    WithOutliers(ByPlane(inner=UNet(width=4, depth=1), residual=False)),
]
_PLAIN_VIEWS: list[Views] = [
    AdjacentPlanes(planes=1),
    AdjacentPlanes(neighbours=1, planes=2),
    Checkerboards(),
    CountSplit(),
    DiagonalHalves(),
    DroppedPixels(passes=2),
    FadingNoise(),
    HiddenGrid(),
    HiddenPixels(percent=10, window=5),
    HiddenPixels(percent=10, window=5, footprint="row", span=3, replacement="median"),
    NeighbourHalves(),
    NoiseCode(channels=3),
    NoiseCode(channels=3, halvings=1),
    PixelBank(size=3, patch=3, window=3),
    Posterior(),
    Recorruption(),
    SortedHalves(smoothing=3),
    Whole(),
    Whole(jitter=0.3),
]
VIEWS: list[Views] = [
    *_PLAIN_VIEWS,
    *(AveragedDraws(views, draws=2) for views in _PLAIN_VIEWS),
    JInvariantImage(HiddenGrid()),
    JInvariantImage(HiddenGrid(), unseen=False),
    AveragedDraws(JInvariantImage(HiddenGrid()), draws=2),
    AveragedDraws(AveragedDraws(Recorruption(), draws=2), draws=2),
]
LOSSES: list[Loss] = [
    SquaredError(),
    CrossEntropy(),
    GaussianLikelihood(),
    HalvesConsistency(),
    InvarianceBound(),
    NeighbourDifference(),
    OutlierError(),
    Red(patch=1, search=1),
    Red(fidelity=OutlierError(), patch=1, search=1),
    TotalVariation(),
    Sure(),
    Sure(second_order=True),
    UnknownNoiseSure(reach=1),
    SquaredError() + HalvesConsistency(),
    SquaredError() + 0.5 * NeighbourDifference(),
    0.5 * Sure() + TotalVariation(),
    Regularised(SquaredError(), TotalVariation(isotropic=False), 0.1),
    Regularised(OutlierError(), InvarianceBound(), 0.1),
]
STOPS: list[Stop] = [
    After(STEPS),
    Discrepancy(steps=STEPS),
    HeldOut(steps=STEPS, every=1),
    HeldOutPixels(steps=STEPS),
    HeldOutPixels(steps=STEPS, hides_input=True),
    NearestObservation(steps=STEPS, every=1),
    RunningVariance(steps=STEPS, warm_up=0),
    WindowedVariance(steps=STEPS, window=2, warm_up=0),
    SelfReferenced(steps=STEPS),
    SelfValidation(steps=STEPS, memory=2, code=1, every=1),
    ZeroCrossing(steps=STEPS),
    vote(STEPS),
]
_RATES: list[Descent] = [Adam(1e-3), Adam(1e-2, halve_every=1, rectified=True), Langevin(1e-3)]
DESCENTS: list[Descent] = [
    *_RATES,
    *(wrapper(descent) for descent in _RATES for wrapper in (Backtracking, DiscrepantRates)),
    Backtracking(DiscrepantRates(Adam(1e-3))),
    DiscrepantRates(DiscrepantRates(Adam(1e-3))),
]
READOUTS: list[Readout] = [
    Last(),
    Best(),
    MovingAverage(0.9),
    MeanOfLast(count=2, every=1),
    MeanAfter(burn_in=0, every=1),
]
PARTS: dict[str, Sequence[Part]] = {
    "views": VIEWS, "network": NETWORKS, "loss": LOSSES, "descent": DESCENTS, "stop": STOPS, "readout": READOUTS,
}  # fmt: skip

_END = {"descent": Adam(1e-3), "stop": After(STEPS), "readout": Last()}
#: Recipes that work, each of another kind.
BASES = {
    "code": Recipe(NoiseCode(channels=3), SkipNet(width=4, skip=2, scales=2), SquaredError(), **_END),  # type: ignore[arg-type]
    "observation": Recipe(Whole(), UNet(width=4, depth=1), SquaredError(), **_END),  # type: ignore[arg-type]
    "halves": Recipe(DiagonalHalves(), UNet(width=4, depth=1), SquaredError(), **_END),  # type: ignore[arg-type]
    "neighbours": Recipe(NeighbourHalves(), UNet(width=4, depth=1), NeighbourDifference(), **_END),  # type: ignore[arg-type]
    "planes": Recipe(AdjacentPlanes(), ByPlane(inner=UNet(width=4, depth=1)), SquaredError(), **_END),  # type: ignore[arg-type]
    "blind": Recipe(Posterior(), BlindSpot(width=4, depth=1), GaussianLikelihood(), **_END),  # type: ignore[arg-type]
    "dropped": Recipe(DroppedPixels(passes=2), MaskedUNet(width=4, depth=1), SquaredError(), **_END),  # type: ignore[arg-type]
    "outliers": Recipe(
        NoiseCode(channels=3),
        WithOutliers(SkipNet(width=4, skip=2, scales=2)),
        OutlierError(),
        **_END,  # type: ignore[arg-type]
    ),
    "decoder": Recipe(NoiseCode(channels=3, halvings=1), DeepDecoder(width=4, scales=1), SquaredError(), **_END),  # type: ignore[arg-type]
}
#: Two tiles: two channels of a plane with a hole, and a stack of one channel.
SHAPES = {"plane": (2, 2, 8, 9), "stack": (2, 1, 3, 8, 7)}


def problem_of(kind: str, std: float = 0.1, **more: Any) -> Problem:
    shape = SHAPES[kind]
    observed = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    trusted = torch.ones(shape, dtype=torch.bool)
    trusted[..., 2:4, 3:5] = kind != "plane"
    return Problem(observed=observed, trusted=trusted, noise=(Noise(read_std=std),) * shape[1], **more)


@dataclass(frozen=True)
class Composed:
    """A recipe, the problem it is put to, and which pair was put into which base."""

    recipe: Recipe
    problem: Problem
    name: str


def running(one: str, other: str, every: int = 1) -> Iterator[Composed]:
    """Yield for every n-th pair of parts of two slots the first base and problem of which nothing complains."""
    for first, second in list(product(PARTS[one], PARTS[other]))[::every]:
        for base, kind in product(BASES, SHAPES):
            recipe, problem = replace(BASES[base], **{one: first, other: second}), problem_of(kind)
            if next(recipe.complaints(problem), None) is None:
                yield Composed(recipe, problem, f"{base}, {kind}: {first} with {second}")
                break


def failure(recipe: Recipe, problem: Problem) -> str | None:
    """Return why a recipe that did not complain does not restore; None where it does."""
    tiles = Streams.of(0, "pairs", [(n,) for n in range(len(problem.observed))])
    try:
        done = fit.fit(recipe, problem, tiles)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    if done.image.shape != problem.observed.shape:
        return f"image of shape {tuple(done.image.shape)} for {tuple(problem.observed.shape)}"
    if any(reason.has_diverged for reason in done.stopped) or not torch.isfinite(done.image).all():
        return f"not finite: {done.stopped[0]}"
    return None if max(done.steps) <= STEPS else f"{done.steps} steps"


def failures(chosen: Sequence[Composed]) -> dict[str, str]:
    return {each.name: why for each in chosen if (why := failure(each.recipe, each.problem))}
