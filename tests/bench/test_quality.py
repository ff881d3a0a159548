"""The table of photographs, on generated ones, so that its command cannot rot."""

import numpy as np
from skimage.io import imsave

from tests.bench.quality import photographs, score
from tests.scenes import scene


def test_the_shipped_denoiser_gains_at_every_level(tmp_path):
    folder = tmp_path / "natural" / "bsd68"
    folder.mkdir(parents=True)
    clean = (scene("coast", (96, 96), 0) * 255).astype(np.uint8)
    imsave(folder / "a.png", clean, check_contrast=False)
    rows = list(photographs(tmp_path, quick=True, with_bm3d=False))
    measured = [float(cell) for cell in rows[2].split("|")[2:5]]
    noisy = [10 * np.log10(255**2 / level**2) for level in (15, 25, 50)]
    gains = np.subtract(measured, noisy)
    assert (gains > [1.5, 2.5, 4.5]).all(), gains
    assert score(clean / 255, clean / 255) == np.inf
