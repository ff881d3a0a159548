"""The roots of an archive go with the plan of a scan, so that every process that opens it holds it to them."""

import numpy as np
import pytest
import zarr

from ilcore.grammar.errors import BadVolume
from ilcore.grammar.region import whole
from ilcore.planning.make import plan_restoration
from ilcore.running.volume_model import open_source

VALUES = np.random.default_rng(0).integers(90, 120, (64, 64)).astype("u2")


def test_a_plan_keeps_the_roots_that_its_scan_may_lead_to(tmp_path):
    zarr.create_array(tmp_path / "raw" / "a.zarr", shape=VALUES.shape, dtype="u2", dimension_names="yx")[...] = VALUES
    (tmp_path / "scans").mkdir()
    said = {"datasets": [{"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [1, 1]}]}]}
    said |= {"axes": [{"name": axis, "type": "space"} for axis in "yx"]}
    zarr.open_group(
        tmp_path / "scans" / "b.zarr", mode="w", attributes={"ome": {"version": "0.5", "multiscales": [said]}}
    )
    (tmp_path / "scans" / "b.zarr" / "0").symlink_to(tmp_path / "raw" / "a.zarr")
    source, target = str(tmp_path / "scans" / "b.zarr"), str(tmp_path / "out.ome.zarr")
    with pytest.raises(BadVolume, match="leads out of it"):
        plan_restoration(source, target, method="tv")
    plan = plan_restoration(source, target, method="tv", roots=(str(tmp_path),))
    assert plan.source.roots == (str(tmp_path),)
    volume = open_source(plan)
    np.testing.assert_array_equal(volume.read(whole(volume.shape))[0, 0, 0], VALUES)
