"""How much work groups of alike patches make: counted, not timed, so that it cannot grow unseen."""

from collections import Counter

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from ilcore import fit
from ilcore.grammar.problem import Noise, Problem
from ilcore.methods.alike import Block, alike, patches_of
from ilcore.methods.non_local import NonLocalRidge
from tests.on_device import problem_of, streams

aten = torch.ops.aten
WHITE, COUNTED = Noise(read_std=0.05), Noise(gain=0.002, read_std=0.02)
SETTINGS = {"patch": 7, "first": 12, "second": 30, "window": 15}


class Work(TorchDispatchMode):
    """Counts matrices factorised, patches gathered, and distances computed."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: Counter[str] = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        self.seen[func.overloadpacket.__name__] += 1
        if func is aten.linalg_cholesky_ex.default:
            self.seen["factorised"] += len(args[0])
        elif func is aten.cholesky_inverse.default:
            self.seen["inverted"] += len(args[0])
        # Not the reference patches themselves, sixty-four at a time.
        elif func is aten.index.Tensor and isinstance(out, Tensor) and out.ndim == 2 and len(out) > 64:
            self.seen["rows gathered"] += len(out)
        elif func is aten.addmm.default:
            self.seen["distances"] += out.numel()
        return out


def work_of(shape: tuple[int, ...], noise: Noise = WHITE) -> Counter[str]:
    with Work() as work:
        fit.restore(NonLocalRidge(**SETTINGS), problem_of(shape, noise), streams("work", 1))
    return work.seen


def places(side: int, stride: int, first: int = 0) -> int:
    return len({0, *range(first, side - 6, stride), side - 7}) ** 2


@pytest.mark.parametrize("noise", [WHITE, COUNTED], ids=["white", "counted"])
def test_each_group_is_factorised_once_and_its_patches_are_gathered_once_a_stack(noise: Noise) -> None:
    first, second = places(48, 4), places(48, 5)
    done = work_of((1, 1, 48, 48), noise)
    assert done["factorised"] == done["inverted"] == first + second
    # Noisy patches in both passes, the pilot's in the second; never a third time for their noise.
    assert done["rows gathered"] == first * SETTINGS["first"] + 2 * second * SETTINGS["second"]
    assert not {"linalg_solve_ex", "_linalg_solve_ex", "linalg_lu_factor_ex", "linalg_inv_ex"} & set(done)


def test_planes_of_a_stack_share_their_groups() -> None:
    planes = 6
    done = work_of((1, 1, planes, 40, 40))
    wanted = sum(places(40, stride, z % 2 * stride // 2) for z in range(planes) for stride in (4, 6))
    assert done["factorised"] == wanted
    assert done["factorised"] < planes * 2 * places(40, 4) * 0.8


@pytest.mark.parametrize("side", [64, 96])
def test_distances_asked_for_in_vain_are_fewer_than_those_used(side: int) -> None:
    """One product serves neighbours whose windows overlap: what it holds beside them must stay small."""
    first, second = places(side, 4), places(side, 5)
    window = SETTINGS["window"] ** 2
    computed = work_of((1, 1, side, side))["distances"]
    # A block of eight by eight at stride four sees (15 + 28)^2 patches, its reference patches 15^2 each.
    assert computed <= (first * (15 + 28) ** 2 + second * (15 + 35) ** 2)
    assert computed >= 0.5 * (first + second) * window


@pytest.mark.parametrize("shape", [(1, 1, 20, 23), (2, 3, 17, 30)])
def test_the_patches_found_are_the_nearest_of_the_window(shape: tuple[int, ...]) -> None:
    """Against every distance computed one by one."""
    stack = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    side, reach, wanted, plane = 5, 4, 9, shape[0] - 1
    height, width = shape[-2] - side + 1, shape[-1] - side + 1
    patches = patches_of(stack, (slice(0, height), slice(0, width)), side)
    block = Block([0, 4, 8, height - 1], [0, 4, width - 1])
    found = alike(patches, block, plane, reach, wanted)
    for row, (y, x) in zip(found, [(y, x) for y in block.rows for x in block.columns], strict=True):
        near = (patches - patches[plane, y, x]).square().sum(-1)
        here = torch.full_like(near, torch.inf)
        window = (slice(None), slice(max(0, y - reach), y + reach + 1), slice(max(0, x - reach), x + reach + 1))
        here[window] = near[window]
        expected = here.flatten().topk(wanted, largest=False).values.sort().values
        torch.testing.assert_close(near.flatten()[row].sort().values, expected, atol=1e-5, rtol=1e-5)
        assert (plane * height + y) * width + x in row


def test_cutting_into_blocks_does_not_change_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = problem_of((1, 1, 90, 75), WHITE)
    one = fit.restore(NonLocalRidge(**SETTINGS), problem, streams("work", 1)).image
    monkeypatch.setattr("ilcore.methods.alike._BLOCK", {"cpu": 64})
    monkeypatch.setattr("ilcore.methods.alike._TOGETHER", {"cpu": 64})
    whole = fit.restore(NonLocalRidge(**SETTINGS), problem, streams("work", 1)).image
    assert float((one - whole).abs().max()) < 0.02 * WHITE.read_std


def test_equal_patches_without_noise_are_solved_too() -> None:
    flat = torch.full((1, 1, 40, 40), 0.3)
    problem = Problem(observed=flat, noise=(Noise(read_std=1e-6),), value_range=(0, 1))
    image = fit.restore(NonLocalRidge(**SETTINGS), problem, streams("work", 1)).image
    torch.testing.assert_close(image, flat, atol=1e-3, rtol=0)
