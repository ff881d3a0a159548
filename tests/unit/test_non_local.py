"""Groups of alike patches."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter, label

from ilcore import fit
from ilcore.grammar.arrays import Streams
from ilcore.grammar.errors import RecipeError
from ilcore.grammar.problem import Noise, Problem
from ilcore.methods.alike import alike, patches_of, reference_blocks
from ilcore.methods.non_local import NonLocalRidge, _inverse
from tests.scenes import scene


def restored(observed, noise, **knobs):
    problem = Problem(observed=observed, noise=(noise,) * observed.shape[1])
    return fit.restore(NonLocalRidge(**knobs), problem, Streams.of(0, "n", [(n,) for n in range(len(observed))])).image


def decibels(a, b):
    return -10 * float((a - b).square().mean().log10())


def noisy(clean, std, seed=0):
    return clean + std * torch.randn(clean.shape, generator=torch.Generator().manual_seed(seed))


CPU = torch.device("cpu")


def test_a_periodic_texture_finds_its_own_period():
    texture = torch.rand(8, 8, generator=torch.Generator().manual_seed(0)).repeat(8, 8)[None, None]
    corners = 64 - 8 + 1
    patches = patches_of(texture, (slice(0, corners), slice(0, corners)), 8)
    for block in reference_blocks((corners, corners), 8, 8, CPU):
        found = alike(patches, block, 0, 16, 9)
        own = torch.cartesian_prod(torch.tensor(block.rows), torch.tensor(block.columns))
        moves = torch.stack([found // corners, found % corners], -1) - own[:, None]
        assert bool((moves % 8 == 0).all())
        assert bool((moves == 0).all(-1).any(1).all())


def test_reference_patches_reach_every_pixel_of_odd_sizes():
    covered = torch.zeros(21, 34)
    for block in reference_blocks((21 - 7 + 1, 34 - 7 + 1), 0, 4, CPU):
        for y in block.rows:
            for x in block.columns:
                covered[y : y + 7, x : x + 7] += 1
    assert bool((covered > 0).all())


def test_patches_are_those_of_the_image():
    values = torch.rand(1, 2, 6, 5)
    unfolded = torch.nn.functional.unfold(values, 3)[0].T
    assert torch.equal(patches_of(values, (slice(0, 4), slice(0, 3)), 3).flatten(0, 2), unfolded)


@pytest.mark.parametrize("std", [0.05, 0.1, 0.2])
def test_it_beats_non_local_means_by_far(std):
    from skimage.restoration import denoise_nl_means

    clean = torch.from_numpy(scene("filaments", (96, 96), 1))[None, None]
    observed = noisy(clean, std)
    plain = denoise_nl_means(observed[0, 0].numpy(), patch_size=5, patch_distance=6, h=0.8 * std, sigma=std)
    plain = torch.from_numpy(plain.astype(np.float32))[None, None]
    assert decibels(restored(observed, Noise(read_std=std)), clean) > decibels(plain, clean) + 0.5


def test_neighbouring_planes_help():
    plane = torch.from_numpy(scene("cells", (64, 64), 4))
    clean = plane.expand(1, 1, 3, 64, 64)
    observed = noisy(clean, 0.15)
    alone, helped = (restored(observed, Noise(read_std=0.15), planes=planes)[:, :, 1] for planes in (0, 1))
    assert decibels(helped, clean[:, :, 1]) > decibels(alone, clean[:, :, 1]) + 0.5


def test_signal_dependent_noise_is_weighed_pixel_by_pixel():
    clean = torch.from_numpy(scene("cells", (96, 96), 2))[None, None] * 0.8 + 0.02
    noise = Noise(gain=0.05, read_std=0.01)
    generator = torch.Generator().manual_seed(0)
    observed = noise.gain * torch.poisson(clean / noise.gain, generator=generator)
    observed = observed + 0.01 * torch.randn(clean.shape, generator=generator)
    flat = Noise(read_std=float(noise.variance(clean).mean().sqrt()))
    assert decibels(restored(observed, noise), clean) > decibels(restored(observed, flat), clean) + 0.3


def test_without_noise_nothing_changes():
    clean = torch.from_numpy(scene("coast", (48, 48), 0))[None, None]
    assert (restored(clean, Noise(read_std=0.0)) - clean).abs().max() < 1e-2


def test_it_says_that_it_needs_the_noise():
    with pytest.raises(RecipeError, match="pass noise_std"):
        fit.restore(NonLocalRidge(), Problem(observed=torch.zeros(1, 1, 9, 9)), Streams.of(0, "n", [(0,)]))


@pytest.mark.parametrize("seed", [14, 16, 3])
def test_flat_areas_without_noise_come_out_as_they_went_in(seed):
    blobs = gaussian_filter(np.random.default_rng(seed).normal(size=(64, 64)), 3) > 0.02
    labels = torch.from_numpy(label(blobs)[0].astype(np.float32))[None, None]
    labels /= labels.max()
    assert torch.allclose(restored(labels, Noise(read_std=0.0), window=21), labels, atol=1e-3)


def test_a_singular_system_has_the_least_inverse_and_leaves_the_others_alone():
    systems = torch.stack([torch.ones(4, 4), torch.eye(4) * 2, torch.zeros(4, 4)])
    solved = _inverse(systems) @ torch.ones(3, 4, 1)
    assert torch.allclose(solved[:, :, 0], torch.tensor([0.25, 0.5, 0.0])[:, None].expand(3, 4))
