"""Networks, losses and views of untrained priors and blind spots, each against what its paper says."""

import math
from dataclasses import replace

import pytest
import torch

from ilcore import fit
from ilcore.descents.adam import Adam
from ilcore.descents.discrepant import DiscrepantRates
from ilcore.descents.langevin import Langevin
from ilcore.grammar.arrays import Streams, per_tile_mean
from ilcore.grammar.errors import RecipeError
from ilcore.grammar.problem import Noise, Problem
from ilcore.grammar.step_context import Pair, StepContext
from ilcore.losses.likelihood import GaussianLikelihood
from ilcore.losses.red import Red
from ilcore.losses.smoothness import TotalVariation, total_variation
from ilcore.methods.catalogue import METHODS
from ilcore.methods.entry import configure
from ilcore.networks.blind_spot import BlindSpot
from ilcore.networks.deep_decoder import DeepDecoder
from ilcore.networks.levels import blurred_largest, enlarged, largest
from ilcore.networks.masked_unet import MaskedUNet, _Partial
from ilcore.networks.unet import UNet
from ilcore.networks.with_outliers import WithOutliers
from ilcore.readouts.samples import MeanAfter
from ilcore.views.dropped_pixels import DroppedPixels
from ilcore.views.noise_code import NoiseCode
from ilcore.views.posterior import Posterior
from tests.scenes import scene


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


def trial_of(output: torch.Tensor, step: int = 0, rows: tuple[int, ...] = (0,)) -> StepContext:
    problem = Problem(observed=torch.zeros_like(output))
    return StepContext(
        step, rows, problem, Pair(output, output), output, torch.nn.Identity(), lambda rows: output[list(rows)]
    )


def test_the_total_variation_of_a_ramp_is_its_slope():
    down, across = torch.meshgrid(torch.arange(8.0), torch.arange(9.0), indexing="ij")
    ramp = (0.3 * down + 0.4 * across)[None, None]
    assert torch.allclose(total_variation(ramp)[..., :-1, :-1], torch.tensor(0.5))
    assert torch.allclose(total_variation(ramp, isotropic=False)[..., :-1, :-1], torch.tensor(0.7))
    deep = torch.arange(5.0).reshape(1, 1, 5, 1, 1).expand(1, 1, 5, 4, 4)
    assert torch.allclose(total_variation(deep)[:, :, :-1], torch.tensor(1.0))


def test_the_total_variation_of_a_constant_is_nothing_and_has_a_slope():
    flat = torch.full((1, 1, 8, 8), 0.5, requires_grad=True)
    loss = TotalVariation().start(Problem(observed=flat), streams())(trial_of(flat))
    assert loss.item() < 2e-5
    loss.sum().backward()
    assert torch.isfinite(flat.grad).all()


def test_total_variation_is_one_number_a_tile():
    rough = image(2, 1, 8, 8)
    rough[1] = 0
    loss = TotalVariation().start(Problem(observed=rough), streams(2))(trial_of(rough, rows=(0, 1)))
    assert loss[0] > 0.1
    assert loss[1] < 2e-5


def test_the_deep_decoder_has_the_size_of_the_paper():
    problem = Problem(observed=image(1, 3, 512, 512))
    assert NoiseCode(channels=128, halvings=5).start(problem, streams()).draw(0, [0]).input.shape == (1, 128, 16, 16)
    model = DeepDecoder().build(problem, 128, streams())
    assert sum(value.numel() for value in model.parameters()) == 100_224


def test_the_deep_decoder_mixes_channels_and_nothing_else_at_the_finest_scale():
    """One voxel of a code as large as the image reaches its own column of channels, and all others by norms alone."""
    model = DeepDecoder(width=4, scales=0).build(Problem(observed=image(1, 1, 8, 8)), 4, streams())
    code = image(1, 4, 8, 8)
    swapped = code.flip(-1)
    assert torch.allclose(model(swapped, [0]), model(code, [0]).flip(-1), atol=1e-6)


