"""`restore` on arrays: what it chooses, and in which units it answers."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from ilcore.aims.denoise import Denoise
from ilcore.grammar.errors import BadInput
from ilcore.planning.array_choice import Seen, chosen
from ilcore.planning.array_scale import Scale
from ilcore.planning.make import plan_restoration
from ilcore.running.arrays import restore
from tests.scenes import noisy, scene

CLEAN = scene("cells", (64, 64), 3).astype(np.float64)
NOISY = noisy(CLEAN, std=0.1, seed=1).astype(np.float64)
FEW = {"steps": 20}
SAMPLED = {"steps": 20, "network.width": 8, "network.scales": 2, "readout.burn_in": 5, "readout.every": 1}

_WITHOUT = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"zarr", "upath", "fsspec", "tifffile", "yaml", "prefect", "dask", "mlflow"}:
            raise ImportError(f"{name} is not there")

sys.meta_path.insert(0, Absent())
import numpy as np
from ilcore import restore

done = restore(np.cumsum(np.random.default_rng(0).normal(size=(48, 48)), 1))
assert done.method and done.why and np.isfinite(done.image).all()
"""


def images():
    rng = np.random.default_rng(0)
    return {
        "white": NOISY.astype(np.float32),
        "correlated": noisy(CLEAN, std=0.1, blur=0.7, seed=1),
        "counts": rng.poisson(20 + 200 * CLEAN).astype(np.uint16),
        "two channels": np.stack([NOISY, 5 + NOISY[::-1]]).astype(np.float32),
        "stack": np.stack([noisy(CLEAN[:40, :40], std=0.1, seed=n) for n in range(4)]),
    }


def seen(array, space=2, noise_std=None):
    values = torch.from_numpy(np.ascontiguousarray(array, np.float64))
    batch = values.reshape(-1, values.shape[0] if values.ndim > space else 1, *values.shape[-space:])
    return Seen(Scale.of(batch, torch.isfinite(batch)), array.dtype, noise_std, 0)


