"""Groups of alike patches restore one another.

NL-Ridge:
    for every few places: Y = the k patches most alike the one there, one a column; D = their noise energies
    first pass:   T = I - (Y'Y)^-1 D, the minimiser of Stein's unbiased risk over all linear combinations  (section 3.1)
    second pass:  alikeness and X taken from the first result, T = (X'X + D)^-1 X'X                        (section 3.2)
    patches Y T return to their places, weighted by 1 / |T's column|^2 because that is how much noise they keep
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor

from ilcore.grammar.arrays import Streams, Tiles, Weights
from ilcore.grammar.masks import without_holes
from ilcore.grammar.problem import Problem
from ilcore.grammar.recipe import DirectMethod
from ilcore.grammar.step_context import Restoration
from ilcore.grammar.stop_reason import StopReason
from ilcore.methods.alike import Block, alike, patches_of, reference_blocks, together
from ilcore.methods.entry import Entry

#: Distance between reference patches in the first pass and the second: in a plane, and in a stack, where a plane also
#: keeps the patches that its neighbours' groups found in it.
_STRIDES = ((4, 5), (4, 6))


@final
@dataclass(frozen=True, kw_only=True)
class NonLocalRidge(DirectMethod):
    """Linear combinations of alike patches, learnt group by group from the noisy patches alone.

    Args:
        patch: Side of a patch in y and x; 0 chooses by the noise, as published.
        first: Patches of a group in the first pass; 0 chooses.
        second: The same in the second pass.
        window: Side of the window in y and x in which alike patches are looked for; odd.
        planes: How many planes up and down in z are searched as well.
        stride: Distance between reference patches; 0 chooses: 4 in the first pass, 5 in the second, there 6 in stacks.

    Shape:
        Every group looks for patches in its plane of z and its neighbours, and restores them in all; channels together.

    Reference:
        Herbreteau & Kervrann, "Towards a unified view of unsupervised non-local methods for image denoising: the
        NL-Ridge approach", ICIP 2022.
    """

    patch: int = 0
    first: int = 0
    second: int = 0
    window: int = 37
    planes: int = 1
    stride: int = 0

    def own_complaints(self, problem: Problem) -> Iterator[str]:
        if min(self.patch, self.first, self.second, self.planes, self.stride) < 0 or self.window < 3:
            yield f"{self} needs patch, first, second, planes, stride >= 0 and window >= 3"
        if problem.noise is None:
            yield f"{self} needs the noise model; estimate it or pass noise_std"

    def halo(self, space: int) -> tuple[int, ...]:
        return (self.planes, 16, 16)[-space:]

    def restore(self, problem: Problem, streams: Streams, *, start: Weights | None = None) -> Restoration:
        with torch.no_grad():
            images = [self._tile(problem.rows([row])) for row in range(len(problem.observed))]
        steps, ended = (0,) * len(images), (StopReason.applied("applied in two passes"),) * len(images)
        return Restoration(image=torch.cat(images), steps=steps, stopped=ended)

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
    total, weight = torch.zeros_like(noisy), torch.zeros_like(noisy[:, :1])
    energy = _box(variance.sum(1, keepdim=True), settings.patch)
    stride = settings.stride or _STRIDES[len(noisy) > 1][not is_first]
    for z in range(len(noisy)):
        near = slice(max(0, z - settings.planes), z + settings.planes + 1)
        stacks = _Stacks(*(stack[near] for stack in (noisy, guide, energy, total, weight)))
        # In every other plane of a stack they stand between those of the plane before.
        for block in reference_blocks(energy.shape[-2:], z % 2 * stride // 2, stride, noisy.device):
            _restore_block(stacks, block, z - near.start, settings, is_first=is_first)
    return total / weight.clamp_min(1e-12)


@dataclass(frozen=True)
class _Stacks:
    """A plane with its neighbours: what is known of them, and what is gathered.

    Shape:
        noisy, guide, total [plane, channel, y, x]; energy, of the noise in the patch that begins there, and weight
        [plane, 1, y, x].
    """

    noisy: Tensor
    guide: Tensor
    energy: Tensor
    total: Tensor
    weight: Tensor


def _restore_block(stacks: _Stacks, block: Block, plane: int, settings: NonLocalRidge, *, is_first: bool) -> None:
    """Add the patches of a block's groups, restored, to the total, each where it came from."""
    side, reach = settings.patch, settings.window // 2
    area = block.around(reach, stacks.energy.shape[-2:])
    given = patches_of(stacks.noisy, area, side)
    known = given if is_first else patches_of(stacks.guide, area, side)
    values, pilots, energies = given.flatten(0, 2), known.flatten(0, 2), stacks.energy[:, 0, *area].flatten()
    sums, shares = torch.zeros_like(values), torch.zeros_like(energies)
    wanted = settings.first if is_first else settings.second
    for part in together(block.moved(area[0].start, area[1].start), values.device):
        chosen = alike(known, part, plane, reach, wanted)
        flat = chosen.flatten()
        group = values[flat].view(*chosen.shape, -1)
        pilot = group if is_first else pilots[flat].view_as(group)
        mixed, share = _combined(group, pilot, energies[chosen], is_first=is_first)
        sums.index_add_(0, flat, mixed.flatten(0, 1))
        shares.index_add_(0, flat, share.flatten())
    rows, columns = (slice(along.start, along.stop + side - 1) for along in area)
    total, planes = stacks.total[..., rows, columns], len(given)
    total += F.fold(sums.view(planes, -1, sums.shape[1]).mT, total.shape[-2:], side)
    weight = stacks.weight[..., rows, columns]
    weight += _box(F.pad(shares.view(planes, 1, *given.shape[1:3]), [side - 1] * 4), side)