def test_the_deep_decoder_refuses_a_code_of_the_size_of_the_image():
    recipe = replace(METHODS["deep_decoder"].method, views=NoiseCode(channels=128))
    with pytest.raises(RecipeError, match="halvings=5"):
        recipe.check(Problem(observed=image(1, 1, 32, 32)))


def test_langevin_steps_shake_kernels_alone_each_tile_from_its_own_stream():
    problem = Problem(observed=image(2, 1, 8, 8))
    model = UNet(width=8, depth=0, norm=True).build(problem, 1, streams(2))
    start = {name: value.detach().clone() for name, value in model.named_parameters()}
    # At a rate of almost nothing Adam stands still; the noise is as large as in the paper.
    descent = Langevin(1e-9, noise=2e7).start(model, streams(2))
    descent.step(per_tile_mean(model(problem.observed, [0, 1]))[:1], [0])
    moved = {name: (value - start[name]).detach() for name, value in model.named_parameters()}
    kernel = moved["bottom.convs.1.weight"]
    assert kernel[0].std() == pytest.approx(0.02, rel=0.1)
    assert kernel[1].abs().max() < 1e-6
    assert all(value.abs().max() < 1e-6 for name, value in moved.items() if "bias" in name or "norms" in name)


def test_the_mean_after_the_burn_in_counts_every_other_output_and_knows_their_spread():
    live = MeanAfter(burn_in=2, every=2).start(Problem(observed=torch.zeros(1, 1, 2, 2)))
    for step, value in enumerate([100.0, 100.0, 1.0, 100.0, 3.0, 100.0, 5.0]):
        live.observe(trial_of(torch.full((1, 1, 2, 2), value), step), set())
    assert torch.equal(live.result([0], lambda rows: torch.zeros(1)), torch.full((1, 1, 2, 2), 3.0))
    assert torch.allclose(live.spread([0]), torch.tensor(2.0))


def test_the_spread_of_samples_comes_with_the_restoration():
    entry = configure(METHODS["dip_sgld"], {"network.width": 4, "network.scales": 2, "steps": 12})
    entry = configure(entry, {"readout.burn_in": 4, "readout.every": 2})
    problem = Problem(observed=image(2, 1, 16, 16))
    for strategy in ("sequential", "grouped"):
        done = fit.restore(entry.method, problem, streams(2), strategy=strategy)
        assert done.spread.shape == problem.observed.shape
        assert (done.spread > 0).all()
    assert fit.restore(entry.with_steps(3).method, problem, streams(2)).spread.isnan().all()
    plain = configure(METHODS["zs_n2n"], {"steps": 2, "network.width": 4})
    assert fit.restore(plain.method, problem, streams(2)).spread is None


