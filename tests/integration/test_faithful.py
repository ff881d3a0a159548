"""Faint structure is found, mapped and marked by a whole run, and takes the pass away; without it the run passes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from numpy.typing import NDArray
from scipy import ndimage

from ilcore.planning.make import plan_restoration
from ilcore.qa.verdict import QAReport
from ilcore.running.ledger import Ledger
from ilcore.running.local import carry_out
from ilcore.running.workspace import Workspace
from tests.scenes import scene

SIDE, STD = 128, 40.0
PLACES = [(y, x) for y in (20, 64, 108) for x in (20, 64, 108)]


def scan(*, dots: float = 0.0, channels: int = 1, frames: int = 1, seed: int = 0) -> NDArray[np.float32]:
    """Return smooth cells in counts under white noise, with single pixels of so many noise std."""
    smooth = ndimage.gaussian_filter(scene("cells", (SIDE, SIDE), 3), 3)
    clean = np.broadcast_to(500 + 1500 * smooth, (frames, channels, SIDE, SIDE)).copy()
    for y, x in PLACES:
        clean[..., y, x] += dots * STD
    return (clean + np.random.default_rng(seed).normal(0, STD, clean.shape)).astype(np.float32)


def run(image: NDArray[np.float32], folder: Path, **wishes: Any) -> tuple[QAReport, dict[str, float], Workspace, Any]:
    np.save(folder / "scan.npy", image)
    plan = plan_restoration(str(folder / "scan.npy"), str(folder / "out.ome.zarr"), axes="tcyx", **wishes)
    report = carry_out(plan)
    return report, {finding.check: finding.measured for finding in report.findings}, Workspace.of(plan.target), plan


def test_a_run_without_faint_structure_has_none(tmp_path: Path) -> None:
    _, measured, workspace, plan = run(scan(), tmp_path, method="tv")
    assert (measured["faint points"], measured["faint lines"]) == (0, 0)
    assert {"object flux", "radiometry"} <= set(measured)
    assert not {"band ratio", "bleeding", "flicker", "ghosts"} & set(measured)
    assert np.nansum(Ledger(workspace.ledger, plan.tile_grid).read("faint_points")) == 0


def test_points_that_a_method_takes_away_take_the_pass_away(tmp_path: Path) -> None:
    from tasks.reporting import report_input, write_qa_maps

    report, measured, workspace, plan = run(scan(dots=9), tmp_path, method="wavelet", tile=(1, 64, 64))
    assert measured["faint points"] == pytest.approx(len(PLACES), abs=2)
    assert report.verdict == "warn"
    found = {finding.check: finding for finding in report.findings}["faint points"]
    assert found.verdict == "warn"
    assert "structure, or outliers" in found.why
    points = Ledger(workspace.ledger, plan.tile_grid).read("faint_points")
    assert points.shape == (1, 1, 2, 2)
    assert (points > 0).all()
    # The result is published by now; the report is made of what was staged.
    workspace.staging.parent.mkdir(exist_ok=True)
    Path(str(workspace.staging)).symlink_to(Path(plan.target).resolve())
    told = report_input(plan, workspace, report, {}, {})
    assert len(told.planes[0].marks) == pytest.approx(len(PLACES), abs=2)
    assert {"faint_points", "faint_lines"} <= set(told.maps)
    assert "points" in told.worst[0].reason
    write_qa_maps(plan, workspace)
    names = zarr.open_group(str(workspace.maps)).attrs["ome"]["omero"]["channels"]
    assert "faint_points" in [channel["label"] for channel in names]


def test_channels_and_frames_are_checked_where_there_are_some(tmp_path: Path) -> None:
    image = scan(channels=2, frames=4)
    image[:, 1] = image[:, 1, ::-1]
    _, measured, _, _ = run(image, tmp_path, method="tv", depth="t")
    assert {"band ratio", "bleeding", "flicker", "ghosts"} <= set(measured)
    assert measured["bleeding"] < 0.03
    assert measured["ghosts"] < 0.1
    assert measured["flicker"] < 0.1
