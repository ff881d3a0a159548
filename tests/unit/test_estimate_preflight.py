"""Preflight: verdicts, and everything that is no measurement."""

import pickle
import time

import numpy as np
import pytest

from ilcore.degradations.estimate import preflight
from ilcore.degradations.planes import planes_of
from tests.scenes import noisy, scene

SHAPE = (256, 256)


def report(image, dtype=np.float32, **more):
    return preflight([np.asarray(image)[None]], dtype, **more).channels[0]


def stripes(axis):
    rng = np.random.default_rng(5)
    offsets = rng.normal(0, 0.05, (256, 1) if axis == 0 else (1, 256))
    return noisy(scene("cells", SHAPE), std=0.05, seed=1) + offsets


@pytest.mark.medium
@pytest.mark.parametrize("kind", ["cells", "filaments", "coast", "stars", "edges"])
@pytest.mark.parametrize("std", [0.05, 0.2])
def test_white_noise_is_white(kind, std):
    found = report(noisy(scene(kind, SHAPE), std=std, seed=4))
    assert found.verdict == found.noise.correlation == "white"
    assert found.confidence > 0.3
    assert found.level == pytest.approx(std, rel=0.15)


@pytest.mark.medium
@pytest.mark.parametrize("kind", ["cells", "filaments", "coast", "stars", "edges"])
@pytest.mark.parametrize("blur", [0.5, 0.7, 1.0, 1.5])
def test_blurred_noise_is_flagged(kind, blur):
    found = report(noisy(scene(kind, SHAPE), std=0.1, blur=blur, seed=4))
    assert found.verdict == "isotropic"
    assert min(found.lag_y, found.lag_x) > 0.15
    assert found.confidence > 0.3


@pytest.mark.parametrize("blur", [0.5, 0.7, 1.0])
def test_the_level_of_blurred_noise_is_its_whole_level(blur):
    found = report(noisy(scene("cells", SHAPE), std=0.1, blur=blur, seed=4))
    assert found.level == pytest.approx(0.1, rel=0.15)


@pytest.mark.parametrize(("blur", "verdict"), [((0, 1), "row"), ((1, 0), "column")])
def test_noise_smeared_along_one_axis_names_the_axis(blur, verdict):
    assert report(noisy(scene("cells", SHAPE), std=0.1, blur=blur, seed=2)).verdict == verdict


@pytest.mark.parametrize(("axis", "verdict"), [(0, "row"), (1, "column")])
def test_stripes_are_flagged_and_counted_in_the_level(axis, verdict):
    found = report(stripes(axis))
    assert found.verdict == verdict
    assert found.level == pytest.approx(0.05 * np.sqrt(2), rel=0.2)


def test_counts_give_gain_and_offset():
    clean = 200 + 1000 * scene("cells", SHAPE)
    image = noisy(clean, gain=20, offset=200, std=5, seed=3).round().clip(0, 65535).astype(np.uint16)
    found = report(image, np.uint16)
    assert found.verdict == "white"
    assert found.noise.gain == pytest.approx(20, rel=0.2)
    assert np.mean((image - clean) ** 2 / found.noise.variance(clean)) == pytest.approx(1, abs=0.1)


def test_saturation_is_counted_and_does_not_lower_the_level():
    clean = 255 * scene("cells", SHAPE)
    image = noisy(clean * 1.6, std=12, seed=3)
    clipped = image.round().clip(0, 255).astype(np.uint8)
    found = report(clipped, np.uint8)
    assert found.saturated_share == pytest.approx((clipped == 255).mean())
    assert found.saturated_share > 0.02
    assert found.level == pytest.approx(12, rel=0.1)
    assert any("saturated" in note for note in found.notes)


def test_saturation_below_the_range_of_the_type_is_found():
    image = noisy(6000 * scene("cells", SHAPE), std=100, seed=3).clip(0, 4095).astype(np.uint16)
    assert report(image, np.uint16).saturated_share == pytest.approx((image == 4095).mean())


@pytest.mark.parametrize("gap", [np.nan, np.inf, -9999.0])
def test_missing_values_change_nothing_but_their_share(gap):
    image = noisy(scene("cells", SHAPE), std=0.1, seed=4)
    holes = image.copy()
    holes[60:120, 30:200] = gap
    holes[::37, ::41] = gap
    found = report(holes, missing=-9999.0)
    assert found.missing_share == pytest.approx((holes != image).mean())
    assert found.verdict == "white"
    assert found.level == pytest.approx(report(image).level, rel=0.1)


def test_a_dark_border_is_empty_and_not_learnt_from():
    image = noisy(5000 + 8000 * scene("cells", SHAPE), std=300, seed=4).astype(np.uint16)
    image[:, :90] = 0
    found = report(image, np.uint16)
    assert found.empty_share == pytest.approx(90 / 256, abs=0.05)
    assert found.level == pytest.approx(300, rel=0.15)
    assert found.verdict == "white"


def test_darkness_without_counts_is_not_taken_for_a_cut():
    image = np.random.default_rng(0).poisson(0.15, SHAPE).astype(np.uint8)
    found = report(image, np.uint8)
    assert found.verdict == "white"
    assert found.noise.std_at(0.15) == pytest.approx(np.sqrt(0.15), rel=0.2)


