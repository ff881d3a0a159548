"""A device that exists in name only refuses what a real one refuses, and computes what the CPU computes."""

import numpy as np
import pytest
import torch

from tests.claimed_device import Claimed, Mixture, claimed_device


@pytest.fixture
def device():
    with claimed_device() as named:
        yield named


def _mixtures(there, here):
    index = torch.tensor([0, 1])
    cpu, cuda = torch.Generator(), torch.Generator(there.device)
    return {
        "arithmetic": lambda: there + here,
        "arithmetic in place": lambda: here.add_(there),
        "a CPU number changed in place": lambda: torch.zeros(()).add_(there.sum()),
        "where": lambda: torch.where(there > 0, there, here),
        "cat": lambda: torch.cat([there, here]),
        "stack of numbers": lambda: torch.stack([there.sum(), here.sum()]),
        "matmul": lambda: there @ here.T,
        "convolution": lambda: torch.nn.functional.conv2d(there[None, None], here[None, None]),
        "a CPU tensor indexed there": lambda: here[index.to(there.device)],
        "a CPU tensor masked there": lambda: here[there > 0],
        "assigned from here": lambda: there.__setitem__(index, here[:2]),
        "index_add": lambda: there.index_add_(0, index, there[:2]),
        "gather": lambda: there.gather(0, index[:, None]),
        "numpy": there.numpy,
        "numpy by protocol": lambda: np.asarray(there),
        "generator of the CPU": lambda: torch.rand(3, generator=cpu, device=there.device),
        "generator of the device": lambda: torch.rand(3, generator=cuda),
        "draw in place": lambda: there.normal_(generator=cpu),
        "poisson": lambda: torch.poisson(there.abs(), generator=cpu),
        "vmap": lambda: torch.func.vmap(torch.mul)(there, here),
        "a layer left behind": lambda: torch.nn.Linear(4, 2)(there),
        "a mask from numpy": lambda: there * torch.from_numpy(np.ones((3, 4), np.float32)),
    }


MIXTURES = sorted(_mixtures(torch.zeros(3, 4), torch.zeros(3, 4)))


@pytest.mark.parametrize("what", MIXTURES)
def test_a_mixture_is_refused(what, device):
    here = torch.arange(12.0).reshape(3, 4)
    with pytest.raises(Mixture):
        _mixtures(here.to(device), here.clone())[what]()


def test_what_a_device_allows_is_allowed_and_right(device):
    here = torch.arange(12.0).reshape(3, 4)
    there = here.to(device)
    index = torch.tensor([0, 2])
    target = here.clone()
    target.copy_(there + 1)
    allowed = [
        (there + torch.tensor(2.0), here + 2),
        (there[index], here[index]),
        (there[here > 3], here[here > 3]),
        (torch.where(there > 3, there, torch.tensor(0.5)), torch.where(here > 3, here, torch.tensor(0.5))),
        (here.to(there) * there, here * here),
        (torch.tensor([[2.0]], device=there.device) * there, here * 2),
        (torch.eye(3, device=there.device) @ there, here),
        (torch.func.vmap(torch.dot)(there, there), torch.func.vmap(torch.dot)(here, here)),
        (there.new_zeros(3) + there.sum(1), here.sum(1)),
    ]
    for ours, wanted in allowed:
        assert isinstance(ours, Claimed)
        assert ours.device == torch.device("cuda", 0)
        assert torch.equal(ours.cpu(), wanted)
    assert torch.equal(target, here + 1)
    assert there.sum().item() == 66
    assert there[0].tolist() == [0, 1, 2, 3]
    assert there.double().cpu().numpy().dtype == np.float64
    assert torch.rand(2, generator=torch.Generator(device).manual_seed(1), device=device).device == device
    assert not torch.cuda.is_available()


def test_a_network_learns_there_as_here(device):
    outcomes = []
    for place in ("cpu", device):
        torch.manual_seed(0)
        layers = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(), torch.nn.Conv2d(4, 1, 3)).to(place)
        optimiser = torch.optim.Adam(layers.parameters(), 1e-2)
        seen = torch.rand(2, 1, 9, 9).to(place)
        for _ in range(3):
            optimiser.zero_grad()
            (layers(seen) - seen[..., 2:-2, 2:-2]).square().mean().backward()
            optimiser.step()
        outcomes.append([value.detach().cpu() for value in layers.parameters()])
    assert all(torch.equal(one, two) for one, two in zip(*outcomes, strict=True))
