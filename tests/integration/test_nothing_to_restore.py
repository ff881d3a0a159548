"""What has nothing to restore is published as it is, and the reason is told."""

from pathlib import Path

import numpy as np
import pytest
from skimage import data

from ilcore.benchmark.labelled import labelled
from ilcore.formats.open import open_volume
from ilcore.grammar.region import whole
from ilcore.planning.make import plan_restoration
from ilcore.running.local import carry_out

SOURCES = {
    "a clean photograph": data.camera(),
    "numbers of regions": labelled("labels", 1).seen,
    "a coded photograph": labelled("jpeg", 1).seen,
    "a denoised photograph": labelled("denoised", 2).seen,
}


@pytest.mark.parametrize("name", SOURCES)
def test_it_is_kept_to_the_last_bit_and_the_reason_told(name: str, tmp_path: Path) -> None:
    source = tmp_path / "scan.npy"
    np.save(source, SOURCES[name])
    plan = plan_restoration(str(source), str(tmp_path / "out.ome.zarr"), scope="volume", overrides={"stop.steps": 5})
    assert (plan.task, plan.method, plan.weights) == ("copy", "copy", None)
    assert plan.why.startswith("nothing to restore: ")
    report = carry_out(plan)
    assert report.verdict == "pass"
    assert report.notes == (plan.why,)
    result = open_volume(plan.target)
    np.testing.assert_array_equal(result.read(whole(result.shape))[0, 0, 0], SOURCES[name])


def test_who_names_a_method_gets_it(tmp_path: Path) -> None:
    np.save(tmp_path / "scan.npy", SOURCES["a clean photograph"])
    plan = plan_restoration(str(tmp_path / "scan.npy"), str(tmp_path / "out.ome.zarr"), method="nlm")
    assert (plan.task, plan.method) == ("denoise", "nlm")