@pytest.mark.parametrize(
    "image",
    [
        np.full((64, 64), 3.0),
        np.zeros((64, 64), np.uint8),
        np.full((64, 64), np.nan),
        np.random.default_rng(0).normal(size=(5, 7)),
        np.ones((1, 1)),
        np.random.default_rng(0).normal(size=(1, 500)),
    ],
    ids=["constant", "zero", "nan", "tiny", "one", "line"],
)
def test_nothing_to_judge_is_unknown_without_confidence(image):
    found = report(image, image.dtype)
    assert found.verdict == "unknown"
    assert found.confidence == 0
    assert np.isfinite([found.level, found.noise.gain, found.noise.read_std, found.noise.offset]).all()
    assert found.notes


def test_constant_images_have_no_noise():
    assert report(np.full((64, 64), 0.1)).level == 0


def test_no_samples_give_no_channels():
    found = preflight([], np.uint8)
    assert found.channels == ()
    assert found.confidence == 0


def test_negative_offsets_do_not_matter():
    image = noisy(scene("cells", SHAPE), std=0.1, seed=4).astype(np.float64)
    assert report(image - 1000).level == pytest.approx(report(image).level, rel=0.02)
    assert report(image - 1000).verdict == "white"


@pytest.mark.parametrize("factor", [1e-6, 1e5])
def test_units_do_not_matter(factor):
    image = noisy(scene("cells", SHAPE), std=0.05, gain=0.02, seed=4).astype(np.float64)
    plain, scaled = report(image), report(image * factor)
    assert scaled.level == pytest.approx(plain.level * factor, rel=1e-6)
    assert scaled.lag_y == pytest.approx(plain.lag_y, abs=1e-6)
    assert scaled.verdict == plain.verdict


def test_noise_below_one_step_is_said_to_be_hidden():
    image = noisy(100 + 100 * scene("cells", SHAPE), std=0.1, seed=4).round().astype(np.uint8)
    found = report(image, np.uint8)
    assert found.confidence < 0.35


def test_stacks_are_pooled_slice_by_slice():
    stack = noisy(scene("cells", (12, 96, 96)), std=0.1, seed=4)
    found = report(stack)
    assert found.verdict == "white"
    assert found.level == pytest.approx(0.1, rel=0.1)


@pytest.mark.medium
def test_every_channel_has_its_own_report():
    quiet, loud = noisy(scene("cells", SHAPE), std=0.05), noisy(scene("coast", SHAPE), std=0.2, blur=0.7)
    found = preflight([np.stack([quiet, loud])] * 2, np.float32)
    assert [channel.verdict for channel in found.channels] == ["white", "isotropic"]
    assert found.verdict == "isotropic"
    assert found.confidence == min(channel.confidence for channel in found.channels)


@pytest.mark.medium
def test_big_samples_are_thinned():
    many = [np.random.default_rng(n).normal(0, 0.1, (1, 100, 200, 200)).astype(np.float32) for n in range(2)]
    planes = planes_of(many, 0, 2_000_000)
    assert sum(plane.size for plane in planes) == 2_000_000
    assert preflight(many, np.float32).channels[0].level == pytest.approx(0.1, rel=0.02)


def test_reports_travel():
    found = preflight([noisy(scene("cells", SHAPE), std=0.1)[None]], np.float32)
    assert pickle.loads(pickle.dumps(found)) == found


@pytest.mark.medium
def test_a_huge_plane_is_cropped():
    tall = np.zeros((1, 9000, 500), np.float32)
    tall[0, 2500:6500] = np.random.default_rng(0).normal(size=(4000, 500))
    found = preflight([tall], np.float32).channels[0]
    assert found.level == pytest.approx(1, rel=0.05)
    assert found.empty_share == 0


@pytest.mark.medium
def test_sixteen_tiles_take_seconds():
    tiles = [noisy(scene("cells", SHAPE, n), std=0.1)[None] for n in range(16)]
    start = time.perf_counter()
    preflight(tiles, np.float32)
    assert time.perf_counter() - start < 15  # about one, on an idle core


@pytest.mark.parametrize("dtype", ["u2", "f4", "f8"])
def test_a_ramp_without_any_noise_is_no_measurement(dtype):
    ramp = (np.arange(256)[:, None] * 256 + np.arange(256)).astype(dtype)
    found = report(ramp, np.dtype(dtype))
    assert found.confidence < 0.3
    assert np.isfinite(found.level)


@pytest.mark.parametrize("inner", [256, 180, 140, 100])
@pytest.mark.parametrize("border", ["all around", "one side"])
def test_the_padding_of_a_mosaic_is_no_measurement(inner, border):
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:inner, :inner] / inner
    scan = np.round(100 + 200 * np.exp(-8 * ((y - 0.4) ** 2 + (x - 0.55) ** 2)) + rng.normal(0, 15, y.shape))
    first = (256 - inner) // 2 if border == "all around" else 0
    padded = np.zeros((256, 256), "u2")
    padded[first : first + inner, first : first + inner] = scan.clip(0)
    (found,) = preflight([padded[None]], np.dtype("u2")).channels
    assert found.level == pytest.approx(15, abs=2)


def test_few_photons_are_no_padding():
    photons = np.random.default_rng(0).poisson(0.2, (1, 256, 256)).astype("u2")
    (found,) = preflight([photons], np.dtype("u2")).channels
    assert found.noise.std_at(0.2) == pytest.approx(0.2**0.5, rel=0.3)
