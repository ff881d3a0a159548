"""kill -9 at any moment, then the same call again: the same bytes, and nothing is done twice."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ilcore.formats.open import open_volume
from ilcore.methods.catalogue import METHODS
from ilcore.planning.make import plan_restoration
from tests.e2e.killing import LEARNING, PLACES, RANDOM, SMOOTHING
from tests.scenes import blurred

HERE = Path(__file__).resolve()

pytestmark = pytest.mark.timeout(300 + 10 * RANDOM)


#: What is asked: a model of the volume and steps on each tile, or a finer result.
ASKED = {
    "learnt": {"method": SMOOTHING.name, "scope": "volume", "tile_steps": 2},
    "finer": {"task": "superres", "scale": 2, "method": "bicubic"},
}


@pytest.fixture(scope="module", params=ASKED)
def killed(request, tmp_path_factory):
    """All cases: what the driver said, and the folder."""
    folder = tmp_path_factory.mktemp("killed")
    rng = np.random.default_rng(0)
    smooth = blurred(rng.standard_normal((2, 96, 96)), (0, 6, 6))
    source = (smooth / smooth.std() * 2000 + 20_000 + rng.normal(0, 800, smooth.shape)).astype("u2")
    np.save(folder / "scan.npy", source)
    with pytest.MonkeyPatch.context() as catalogue:
        catalogue.setitem(METHODS, SMOOTHING.name, SMOOTHING)
        plan = plan_restoration(
            str(folder / "scan.npy"), str(folder / "out.ome.zarr"), axes="cyx", tile=(1, 32, 32), noise_std=800.0,
            **ASKED[request.param],
        )  # fmt: skip
    (folder / "plan.yaml").write_text(plan.to_yaml())
    environment = {**os.environ, "PYTHONPATH": str(HERE.parents[2]), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(HERE.with_name("killing.py")), folder / "plan.yaml", folder],
        capture_output=True, text=True, timeout=280 + 10 * RANDOM, check=False, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    cases = [json.loads(line) for line in done.stdout.splitlines()]
    for case in cases:
        assert case["status"] == 0, (case, done.stderr)
    return cases, folder


def tree(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_every_case_was_killed(killed):
    cases, folder = killed
    learns = (folder / "whole" / "out.ome.zarr.il" / "weights").exists()
    assert len(cases) == (len(LEARNING) + len(PLACES) if learns else len(PLACES) - 2) + RANDOM
    assert {case["killed"] for case in cases} == {-signal.SIGKILL}


def test_the_result_is_the_same_to_the_last_byte(killed):
    cases, folder = killed
    wanted = tree(folder / "whole" / "out.ome.zarr")
    assert len(wanted) > 3
    for case in cases:
        found = tree(folder / case["case"] / "out.ome.zarr")
        assert found.keys() == wanted.keys(), case
        assert [name for name in wanted if found[name] != wanted[name]] == [], case


def test_the_result_is_a_restoration(killed):
    _, folder = killed
    result = open_volume(folder / "whole" / "out.ome.zarr")
    values = result.read(tuple((0, length) for length in result.shape))
    source = np.load(folder / "scan.npy")
    if values.shape[-1] != source.shape[-1]:
        assert values.shape[-2:] == (192, 192)
        source = source.repeat(2, -1).repeat(2, -2)
    assert not np.array_equal(values[0, :, 0], source)
    assert np.diff(values[0, :, 0].astype(float)).std() < 0.7 * np.diff(source.astype(float)).std()


def test_finished_units_are_not_restored_again(killed):
    cases, _ = killed
    for case in cases:
        assert case["kept"], case
        assert case["restored"] == case["tiles"] - case["done_before"], case
    assert {case["done_before"] for case in cases} > {0, cases[0]["tiles"]}
    assert any(0 < case["done_before"] < case["tiles"] for case in cases)


def test_what_is_finished_is_not_done_at_all_again(killed):
    cases, _ = killed
    for case in cases:
        same_verdict, restored, learnt = case["afterwards"]
        assert (same_verdict, restored) == (True, 0), case
        assert learnt <= 1, case


def test_nothing_half_done_is_left_behind(killed):
    cases, folder = killed
    wanted = sorted(path.name for path in (folder / "whole" / "out.ome.zarr.il").iterdir())
    assert "record.json" in wanted
    for case in cases:
        root = folder / case["case"] / "out.ome.zarr.il"
        assert sorted(path.name for path in root.iterdir()) == wanted, case
