"""kill -9 before any writing to a store, then the same call again: the same objects, and no reader ever saw half a one.

About a minute on two cores.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ilcore.methods.catalogue import METHODS
from ilcore.planning.make import plan_restoration
from tests.e2e.killing_s3 import PLACES, RANDOM, SMOOTHING
from tests.scenes import blurred

HERE = Path(__file__).resolve()

pytestmark = pytest.mark.slow


def test_the_objects_are_the_same_whenever_it_was_killed(bucket, s3_server, tmp_path):
    rng = np.random.default_rng(0)
    smooth = blurred(rng.standard_normal((2, 64, 64)), (0, 6, 6))
    source = (smooth / smooth.std() * 2000 + 20_000 + rng.normal(0, 800, smooth.shape)).astype("u2")
    np.save(tmp_path / "scan.npy", source)
    with pytest.MonkeyPatch.context() as catalogue:
        catalogue.setitem(METHODS, SMOOTHING.name, SMOOTHING)
        plan = plan_restoration(
            str(tmp_path / "scan.npy"), str(tmp_path / "out.ome.zarr"), method=SMOOTHING.name, scope="volume",
            tile_steps=2, axes="cyx", tile=(1, 32, 32), noise_std=800.0,
        )  # fmt: skip
    (tmp_path / "plan.yaml").write_text(plan.to_yaml())
    environment = {**os.environ, "PYTHONPATH": str(HERE.parents[2]), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(HERE.with_name("killing_s3.py")), tmp_path / "plan.yaml", bucket],
        capture_output=True, text=True, timeout=280, check=False, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    cases = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(cases) == len(PLACES) + RANDOM
    wanted = s3_server.objects(f"{bucket}/whole/out.ome.zarr")
    workspace = set(s3_server.objects(f"{bucket}/whole/out.ome.zarr.il"))
    assert len(wanted) > 3
    for case in cases:
        assert (case["killed"], case["status"]) == (-signal.SIGKILL, 0), (case, done.stderr)
        assert s3_server.objects(case["place"]) == wanted, case
        assert set(s3_server.objects(f"{case['place']}.il")) == workspace, case