@pytest.mark.parametrize("shape", [(1, 2, 17, 14), (1, 1, 5, 7), (1, 1, 3, 12, 9)])
def test_a_blind_spot_sees_every_pixel_of_the_plane_but_its_own(shape):
    observed = image(*shape)
    model = BlindSpot(width=4, depth=2).build(Problem(observed=observed), shape[1], streams())
    centre = tuple(side // 2 for side in shape[2:])
    seen = observed.clone().requires_grad_()
    model(seen, [0])[(0, slice(None), *centre)].square().sum().backward()
    touched = seen.grad[0, 0] != 0
    assert not touched[centre]
    plane = touched[centre[0]] if len(centre) == 3 else touched
    y, x = centre[-2:]
    around = plane[y - 1 : y + 2, x - 1 : x + 2]
    assert int(around.sum()) == 8
    if len(centre) == 3:
        assert not touched[[0, 2]].any()


def test_a_changed_pixel_changes_no_prediction_of_itself():
    observed = image(1, 1, 20, 23)
    model = BlindSpot(width=4, depth=3).build(Problem(observed=observed), 1, streams())
    before = model(observed, [0])
    for place in [(0, 0), (7, 8), (19, 22), (12, 0), (10, 15)]:
        changed = observed.clone()
        changed[(0, 0, *place)] += 5
        after = model(changed, [0])
        assert torch.equal(after[(0, slice(None), *place)], before[(0, slice(None), *place)])
        assert not torch.equal(after, before)


def test_the_likelihood_is_that_of_a_normal_law():
    problem = Problem(observed=image(1, 1, 6, 6), noise=(Noise(read_std=0.2),))
    mean, spread = image(1, 1, 6, 6, seed=1), image(1, 1, 6, 6, seed=2)
    output = torch.cat([mean, spread], 1)
    context = replace(trial_of(output), problem=problem, pair=Pair(problem.observed, problem.observed))
    law = torch.distributions.Normal(mean, (spread.square() + 0.04).sqrt())
    expected = -2 * law.log_prob(problem.observed).mean() - math.log(2 * math.pi)
    assert GaussianLikelihood().start(problem, streams())(context).item() == pytest.approx(expected.item(), rel=1e-4)


def test_the_posterior_mean_weighs_the_pixel_with_the_doubt_of_the_prediction():
    trusted = torch.ones(1, 1, 2, 2, dtype=torch.bool)
    trusted[..., 1, 1] = False
    problem = Problem(observed=torch.ones(1, 1, 2, 2), noise=(Noise(read_std=0.1),), trusted=trusted)
    live = Posterior().start(problem, streams())
    for spread, expected in [(0.0, 0.0), (0.1, 0.5), (0.2, 0.8), (100.0, 1.0)]:

        def said(seen, rows, spread=spread):
            return torch.cat([torch.zeros_like(seen), torch.full_like(seen, spread)], 1)

        image_of = live.image(said, problem, [0])[0, 0]
        assert image_of[0, 0].item() == pytest.approx(expected, abs=1e-5)
        assert image_of[1, 1].item() == 0


def test_dropped_pixels_are_those_that_are_asked_for_and_never_shown():
    trusted = torch.ones(1, 1, 64, 64, dtype=torch.bool)
    trusted[..., :8, :] = False
    problem = Problem(observed=image(1, 1, 64, 64) + 1, trusted=trusted)
    pair = DroppedPixels(keep=0.7, flips=False).start(problem, streams()).draw(0, [0])
    values, mask = pair.input.chunk(2, 1)
    assert torch.equal(values != 0, mask == 1)
    assert not (pair.trusted & (mask == 1)).any()
    assert torch.equal(pair.trusted | (mask == 1), trusted)
    assert mask[trusted].mean().item() == pytest.approx(0.7, abs=0.03)


def test_flips_mirror_everything_alike():
    trusted = image(1, 1, 8, 8, seed=1) < 0.8
    problem = Problem(observed=image(1, 1, 8, 8), trusted=trusted)
    live = DroppedPixels(keep=0.5).start(problem, streams())
    seen = set()
    for step in range(20):
        pair = live.draw(step, [0])
        axes = [axes for axes in ((), (2,), (3,), (2, 3)) if torch.equal(pair.target, problem.observed.flip(axes))]
        assert not (pair.trusted & ~trusted.flip(axes[0])).any()
        seen.add(axes[0])
    assert len(seen) == 4


def test_a_partial_convolution_of_a_constant_ignores_what_is_missing():
    layer = _Partial(1, 1, 2, streams())
    mask = (image(1, 1, 1, 32, 32) < 0.5).float()
    with torch.no_grad():
        layer.conv.weight.fill_(1 / 9)
    out, known = layer(2.0 * mask, mask, [0])
    assert torch.allclose(out[known > 0], torch.tensor(2.0))
    lone = torch.zeros(1, 1, 1, 7, 7)
    lone[..., 3, 3] = 1
    assert int(layer(lone, lone, [0])[1].sum()) == 9


def test_two_passes_of_self2self_differ_and_their_mean_is_the_image():
    problem = Problem(observed=image(1, 1, 16, 16))
    network = MaskedUNet(width=6, depth=2)
    one, other = (network.build(problem, 2, streams()) for _ in range(2))
    live = DroppedPixels(passes=1).start(problem, streams())
    passes = [live.image(one, problem, [0]) for _ in range(3)]
    assert not torch.equal(passes[0], passes[1])
    mean = DroppedPixels(passes=3).start(problem, streams()).image(other, problem, [0])
    assert torch.allclose(mean, torch.stack(passes).mean(0), atol=1e-6)


def test_red_follows_its_two_updates():
    problem = Problem(observed=image(2, 1, 16, 16))
    red = Red(strength=0.3, coupling=0.7, every=1)
    live = red.start(problem, streams(2))
    auxiliary, memory = problem.observed, torch.zeros_like(problem.observed)
    for step in range(3):
        output = image(2, 1, 16, 16, seed=5 + step)
        context = replace(trial_of(output, step, (0, 1)), problem=problem, pair=Pair(output, problem.observed))
        loss = live(context)
        denoised = torch.stack([live._without_noise(own) for own in auxiliary])
        auxiliary = (0.3 * denoised + 0.7 * (output + memory)).clamp(0, 1)
        memory = memory + output - auxiliary
        expected = per_tile_mean((output - problem.observed).square() + 0.7 * (output - auxiliary + memory).square())
        assert torch.allclose(loss, expected, atol=1e-6)


def test_the_denoiser_of_red_rests_between_its_turns_and_removes_noise():
    flat = 0.5 + 3 / 255 * torch.randn(1, 1, 24, 24, generator=torch.Generator().manual_seed(0))
    live = Red(every=10).start(Problem(observed=flat), streams())
    live(replace(trial_of(flat, 0), problem=Problem(observed=flat)))
    first = live.denoised.clone()
    assert first.std() < 0.8 * flat.std()
    live(replace(trial_of(flat, 9), problem=Problem(observed=flat)))
    assert torch.equal(live.denoised, first)
    live(replace(trial_of(flat, 10), problem=Problem(observed=flat)))
    assert not torch.equal(live.denoised, first)


def test_plain_steps_on_a_square_grow_only_what_is_far_off():
    problem = Problem(observed=torch.zeros(1, 1, 4, 4))
    model = WithOutliers(UNet(width=2, depth=0), start=1e-3).build(problem, 1, streams())
    descent = DiscrepantRates(Adam(1e-12), rate=0.03).start(model, streams())
    target = torch.full((1, 1, 4, 4), 0.05)
    target[..., 1, 1], target[..., 2, 2] = 0.5, -0.5
    for _ in range(150):
        descent.step(per_tile_mean((model.outliers([0]) - target).square()), [0])
    found = model.outliers([0])[0, 0].detach()
    assert found[1, 1].item() == pytest.approx(0.5, abs=0.02)
    assert found[2, 2].item() == pytest.approx(-0.5, abs=0.02)
    assert found.abs().sum() - found[1, 1] + found[2, 2] < 1e-3


@pytest.mark.medium
def test_double_over_parameterisation_survives_salt_and_pepper_where_dip_does_not():
    generator = torch.Generator().manual_seed(0)
    clean = torch.from_numpy(scene("cells", (32, 32), 0)).float()[None, None]
    coin = torch.rand(clean.shape, generator=generator)
    salted = torch.where(coin < 0.07, torch.zeros(()), torch.where(coin > 0.93, torch.ones(()), clean))
    problem = Problem(observed=salted, value_range=(-0.1, 1.1))
    errors = []
    for name, prefix in (("dip", "network"), ("double_over", "network.inner")):
        entry = configure(
            METHODS[name], {"steps": 250, f"{prefix}.width": 16, f"{prefix}.scales": 3, "readout.weight": 0.95}
        )
        done = fit.restore(entry.method, problem, streams())
        errors.append(float((done.image - clean).square().mean()))
    assert errors[1] < 0.5 * errors[0]


@pytest.mark.medium
def test_the_weight_of_total_variation_is_a_knob_and_smooths():
    problem = Problem(observed=image(1, 1, 16, 16))
    small = {"steps": 60, "network.width": 8, "network.scales": 2, "readout.weight": 0.8}
    rough, smooth = (configure(METHODS["dip_tv"], {"loss.weight": weight} | small) for weight in (0.0, 1.0))
    images = [fit.restore(entry.method, problem, streams()).image for entry in (rough, smooth)]
    assert total_variation(images[1]).mean() < 0.8 * total_variation(images[0]).mean()
