import numpy as np
import pytest

from ilcore.qa.truth import affine_fit, psnr, ssim
from tests.scenes import noisy, scene


def test_psnr_of_known_noise():
    clean = scene("coast", (256, 256))
    assert psnr(clean, noisy(clean, std=0.1), peak=1.0) == pytest.approx(20.0, abs=0.1)
    assert psnr(255 * clean, 255 * noisy(clean, std=0.1), peak=255.0) == pytest.approx(20.0, abs=0.1)
    assert psnr(clean, clean, peak=1.0) == float("inf")


def test_ssim_is_one_for_equal_images_and_falls_with_noise():
    clean = scene("cells", (128, 128))
    little, much = (ssim(clean, noisy(clean, std=std), peak=1.0) for std in (0.02, 0.2))
    assert ssim(clean, clean, peak=1.0) == pytest.approx(1.0)
    assert 1 > little > much > 0


def test_affine_fit_undoes_gain_and_offset_and_nothing_else():
    clean = scene("cells", (64, 64)).astype(np.float64)
    np.testing.assert_allclose(affine_fit(3 * clean - 7, clean), clean, atol=1e-9)
    fitted = affine_fit(noisy(clean, std=0.1), clean)
    assert np.mean((fitted - clean) ** 2) < 0.01