def _combined(group: Tensor, pilot: Tensor, energy: Tensor, *, is_first: bool) -> tuple[Tensor, Tensor]:
    """Return every patch of every group as the best combination of its group, times its share, and that share.

    Shape:
        group, pilot [group, patch, value]; energy [group, patch] -> the same, [group, patch].
    """
    gram = pilot @ pilot.mT
    diagonal = gram.diagonal(dim1=1, dim2=2)
    # A trifle on the diagonal keeps most groups of equal patches solvable, in 32 bits and without noise.
    trifle = 1e-6 * diagonal.mean(1, keepdim=True) + 1e-8
    taken = energy if is_first else energy + trifle
    diagonal += trifle if is_first else taken
    # Both minimisers are I - S^-1 D, of S = Y'Y and D = noise in the first pass, S = X'X + D in the second.
    weights = _inverse(gram).mul_(-taken[:, None])
    weights.diagonal(dim1=1, dim2=2).add_(1)
    share = weights.square().sum(1).clamp_min_(1e-6).reciprocal_()
    return weights.mul_(share[:, None]).mT @ group, share


def _inverse(systems: Tensor) -> Tensor:
    """Return the inverses of symmetric matrices that are positive; where rounding made one not so, the least one."""
    factor, trouble = torch.linalg.cholesky_ex(systems)
    failed = trouble > 0
    if not bool(failed.any()):
        return torch.cholesky_inverse(factor)
    factor[failed] = torch.eye(systems.shape[-1], device=systems.device)
    inverse = torch.cholesky_inverse(factor)
    inverse[failed] = torch.linalg.pinv(systems[failed].double(), rtol=1e-6, hermitian=True).to(inverse.dtype)
    return inverse


def _box(values: Tensor, side: int) -> Tensor:
    """Return the sum over every side x side window."""
    return F.avg_pool2d(values, side, 1, divisor_override=1)


ENTRIES = (
    Entry(
        name="nl_ridge",
        method=NonLocalRidge(),
        summary="Groups of alike patches restore one another, weighted by Stein's risk. No network, no training.",
        question="Which combination of alike patches of this image has the least risk?",
        when="White noise of known level, no training wanted: the strongest method that learns from one image alone.",
        reference="Herbreteau & Kervrann, NL-Ridge, ICIP 2022",
        cost=1,
        beside=500,
        needs=frozenset({"noise"}),
        scopes=frozenset({"tile"}),
        version=2,
    ),
)
