"""Networks, losses and views of untrained priors and blind spots, each against what its paper says."""


import pytest
import torch

from ilcore.grammar.arrays import Streams
from ilcore.grammar.problem import Problem
from ilcore.networks.levels import blurred_largest, enlarged, largest
from ilcore.networks.unet import UNet


def streams(count: int = 1) -> Streams:
    return Streams.of(0, "test", [(n,) for n in range(count)])


def image(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("space", [(16, 16), (33, 27), (5, 7), (1, 3), (6, 17, 20), (2, 16, 16), (1, 1, 1)])
@pytest.mark.parametrize("more", [{}, {"top_skip": False, "blur_pool": True, "norm": True}, {"residual": True}])
def test_a_u_net_takes_any_size(space, more):
    problem = Problem(observed=image(2, 2, *space))
    model = UNet(width=4, depth=3, **more).build(problem, 2, streams(2))
    out = model(problem.observed, [0, 1])
    assert out.shape == problem.observed.shape
    assert torch.isfinite(out).all()


def test_the_u_net_of_noise2void_has_the_size_of_the_paper():
    model = UNet(width=32, depth=2, norm=True).build(Problem(observed=image(1, 1, 32, 32)), 1, streams())
    assert 0.3e6 < sum(value.numel() for value in model.parameters()) < 1e6


@pytest.mark.parametrize("more", [{}, {"blur_pool": True, "top_skip": False}, {"convolutions_per_level": 1}])
def test_a_u_net_sees_no_farther_than_its_halo_and_sees_that_far_at_least_once(more):
    network = UNet(width=4, depth=2, **more)
    observed = image(1, 1, 96, 96)
    model = network.build(Problem(observed=observed), 1, streams())
    reach = network._reach()
    touched = torch.zeros(96, 96, dtype=torch.bool)
    for row in range(44, 48):
        seen = observed.clone().requires_grad_()
        model(seen, [0])[0, 0, row, 48].backward()
        touched |= torch.roll((seen.grad != 0)[0, 0], 48 - row, 0)
    extent = int((touched.any(1).nonzero() - 48).abs().max())
    assert reach - 4 <= extent <= reach


def test_tiles_of_a_u_net_agree_where_their_halo_is_complete():
    network = UNet(width=4, depth=1)
    whole = image(1, 1, 64, 64)
    model = network.build(Problem(observed=whole), 1, streams())
    part = model(whole[..., 16:48, 16:48], [0])[..., 12:20, 12:20]
    assert network.halo(2)[0] <= 12
    assert torch.allclose(model(whole, [0])[..., 28:36, 28:36], part, atol=1e-5)


def test_a_u_net_without_the_top_skip_loses_the_finest_detail():
    checks = ((torch.arange(16)[:, None] + torch.arange(16)) % 2).float()[None, None]
    model = UNet(width=4, depth=1, kernel=1, top_skip=False).build(Problem(observed=checks), 1, streams())
    assert model(checks, [0]).std() < 1e-6
    model = UNet(width=4, depth=1, kernel=1).build(Problem(observed=checks), 1, streams())
    assert model(checks, [0]).std() > 1e-3


@pytest.mark.parametrize("side", [4, 5, 9, 12])
def test_nearest_enlarging_undoes_the_cells_of_pooling(side):
    cells = torch.arange(-(-side // 2)).float().repeat_interleave(2)[:side].expand(1, 1, 1, side, side)
    assert torch.equal(enlarged(largest(cells, (2, 2)), (side, side)), cells)


def test_blurred_pooling_is_the_maximum_of_two_then_1_2_1():
    line = torch.zeros(1, 1, 1, 1, 8)
    line[..., 4] = 4.0
    assert blurred_largest(line, (1, 2)).flatten().tolist() == [0, 1, 3, 0]
