"""What is tried on samples before a method is chosen."""

import numpy as np
import pytest

from ilcore.adapting.weights import PHOTOS, SHIPPED
from ilcore.aims.choosing import CANDIDATES
from ilcore.degradations.estimate import preflight
from ilcore.planning.make import plan_restoration
from ilcore.planning.probing import Tried, expected_gains
from tests.bench.quality import denoise
from tests.scenes import noisy, scene


def saved(tmp_path, image):
    path = tmp_path / "scan.npy"
    np.save(path, image)
    return str(path)


def plan_of(tmp_path, image, **wishes):
    return plan_restoration(saved(tmp_path, image), str(tmp_path / "out.ome.zarr"), **wishes)


def gains_of(channels, image):
    return expected_gains([image[None, None]], channels, CANDIDATES, space=2, seed=0)


@pytest.mark.medium
@pytest.mark.parametrize("blur", [0.0, 0.7])
def test_candidates_differ_by_what_they_really_differ(tmp_path, blur):
    clean = scene("cells", (96, 96), 3)
    image = noisy(clean, std=0.1, blur=blur, seed=1)
    told = gains_of(plan_of(tmp_path, image, method="zs_n2n").channels, image)
    assert {"pretrained", "photographs", "nl_ridge", "nlm"} <= set(told) <= set(CANDIDATES)
    assert all(0 < gain <= 20.01 for gain in told.values())
    # An error of the noise level moves both alike, so it is the difference of risks that is right.
    true = (np.mean((denoise(image, weights) - clean) ** 2) / 0.01 for weights in (SHIPPED, PHOTOS))
    assert share(told["pretrained"]) - share(told["photographs"]) == pytest.approx(next(true) - next(true), abs=0.05)


def share(gain):
    return 10 ** (-gain / 10)


def test_noise_taken_for_too_strong_makes_no_candidates_equal(tmp_path):
    image = noisy(scene("cells", (96, 96), 3), std=0.1, seed=1)
    plan = plan_of(tmp_path, image, method="zs_n2n")
    stronger = plan.channels[0].model_copy(update={"read_std": 1.4 * plan.channels[0].read_std})
    told = gains_of([stronger], image)
    assert len(set(told.values())) == len(told)


@pytest.mark.medium
@pytest.mark.parametrize("gain", [0.0, 0.02])
def test_stabilising_is_tried_where_the_noise_depends_on_the_signal(tmp_path, gain):
    image = noisy(scene("cells", (96, 96), 3), std=0.05, gain=gain)
    plan = plan_of(tmp_path, image, method="zs_n2n")
    known = plan.channels[0].model_copy(update={"gain": gain, "read_std": 0.05, "offset": 0.0})
    found = gains_of([known], image)
    assert ("nl_ridge stabilised" in found) == (gain > 0)


@pytest.mark.medium
def test_fine_texture_that_the_model_never_saw_goes_to_alike_patches(tmp_path):
    wave = 0.5 + 0.1 * np.sin(np.add.outer(np.arange(160) * 0.9, np.arange(160) * 0.7))
    image = noisy(wave.astype(np.float32), std=0.12, seed=2)
    plan = plan_of(tmp_path, image)
    assert (plan.method, plan.scope) == ("nl_ridge", "tile")
    assert "tried on samples" in plan.why


def test_samples_with_holes_are_not_tried(tmp_path):
    image = noisy(scene("cells", (96, 96), 3), std=0.1)
    plan = plan_of(tmp_path, image, method="zs_n2n")
    assert gains_of(plan.channels, np.where(np.eye(96) > 0, np.nan, image)) == {}


@pytest.mark.medium
def test_the_plan_shows_gain_and_hours_of_every_candidate(tmp_path):
    plan = plan_of(tmp_path, noisy(scene("cells", (160, 160), 3), std=0.1))
    assert {"pretrained", "photographs", "nl_ridge", "nlm"} <= {one.name for one in plan.expected}
    assert all(one.core_hours > 0 for one in plan.expected)
    assert plan.fingerprint == plan.model_copy(update={"expected": ()}).fingerprint
    assert plan_of(tmp_path, noisy(scene("cells", (160, 160), 3), std=0.1)) == plan


@pytest.mark.medium
def test_stacks_are_tried_on_planes_with_neighbours(tmp_path):
    image = np.stack([noisy(scene("cells", (64, 64), 3), std=0.1, seed=seed) for seed in range(5)])
    np.save(tmp_path / "stack.npy", image)
    plan = plan_restoration(str(tmp_path / "stack.npy"), str(tmp_path / "out.ome.zarr"), axes="zyx")
    assert {"pretrained", "nl_ridge"} <= {one.name for one in plan.expected}


def test_a_method_that_was_asked_for_is_taken_untried(tmp_path, monkeypatch):
    monkeypatch.setattr("ilcore.planning.probing.expected_gains", lambda *_, **__: pytest.fail("tried"))
    image = noisy(scene("cells", (96, 96), 3), std=0.1)
    assert plan_of(tmp_path, image, method="zs_n2n").method == "zs_n2n"
    assert preflight([image[None, None]], np.dtype(np.float32)).verdict == "white"


def test_weights_of_the_users_own_are_those_that_are_tried(tmp_path, monkeypatch):
    image = noisy(scene("cells", (96, 96), 3), std=0.1)
    channels = plan_of(tmp_path, image, method="zs_n2n").channels
    pretrained = {name: CANDIDATES[name] for name in ("pretrained", "photographs")}
    shipped = expected_gains([image[None, None]], channels, pretrained, space=2, seed=0)
    own = expected_gains([image[None, None]], channels, pretrained, space=2, seed=0, weights=PHOTOS)
    assert shipped["pretrained"] != own["pretrained"] == own["photographs"]
    asked = []
    monkeypatch.setattr(
        "ilcore.planning.probing.tried",
        lambda *_, weights, **__: asked.append(weights) or {"pretrained": Tried(gain_db=1.0)},
    )
    plan_of(tmp_path, image, weights=str(PHOTOS))
    assert asked == [PHOTOS]
