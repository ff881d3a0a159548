"""A result on another grid than its source, from the plan to the audit: superres with what learns nothing."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
from numpy.typing import NDArray
from rasterio.transform import Affine

from ilcore.archives import night_report
from ilcore.degradations.imaging import Imaging
from ilcore.degradations.kernels import kernel_of
from ilcore.formats.open import open_volume
from ilcore.grammar.errors import BadInput, BadPlan, ILError
from ilcore.grammar.region import whole
from ilcore.keeping.audit import audit, is_sound
from ilcore.keeping.repair import repair
from ilcore.keeping.verify import verify
from ilcore.planning.cost import work_of
from ilcore.planning.make import face_of_result, plan_restoration
from ilcore.planning.options import RestoreOptions
from ilcore.planning.plan import RestorationPlan
from ilcore.results.destination import estimated_bytes
from ilcore.results.export import export_volume
from ilcore.running.carry_out import carry_out
from ilcore.running.damage import write_damage
from ilcore.running.run import Run
from tests.dying import WatchedExecutor, carry_out_until, killed
from tests.integration.test_verify import chunks, flip, tree
from tests.scenes import scene

TILE = (1, 32, 32)


def seen(truth: NDArray[Any], factors: tuple[int, ...], std: float = 0.01) -> NDArray[np.float32]:
    """What a microscope whose voxels are larger sees of a scene, with noise."""
    operator = Imaging(kernel_of("bicubic", factors), factors)
    fields = [n // f for n, f in zip(truth.shape, factors, strict=True)]
    margins = [(wide - n) // 2 for wide, n in zip(operator.domain(fields), truth.shape, strict=True)]
    wide = np.pad(truth, [(m, m) for m in margins], mode="reflect")
    found = operator.forward(torch.from_numpy(wide.astype(np.float32))[None, None])[0, 0].numpy()
    return found + np.random.default_rng(0).normal(0, std, found.shape).astype(np.float32)


def planned(folder: Path, values: NDArray[Any], **asked: Any) -> RestorationPlan:
    folder.mkdir(exist_ok=True)
    np.save(folder / "scan.npy", values)
    told = {"task": "superres", "scale": 2, "tile": TILE, **asked}
    return plan_restoration(str(folder / "scan.npy"), str(folder / "out.ome.zarr"), **told)


def image_of(plan: RestorationPlan) -> NDArray[Any]:
    volume = open_volume(plan.target)
    return volume.read(whole(volume.shape))


@pytest.fixture(scope="module")
def truth() -> NDArray[np.float32]:
    return np.asarray(scene("filaments", (160, 192), 0), np.float32)


@pytest.fixture(scope="module")
def finished(truth: NDArray[np.float32], tmp_path_factory: pytest.TempPathFactory) -> RestorationPlan:
    plan = planned(tmp_path_factory.mktemp("finer") / "a", seen(truth, (2, 2)))
    assert carry_out(plan).verdict != "fail"
    return plan


def test_the_result_is_finer_and_as_large_as_its_source(finished, truth):
    result = open_volume(finished.target)
    assert result.shape == (1, 1, 1, 160, 192)
    assert result.scale[3:] == (0.5, 0.5)
    assert result.origin[3:] == (-0.25, -0.25)
    assert result.levels >= 1
    root = Run.of(finished).workspace.root
    assert (root / "report.html").exists()
    assert (root / "qa.ome.zarr").exists()


def test_back_projection_beats_the_cubic_and_the_gate_sees_which_explains_the_scan(finished, truth, tmp_path):
    told = Run.of(finished).workspace.record.read_text()
    assert "not asked of what superres makes" in told
    cubic = planned(tmp_path / "cubic", seen(truth, (2, 2)), method="bicubic")
    found = {finding.check: finding.measured for finding in carry_out(cubic).findings}
    own = {finding.check: finding for finding in carry_out(finished).findings}
    assert own["consistency"].verdict == own["seams"].verdict == own["residual level"].verdict == "pass"
    assert found["consistency"] > 1.3 > own["consistency"].measured
    inner = (0, 0, 0, slice(8, -8), slice(8, -8))
    errors = [np.mean((image_of(plan)[inner] - truth[8:-8, 8:-8]) ** 2) for plan in (finished, cubic)]
    assert 10 * np.log10(errors[1] / errors[0]) > 0.5


def test_many_tiles_are_as_one(finished, truth, tmp_path):
    one = planned(tmp_path / "one", seen(truth, (2, 2)), tile=(1, 128, 128))
    carry_out(one)
    assert len(Run.of(one).grid) == 1 < len(Run.of(finished).grid)
    assert np.abs(image_of(one) - image_of(finished)).max() < 0.02


def test_a_stopped_run_goes_on_to_the_same_bytes(finished, truth, tmp_path):
    plan = planned(tmp_path / "b", seen(truth, (2, 2)))
    carry_out_until(plan, moves=killed)
    again = []
    carry_out(plan, executor=WatchedExecutor(computes=again.append))
    assert again == []
    levels = {name: content for name, content in tree(Path(plan.target)).items() if not name.endswith("zarr.json")}
    assert levels
    assert all(tree(Path(finished.target))[name] == content for name, content in levels.items())


def test_it_is_verified_repaired_and_explained(truth, tmp_path):
    plan = planned(tmp_path / "c", seen(truth, (2, 2)))
    carry_out(plan)
    run = Run.of(plan)
    assert verify(run) == ()
    assert is_sound(audit(run, tiles=2, seed=0))
    before = tree(run.workspace.target)
    flip(chunks(run.workspace.target, "0")[0])
    found = verify(run)
    assert [each.place for each in found][:1] == ["0"]
    write_damage(run.workspace, found)
    assert repair(run) >= 1
    assert tree(run.workspace.target) == before


def test_a_stack_becomes_finer_along_z_alone(tmp_path):
    fine = np.asarray(scene("cells", (24, 64, 64), 0), np.float32)
    plan = planned(tmp_path, seen(fine, (2, 1, 1)), scale=(2, 1, 1), axes="zyx", tile=(6, 48, 48))
    assert plan.factors == (2, 1, 1)
    assert carry_out(plan).verdict != "fail"
    result = open_volume(plan.target)
    assert result.shape == (1, 1, 24, 64, 64)
    assert (result.scale[2], result.origin[2]) == (0.5, -0.25)
    error = image_of(plan)[0, 0, 4:-4] - fine[4:-4]
    repeated = np.repeat(seen(fine, (2, 1, 1)), 2, 0)[4:-4] - fine[4:-4]
    assert np.mean(error**2) < 0.8 * np.mean(repeated**2)


def test_a_scene_of_the_earth_keeps_its_place(truth, tmp_path):
    values = (1000 + 4000 * seen(truth, (2, 2))).astype("u2")
    values[:20, :30] = 0
    place = Affine(10, 0, 600000, 0, -10, 5000000)
    kind = {"driver": "GTiff", "height": 80, "width": 96, "count": 1, "dtype": "uint16", "nodata": 0}
    with rasterio.open(tmp_path / "scene.tif", "w", **kind, crs="EPSG:32633", transform=place) as file:
        file.write(values, 1)
    plan = plan_restoration(
        str(tmp_path / "scene.tif"), str(tmp_path / "out.ome.zarr"), task="superres", scale=2, tile=TILE
    )
    assert carry_out(plan).verdict != "fail"
    export_volume(plan.target, str(tmp_path / "fine.tif"))
    with rasterio.open(tmp_path / "scene.tif") as source, rasterio.open(tmp_path / "fine.tif") as fine:
        assert fine.crs == source.crs
        assert fine.bounds == source.bounds
        assert fine.transform == Affine(5, 0, 600000, 0, -5, 5000000)
        assert fine.shape == (160, 192)
        made = fine.read(1)
    hidden = np.repeat(np.repeat(values == 0, 2, 0), 2, 1)
    np.testing.assert_array_equal(made == 0, hidden)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"scale": None}, "wants a scale"),
        ({"scale": 0.5}, "at least 1"),
        ({"scale": 1.37}, "the nearest is 11/8"),
        ({"scale": 1.5}, "whole factors were wanted"),
        ({"scale": (2, 2, 2)}, "one for each of y, x"),
        ({"task": "denoise"}, "serves superres"),
        ({"psf": "gaussian:-1"}, "gaussian"),
        ({"method": "nlm"}, "got task superres"),
        ({"overrides": {"stabilise": True}}, "VarianceStabilised"),
    ],
)  # fmt: skip
def test_what_cannot_be_made_finer_is_one_clear_error_before_anything_is_written(asked, words, tmp_path):
    with pytest.raises(ILError, match=words) as caught:
        planned(tmp_path / "d", np.random.default_rng(0).random((64, 64)).astype("f4"), **asked)
    assert caught.type in (BadInput, BadPlan) or caught.value.exit_code == 2
    assert sorted(path.name for path in (tmp_path / "d").iterdir()) == ["scan.npy"]


def test_plans_without_a_scale_keep_the_name_they_had(tmp_path):
    plan = planned(tmp_path / "e", np.random.default_rng(0).random((64, 64)).astype("f4"), task="denoise", scale=None)
    content = plan.model_dump(mode="json")
    assert (content.pop("factors"), content.pop("psf")) == ([1, 1, 1], "")
    assert RestorationPlan.of(content).fingerprint == plan.fingerprint


def test_what_it_costs_and_takes_on_the_disk_is_that_of_the_finer_result(finished):
    assert work_of(finished, timed=True).seconds > 0
    volume, options = open_volume(finished.source.uri), RestoreOptions(task="superres", scale=2)
    assert estimated_bytes(face_of_result(volume, options)) == pytest.approx(4 * estimated_bytes(volume), rel=1e-4)
    assert estimated_bytes(face_of_result(volume, RestoreOptions())) == estimated_bytes(volume)


def test_the_night_report_shows_the_same_place_of_both(finished):
    before, after = night_report._middles(Run.of(finished))
    assert before.shape == after.shape
    assert np.corrcoef(before.ravel(), after.ravel())[0, 1] > 0.9