@pytest.mark.medium
def test_arrays_are_restored_without_stores_and_servers():
    done = subprocess.run([sys.executable, "-c", _WITHOUT], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


@pytest.mark.medium
@pytest.mark.parametrize(("name", "noise_std"), [*((name, None) for name in images()), ("white", 0.1), ("counts", 9)])
def test_the_choice_is_that_of_a_plan_of_the_same_values(tmp_path, name, noise_std):
    array, space = images()[name], 3 if name == "stack" else 2
    np.save(tmp_path / "scan.npy", array)
    wishes = {"noise_std": noise_std, "axes": {"two channels": "cyx", "stack": "zyx"}.get(name, "yx")}
    plan = plan_restoration(str(tmp_path / "scan.npy"), str(tmp_path / "out.ome.zarr"), **wishes)
    way = chosen(seen(array, space, noise_std), Denoise(), None, {})
    assert (way.entry.name, way.is_shared, way.why) == (plan.method, plan.scope == "volume", plan.why)


@pytest.mark.medium
def test_what_is_chosen_is_told_and_beats_what_used_to_be_taken_unasked():
    correlated = noisy(CLEAN, std=0.1, blur=0.7, seed=1)
    done, before = restore(correlated), restore(correlated, "zs_n2n", overrides={"steps": 60})
    assert done.method == "adapted"
    assert "correlated" in done.why
    assert before.method == "zs_n2n"
    assert before.why == "the user asked for it"
    assert np.mean((done.image - CLEAN) ** 2) < 0.8 * np.mean((before.image - CLEAN) ** 2)


@pytest.mark.medium
@pytest.mark.parametrize("kind", ["f8", "i4", "u4", "i8"])
def test_an_offset_that_32_bits_do_not_hold_comes_back_whole(kind):
    array = np.round(150 * NOISY).clip(0).astype(kind)
    plain, far = (restore(given, "zs_n2n", overrides=FEW).image for given in (array, array + 1_000_000_000))
    assert plain.dtype == far.dtype == np.float64
    assert np.abs(far - 1e9 - plain).max() < 1e-5


@pytest.mark.parametrize("kind", ["f4", "f2", "u1", "u2", "i2"])
def test_what_32_bits_hold_comes_out_in_32_bits(kind):
    assert restore((100 * NOISY).clip(0).astype(kind), "nlm", 10.0).image.dtype == np.float32


@pytest.mark.medium
def test_tensors_come_back_as_tensors_of_their_kind():
    given = torch.from_numpy(1e9 + 15 * NOISY)
    done = restore(given, "zs_n2n", overrides=FEW)
    assert isinstance(done.image, torch.Tensor)
    assert done.image.dtype == torch.float64
    assert restore(given.bfloat16(), "zs_n2n", overrides=FEW).image.dtype == torch.float32


@pytest.mark.medium
@pytest.mark.parametrize("method", ["zs_n2n", "nlm", "nl_ridge", "tv", "adapted"])
def test_a_few_wild_values_change_nothing_but_themselves(method):
    wild = NOISY.copy()
    wild[10, 10], wild[40, 50], wild[41, 50], wild[0, 63] = 300, -200, 1e6, 500
    given = {"method": method, "noise_std": 0.1, "overrides": FEW if method in ("zs_n2n", "adapted") else {}}
    clean, done = restore(NOISY, **given), restore(wild, **given)
    assert "4 values far beyond all others stay as they are" in done.why
    assert (done.image[wild != NOISY] == wild[wild != NOISY]).all()
    off = np.abs(done.image - clean.image)[wild == NOISY]
    assert np.median(off) < 0.02 * 0.1
    assert off.max() < 0.1


def test_stars_beads_and_single_counts_are_not_wild():
    y, x = np.indices((64, 64))
    star = 50 * np.exp(-((y - 30) ** 2 + (x - 30) ** 2) / 2) + NOISY
    counts = np.random.default_rng(0).poisson(0.02, (64, 64)).astype(np.float64)
    for array in (star, counts, NOISY, np.zeros((8, 8))):
        assert not seen(array).scale.wild.any()


@pytest.mark.medium
def test_risk_and_spread_are_in_the_units_of_the_array():
    risks = [restore(a * NOISY + b, "adapted", a * 0.1, overrides=FEW).risk[0] for a, b in ((1, 0), (200, 1e4))]
    assert risks[1] == pytest.approx(200**2 * risks[0], rel=1e-4)
    assert 0 < risks[0] < 0.1**2
    one, other = (restore(a * NOISY, "dip_sgld", a * 0.1, overrides=SAMPLED).spread for a in (1, 200))
    assert one.shape == NOISY.shape
    assert one.dtype == np.float64
    np.testing.assert_allclose(other, 200 * one, rtol=1e-4)


@pytest.mark.medium
def test_a_risk_over_channels_of_several_scales_is_not_told():
    array = np.stack([NOISY, 100 * NOISY])
    assert restore(array, "adapted", 0.1, overrides=FEW).risk == (None,)


def test_channels_of_one_value_stay_as_they_are():
    array = np.stack([NOISY, np.full_like(NOISY, 7.0)])
    done = restore(array, "zs_n2n", overrides=FEW)
    assert (done.image[1] == 7).all()
    assert (done.image[0] != NOISY).any()
    assert (restore(np.full((40, 40), -3.5)).image == -3.5).all()


@pytest.mark.parametrize(
    ("words", "wish"),
    [("weights serve methods", {"method": "nlm", "weights": "w.safetensors"}), ("noise_std must", {"noise_std": 0.0}),
     ("noise_std must", {"noise_std": np.nan})],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused(words, wish):
    with pytest.raises(BadInput, match=words):
        restore(NOISY, **wish)


def test_values_too_far_apart_are_refused():
    with pytest.raises(BadInput, match="1e308"):
        restore(np.where(np.indices((16, 16))[0] < 8, -1e308, 1.7e308), "zs_n2n", overrides=FEW)


@pytest.mark.medium
@pytest.mark.parametrize("method", ["dip", "zs_n2n", "n2v"])
def test_other_units_give_the_same_image_in_these_units(method):
    rng, std = np.random.default_rng(4), 0.1
    array = rng.normal(np.linspace(0, 1, 32)[:, None], std, (32, 32))
    knobs = FEW | ({"network.width": 8, "network.scales": 2} if method == "dip" else {})
    first = restore(array, method, std, overrides=knobs).image
    for gain, offset in ((3.7, -11.3), (255.0, 1e4)):
        other = restore(gain * array + offset, method, gain * std, overrides=knobs).image
        assert np.abs(other - (gain * first + offset)).max() < 1e-3 * gain * std


def test_the_budget_makes_no_difference_to_other_units():
    # What a method sees is the same to the bit, so that every later step is.
    array = torch.from_numpy(np.random.default_rng(5).normal(0.5, 0.2, (1, 1, 64, 64)))
    first = Scale.of(array, torch.isfinite(array)).normalised
    for gain, offset in ((3.7, -11.3), (1e-3, 0.25), (255.0, 1e4)):
        assert torch.equal(Scale.of(gain * array + offset, torch.isfinite(array)).normalised, first)
