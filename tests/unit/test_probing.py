"""What is tried on samples before a method is chosen."""

import numpy as np
import pytest

from ilcore.degradations.estimate import preflight
from ilcore.restoring.planning import plan_restoration
from ilcore.restoring.probing import CANDIDATES, estimated_risks
from tests.scenes import noisy, scene


def saved(tmp_path, image):
    path = tmp_path / "scan.npy"
    np.save(path, image)
    return str(path)


def plan_of(tmp_path, image, **wishes):
    return plan_restoration(saved(tmp_path, image), str(tmp_path / "out.ome.zarr"), **wishes)


def risks_of(plan, image, missing=None):
    image = np.where(image == missing, np.nan, image)
    return estimated_risks([image[None, None]], plan.channels, space=2, seed=0)


@pytest.mark.parametrize("blur", [0.0, 0.7])
def test_the_estimated_risks_are_near_the_true_ones(tmp_path, blur):
    clean = scene("cells", (96, 96), 3)
    image = noisy(clean, std=0.1, blur=blur, seed=1)
    found = risks_of(plan_of(tmp_path, image, method="zs_n2n"), image)
    assert {"adapted", "nl_ridge", "nlm"} <= set(found) <= set(CANDIDATES)
    span = float(np.percentile(image, 99.9) - np.percentile(image, 0.1))
    assert all(0 < risk * span**2 < 0.1**2 for risk in found.values())


@pytest.mark.parametrize("gain", [0.0, 0.02])
def test_stabilising_is_tried_where_the_noise_depends_on_the_signal(tmp_path, gain):
    image = noisy(scene("cells", (96, 96), 3), std=0.05, gain=gain)
    plan = plan_of(tmp_path, image, method="zs_n2n")
    known = plan.channels[0].model_copy(update={"gain": gain, "read_std": 0.05, "offset": 0.0})
    found = estimated_risks([image[None, None]], [known], space=2, seed=0)
    assert ("nl_ridge stabilised" in found) == (gain > 0)


def test_fine_texture_that_the_model_never_saw_goes_to_alike_patches(tmp_path):
    wave = 0.5 + 0.1 * np.sin(np.add.outer(np.arange(160) * 0.9, np.arange(160) * 0.7))
    image = noisy(wave.astype(np.float32), std=0.12, seed=2)
    plan = plan_of(tmp_path, image)
    assert (plan.method, plan.scope) == ("nl_ridge", "tile")
    assert "tried on samples" in plan.why


def test_samples_with_holes_are_not_tried(tmp_path):
    image = noisy(scene("cells", (96, 96), 3), std=0.1)
    plan = plan_of(tmp_path, image, method="zs_n2n")
    assert risks_of(plan, np.where(np.eye(96) > 0, np.nan, image)) == {}


def test_a_method_that_was_asked_for_is_taken_untried(tmp_path, monkeypatch):
    monkeypatch.setattr("ilcore.restoring.planning.estimated_risks", lambda *_, **__: pytest.fail("tried"))
    image = noisy(scene("cells", (96, 96), 3), std=0.1)
    assert plan_of(tmp_path, image, method="zs_n2n").method == "zs_n2n"
    assert preflight([image[None, None]], np.dtype(np.float32)).verdict == "white"
