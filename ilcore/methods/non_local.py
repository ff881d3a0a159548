"""Groups of alike patches restore one another.

NL-Ridge:
    for every fourth place: Y = the k patches most alike the one there, one a column; D = their noise energies
    first pass:   T = I - (Y'Y)^-1 D, the minimiser of Stein's unbiased risk over all linear combinations  (section 3.1)
    second pass:  alikeness and X taken from the first result, T = (X'X + D)^-1 X'X                        (section 3.2)
    patches Y T return to their places, weighted by 1 / |T's column|^2 because that is how much noise they keep
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor

from ilcore.grammar.arrays import Streams, Tiles
from ilcore.grammar.masks import without_holes
from ilcore.grammar.problem import Problem
from ilcore.grammar.recipe import ByHand
from ilcore.grammar.trial import Restoration
from ilcore.methods.entry import Entry

#: Groups solved together; bounds the memory.
_GROUPS = 1024


@final
@dataclass(frozen=True, kw_only=True)
class NonLocalRidge(ByHand):
    """Linear combinations of alike patches, learnt group by group from the noisy patches alone.

    Args:
        patch: Side of a patch in y and x; 0 chooses by the noise, as published.
        first: Patches of a group in the first pass; 0 chooses.
        second: The same in the second pass.
        window: Side of the window in y and x in which alike patches are looked for; odd.
        planes: How many planes up and down in z are searched as well.
        stride: Distance between reference patches.

    Shape:
        Planes of z are restored one by one, each with the help of its neighbours; channels together.

    Reference:
        Herbreteau & Kervrann, "Towards a unified view of unsupervised non-local methods for image denoising: the
        NL-Ridge approach", ICIP 2022.
    """

    patch: int = 0
    first: int = 0
    second: int = 0
    window: int = 37
    planes: int = 1
    stride: int = 4

    def complaints(self, problem: Problem) -> Iterator[str]:
        if min(self.patch, self.first, self.second, self.planes) < 0 or self.stride < 1 or self.window < 3:
            yield f"{self} needs patch, first, second, planes >= 0, stride >= 1 and window >= 3"
        if problem.noise is None:
            yield f"{self} needs the noise model; estimate it or pass noise_std"

    def halo(self, space: int) -> tuple[int, ...]:
        return (self.planes, 16, 16)[-space:]

    def restore(self, problem: Problem, streams: Streams) -> Restoration:
        with torch.no_grad():
            images = [self._tile(problem.rows([row])) for row in range(len(problem.observed))]
        count = len(images)
        return Restoration(image=torch.cat(images), steps=(0,) * count, stopped=("applied in two passes",) * count)

    def _tile(self, problem: Problem) -> Tiles:
        """Return the image of one tile, [1, channel, *space]."""
        problem = replace(problem, observed=without_holes(problem), trusted=None)
        observed = problem.observed[0]
        if not bool(torch.isfinite(observed).all()):
            return problem.observed
        stack = observed if observed.ndim == 4 else observed[:, None]
        settings = self._settings(problem)
        noisy = stack.transpose(0, 1)
        variance = problem.noise_std(problem.observed)[0].square().reshape(stack.shape).transpose(0, 1)
        variance = _smooth(variance) if self._is_signal_dependent(problem) else variance
        pilot = _pass(noisy, noisy, variance, settings, is_first=True)
        if self._is_signal_dependent(problem):
            variance = _variance_of(problem, pilot)
        image = _pass(noisy, pilot, variance, settings, is_first=False)
        return image.transpose(0, 1).reshape(problem.observed.shape)

    @staticmethod
    def _is_signal_dependent(problem: Problem) -> bool:
        return any(noise.gain > 0 for noise in problem.noise or ())

    def _settings(self, problem: Problem) -> "NonLocalRidge":
        """Fill in what was left to choose: stronger noise needs larger patches and groups."""
        std = float(problem.noise_std(problem.observed).median()) * 255
        patch, first, second = (7, 18, 55) if std <= 15 else (9, 18, 90) if std <= 35 else (11, 20, 120)
        side = min(self.patch or patch, *problem.space[-2:])
        return replace(self, patch=side, first=self.first or first, second=self.second or second)


def _variance_of(problem: Problem, pilot: Tensor) -> Tensor:
    models = problem.noise or ()
    return torch.stack([model.variance(pilot[:, n]) for n, model in enumerate(models)], 1)


def _smooth(values: Tensor) -> Tensor:
    side = min(7, *values.shape[-2:])
    side -= 1 - side % 2
    return F.avg_pool2d(values, side, 1, side // 2, count_include_pad=False)


def _pass(noisy: Tensor, guide: Tensor, variance: Tensor, settings: NonLocalRidge, *, is_first: bool) -> Tensor:
    """Return every plane restored from groups of patches alike in the guide.

    Shape:
        noisy, guide, variance [plane, channel, y, x] -> the same.
    """
    planes = []
    for z in range(len(noisy)):
        near = slice(max(0, z - settings.planes), z + settings.planes + 1)
        stacks = noisy[near], guide[near], variance[near]
        planes.append(_plane(*stacks, z - near.start, settings, is_first=is_first))
    return torch.stack(planes)


def _plane(
    noisy: Tensor, guide: Tensor, variance: Tensor, z: int, settings: NonLocalRidge, *, is_first: bool
) -> Tensor:
    side = settings.patch
    places = _reference_places(noisy.shape[-2:], side, settings.stride).to(noisy.device)
    wanted = settings.first if is_first else settings.second
    alike = _alike(guide, z, places, settings, wanted)
    corners, values = _corners_of(noisy.shape, side).to(noisy.device), _values_of(noisy.shape, side).to(noisy.device)
    # Patches are gathered group by group: all of them at once would take eighty times the memory of the image.
    flat = [stack.flatten(1) for stack in (noisy, guide, variance)]
    total = torch.zeros(*noisy.shape[1:], device=noisy.device).flatten()
    weight = torch.zeros_like(total)
    for chosen in alike.split(_GROUPS):
        plane, pixels = chosen // len(corners), corners[chosen % len(corners)][..., None] + values
        group, pilot, energy = (stack[plane[..., None], pixels] for stack in flat)
        mixed, keeps = _combined(group, pilot, energy.sum(2), is_first=is_first)
        here = (plane == z).to(mixed.dtype)
        share = (here / keeps.clamp_min(1e-6))[..., None].expand_as(mixed)
        total.index_add_(0, pixels.flatten(), (mixed * share).flatten())
        weight.index_add_(0, pixels.flatten(), share.flatten())
    return (total / weight.clamp_min(1e-12)).reshape(noisy.shape[1:])


def _combined(group: Tensor, pilot: Tensor, energy: Tensor, *, is_first: bool) -> tuple[Tensor, Tensor]:
    """Return every patch of every group as the best combination of its group, and the noise each keeps.

    Shape:
        group, pilot [group, patch, value]; energy [group, patch] -> the same, [group, patch].
    """
    known = group if is_first else pilot
    gram, noise = known @ known.transpose(1, 2), torch.diag_embed(energy)
    one = torch.eye(gram.shape[1], device=gram.device)
    # A trifle on the diagonal keeps most groups of equal patches solvable, in 32 bits and without noise.
    trifle = (1e-6 * gram.diagonal(dim1=1, dim2=2).mean(1) + 1e-8)[:, None, None] * one
    if is_first:
        weights = one - _solved(gram + trifle, noise)
    else:
        weights = _solved(gram + noise + trifle, gram)
    return weights.transpose(1, 2) @ group, weights.square().sum(1)


def _solved(systems: Tensor, wanted: Tensor) -> Tensor:
    """Return the solutions of systems of equations; where rounding made one singular, the least of its solutions."""
    solved, trouble = torch.linalg.solve_ex(systems, wanted)
    singular = trouble > 0
    if bool(singular.any()):
        inverse = torch.linalg.pinv(systems[singular].double(), rtol=1e-6, hermitian=True)
        solved[singular] = (inverse @ wanted[singular].double()).to(solved.dtype)
    return solved


def _reference_places(size: tuple[int, ...], side: int, stride: int) -> Tensor:
    """Return the corners (y, x) of the reference patches; the last ones touch the border."""
    rows, columns = (torch.tensor(sorted({*range(0, length - side + 1, stride), length - side})) for length in size)
    return torch.cartesian_prod(rows, columns)


def _alike(guide: Tensor, z: int, places: Tensor, settings: NonLocalRidge, wanted: int) -> Tensor:
    """Return for every reference patch the numbers of the patches most alike, itself first.

    Shape:
        guide [plane, channel, y, x]; places [reference, 2] -> [reference, patch], numbered plane by plane.
    """
    side, reach = settings.patch, settings.window // 2
    height, width = guide.shape[-2] - side + 1, guide.shape[-1] - side + 1
    shifts = [
        (plane, down, right)
        for plane, down, right in product(range(len(guide)), range(-reach, reach + 1), range(-reach, reach + 1))
        if abs(down) < height and abs(right) < width
    ]
    distances = torch.full((len(shifts), len(places)), torch.inf, device=guide.device)
    for number, (plane, down, right) in enumerate(shifts):
        rows, columns = slice(max(0, -down), height - max(0, down)), slice(max(0, -right), width - max(0, right))
        here = _window(guide[z], rows, columns, 0, 0, side)
        there = _window(guide[plane], rows, columns, down, right, side)
        whole = torch.full((height, width), torch.inf, device=guide.device)
        whole[rows, columns] = _box(((here - there) ** 2).sum(0), side)
        distances[number] = whole[places[:, 0], places[:, 1]]
    own = shifts.index((z, 0, 0))
    distances[own] = -1
    nearest = distances.topk(min(wanted, len(shifts)), dim=0, largest=False)
    moves = torch.tensor(shifts, device=guide.device)[nearest.indices.T]
    # Near corners a window holds fewer patches than wanted: the reference itself stands in.
    moves[~torch.isfinite(nearest.values.T)] = torch.tensor((z, 0, 0), device=guide.device)
    at = places[:, None] + moves[..., 1:]
    return moves[..., 0] * height * width + at[..., 0] * width + at[..., 1]


def _window(plane: Tensor, rows: slice, columns: slice, down: int, right: int, side: int) -> Tensor:
    """Return the pixels under all patches with corners in rows and columns, shifted."""
    top, left = rows.start + down, columns.start + right
    return plane[:, top : rows.stop + down + side - 1, left : columns.stop + right + side - 1]


def _box(values: Tensor, side: int) -> Tensor:
    """Return the sum over every side x side window."""
    down = F.pad(values.cumsum(0), (0, 0, 1, 0))
    rows = down[side:] - down[:-side]
    across = F.pad(rows.cumsum(1), (1, 0))
    return across[:, side:] - across[:, :-side]


def _corners_of(shape: torch.Size, side: int) -> Tensor:
    """Return the number of the first pixel of every patch in [y, x], flattened."""
    rows, columns = (torch.arange(length - side + 1) for length in shape[-2:])
    return (rows[:, None] * shape[-1] + columns).flatten()


def _values_of(shape: torch.Size, side: int) -> Tensor:
    """Return how far the values of a patch are from its first one in [channel, y, x], flattened."""
    within = torch.arange(side)
    channels = torch.arange(shape[1])[:, None, None] * shape[2] * shape[3]
    return (channels + within[:, None] * shape[3] + within).flatten()


ENTRIES = (
    Entry(
        name="nl_ridge",
        method=NonLocalRidge(),
        summary="Groups of alike patches restore one another, weighted by Stein's risk. No network, no training.",
        question="Which combination of alike patches of this image has the least risk?",
        when="White noise of known level, no training wanted: the strongest method that learns from one image alone.",
        reference="Herbreteau & Kervrann, NL-Ridge, ICIP 2022",
        cost=1,
        beside=8000,
        needs=frozenset({"noise"}),
        scopes=frozenset({"tile"}),
    ),
)
