"""A plan tells what it will cost: tiles that go together, memory, time, and on what."""

from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from ilcore.grammar.errors import BadInput
from ilcore.planning.cost import work_of
from ilcore.planning.plan import RestorationPlan
from tasks.load import cost_of
from tests.claimed_device import claimed_device
from tests.scenes import noisy, scene
from tests.standins import planned, saved

pytestmark = pytest.mark.medium


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return saved(tmp_path, np.asarray(noisy(scene("cells", (96, 160)), std=0.05)))


def plan_for(kind: str, source: Path) -> RestorationPlan:
    more = {"tile": (1, 16, 16), "cut_for": kind, "overrides": {"network.width": 4}}
    return planned(source, source.parent / "out.ome.zarr", "n2v", **more)


def test_a_unit_never_counts_tiles_that_are_not_there(source: Path) -> None:
    plan = plan_for("gpu", source)
    assert plan.grid.unit == (1, 16, 16)
    assert work_of(plan).together == 60
    assert work_of(plan_for("cpu", source)).together == 1


def test_it_says_how_many_tiles_go_together_on_a_gpu_and_what_they_take(source: Path) -> None:
    told = cost_of(plan_for("gpu", source), "cpu")
    held = 60 * work_of(plan_for("gpu", source)).tile_bytes / 2**30
    assert f"60 tiles in 1 units, {96 * 160 / 1e6:.1f} megavoxels" in told
    assert f"(60 together on a GPU: {held:.1f} GB)" in told
    assert told.endswith("of one worker here, on cpu")
    assert "together" not in cost_of(plan_for("cpu", source), "cpu")


def test_it_is_timed_on_the_device_that_is_asked_for(source: Path) -> None:
    plan = plan_for("gpu", source)
    with mock.patch("torch.cuda.is_available", return_value=False), pytest.raises(BadInput, match="cuda needs a GPU"):
        cost_of(plan, "cuda")
    with (
        claimed_device(),
        mock.patch("torch.cuda.is_available", return_value=True),
        mock.patch("torch.cuda.device_count", return_value=1),
        mock.patch("torch.cuda.get_device_name", return_value="H200"),
        mock.patch("torch.cuda.synchronize") as waited,
    ):
        assert cost_of(plan, "cuda").endswith("of one worker here, on H200")
    assert waited.called
